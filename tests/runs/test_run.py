"""A run's folder: what it is, whose it is, what it was started with, and that one job writes."""

from __future__ import annotations

import fcntl
import json
from pathlib import Path
from typing import ClassVar, TextIO

import pytest

from hyena_ray.errors import InputError
from hyena_ray.files import read_json, write_json
from hyena_ray.runs.lock import only_maker, only_writer
from hyena_ray.runs.plan import Plan
from hyena_ray.runs.record import KINDS, Record, read_kind
from hyena_ray.runs.run import (
    PROVENANCE,
    Output,
    Run,
    RunProvenance,
    check_output,
    check_resume,
    read_plan,
    start,
)
from tests.permissions import allowed


class SomePlan(Plan):
    """A plan with a section, and a field that a resumed run may change."""

    KIND: ClassVar[str] = "train"
    RESUMABLE_CHANGES: ClassVar[frozenset[str]] = frozenset({"threads"})

    data: str = "d"
    settings: dict[str, int] = {"epochs": 3}  # noqa: RUF012
    threads: int = 1


class SomeRecord(Record):
    """A record with a figure."""

    KIND: ClassVar[str] = "train"

    score: float


PLAN = SomePlan()


def finished(folder: Path, plan: SomePlan = PLAN) -> Path:
    """A complete run."""
    with start(Output(folder), plan) as run:
        run.finish(record(run))
    return folder


def record(run: Run[SomePlan]) -> SomeRecord:
    return SomeRecord.make(
        fingerprint=run.plan.fingerprint, simulated=True, outputs={"model": "model"}, score=0.5
    )


def test_the_hardware_of_each_start_is_recorded_and_may_differ(tmp_path: Path) -> None:
    for device in ("CPU", "NVIDIA H200"):
        with start(Output(tmp_path / "run", resume=True), PLAN, ran_on=device):
            pass
    made = RunProvenance.parse(read_json(tmp_path / "run" / PROVENANCE), "provenance")
    assert made.ran_on == ("CPU", "NVIDIA H200")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run that was started."""
    with start(Output(tmp_path / "run"), PLAN):
        pass
    return tmp_path / "run"


def test_a_run_is_complete_once_its_manifest_is_written_and_not_before(tmp_path: Path) -> None:
    with start(Output(tmp_path / "run"), PLAN) as run:
        assert not run.is_complete
        with pytest.raises(InputError, match="not complete"):
            read_kind(tmp_path / "run")
        run.finish(record(run))
        assert run.is_complete
    found = SomeRecord.read(tmp_path / "run")
    assert (found.score, found.fingerprint) == (0.5, PLAN.fingerprint)
    assert read_kind(tmp_path / "run") == "train"


def test_a_fingerprint_is_that_of_the_values_but_for_those_that_may_change() -> None:
    assert SomePlan(threads=4).fingerprint == PLAN.fingerprint
    assert SomePlan(data="e").fingerprint != PLAN.fingerprint
    assert SomePlan(settings={"epochs": 4}).fingerprint != PLAN.fingerprint


def test_a_resumed_run_keeps_the_plan_of_its_first_start(run: Path) -> None:
    with start(Output(run, resume=True), SomePlan(threads=4)) as again:
        assert again.plan.threads == 1
    assert read_plan(run, SomePlan) == PLAN


@pytest.mark.parametrize(
    ("changed", "key"),
    [(SomePlan(data="e"), "data"), (SomePlan(settings={"epochs": 4}), r"settings\.epochs")],
)
def test_a_run_is_not_resumed_with_another_plan(run: Path, changed: SomePlan, key: str) -> None:
    before = (run / "plan.json").read_bytes()
    with pytest.raises(InputError, match=rf"plan\.json: {key}: "):
        check_resume(Output(run, resume=True), changed)
    with (
        pytest.raises(InputError, match=rf"plan\.json: {key}: "),
        start(Output(run, resume=True), changed),
    ):
        pass
    assert (run / "plan.json").read_bytes() == before


def test_another_run_takes_the_place_of_one_that_is_overwritten(run: Path) -> None:
    (run / "history.json").touch()
    with start(Output(run, overwrite=True), SomePlan(data="e")) as new:
        assert new.plan.data == "e"
        assert not (run / "history.json").exists()
        new.finish(record(new))
    assert not (run / "history.json").exists()
    assert list(run.parent.iterdir()) == [run]


FOREIGN = {
    "no kind": ({"best_epoch": 3}, "no kind of run"),
    "unknown kind": ({"kind": "dance", "schema_version": 1}, "kind: dance: unknown"),
    "older version": ({"kind": "train", "schema_version": 0}, "schema_version: 0: this version"),
    "newer version": ({"kind": "train", "schema_version": 99}, "schema_version: 99: this version"),
    "no object": ([], "no kind of run"),
    "kinds": ({"kind": ["train"], "schema_version": 1}, "no kind of run"),
}


@pytest.mark.parametrize("case", FOREIGN)
def test_a_folder_of_another_version_or_program_is_refused_in_one_line(
    tmp_path: Path, case: str
) -> None:
    values, message = FOREIGN[case]
    folder = tmp_path / "old"
    folder.mkdir()
    write_json(folder / "manifest.json", values)
    with pytest.raises(InputError, match=message) as refusal:
        read_kind(folder)
    assert len(refusal.value.lines) == 1
    with pytest.raises(InputError, match=message):
        check_output(folder, "train", resume=True)
    with pytest.raises(InputError, match=message):
        check_output(folder, "train", overwrite=True)


def test_a_run_of_another_kind_is_named(tmp_path: Path) -> None:
    folder = finished(tmp_path / "run")
    changed = {"kind": "predict", "schema_version": KINDS["predict"].schema_version}
    (folder / "manifest.json").write_text(json.dumps(read_json(folder / "manifest.json") | changed))
    with pytest.raises(InputError, match=f"is {KINDS['predict'].title}, not a training run"):
        SomeRecord.read(folder)
    (folder / "plan.json").write_text(json.dumps(read_json(folder / "plan.json") | changed))
    with pytest.raises(InputError, match="resume it with `hyena-ray predict`"):
        check_output(folder, "train", resume=True)


def test_a_folder_that_this_user_may_not_write_is_refused_before_any_work(tmp_path: Path) -> None:
    folder = tmp_path / "of another"
    folder.mkdir(mode=0o755)
    with allowed(folder, 0o555), pytest.raises(InputError, match=r"--out: .*of another cannot be"):
        check_output(folder / "deep" / "run", "train")
    assert not list(folder.iterdir())


def test_a_folder_that_is_no_run_is_neither_resumed_nor_replaced(tmp_path: Path) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter").write_text("kept")
    for resume in (True, False):
        with pytest.raises(InputError, match="something other than a run"):
            check_output(tmp_path / "thesis", "train", resume=resume, overwrite=not resume)


@pytest.mark.parametrize("name", ["plan.json", "study.db", "trials", "shards", "model", "kmers"])
def test_a_run_with_a_link_in_it_is_not_resumed(run: Path, tmp_path: Path, name: str) -> None:
    (run / name).unlink(missing_ok=True)
    (tmp_path / "elsewhere").write_text("space: {task: zdna}")
    (run / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match=f"{name}: is a link"):
        check_output(run, "train", resume=True)


def test_a_run_that_all_may_write_is_not_resumed(run: Path) -> None:
    (run / "plan.json").chmod(0o666)
    with pytest.raises(InputError, match=r"plan\.json: mode 666: .*chmod -R o-w"):
        check_output(run, "train", resume=True)


def test_a_run_of_this_user_is_resumed(run: Path) -> None:
    assert check_output(run, "train", resume=True) == Output(run, resume=True)


def nested(run: Path, name: str) -> Path:
    """A complete run inside another one."""
    return finished(run / name)


def test_a_run_is_not_overwritten_with_another_one_inside_it(run: Path) -> None:
    nested(run, "kept/later")
    with pytest.raises(InputError, match="holds kept, which is no part of a training run"):
        check_output(run, "train", overwrite=True)
    assert check_output(run, "train", resume=True) == Output(run, resume=True)


@pytest.mark.parametrize(
    ("kind", "part"), [(kind, part) for kind, values in KINDS.items() for part in values.parts]
)
def test_a_run_is_overwritten_with_the_runs_that_are_its_parts(
    run: Path, kind: str, part: str
) -> None:
    nested(run, f"{part}/first")
    values = {"kind": kind, "schema_version": KINDS[kind].schema_version}
    write_json(run / "plan.json", read_json(run / "plan.json") | values)
    assert check_output(run, kind, overwrite=True) == Output(run, overwrite=True)


def test_a_run_of_another_kind_is_not_overwritten(run: Path) -> None:
    with pytest.raises(InputError, match="is a training run, not a prediction"):
        check_output(run, "predict", overwrite=True)


def test_no_run_is_written_where_one_of_its_inputs_is(run: Path) -> None:
    for out in (run, run / "inside", run.parent):
        with pytest.raises(InputError, match="the input"):
            check_output(out, "train", inputs=[run / "inside"], overwrite=out.exists())
    with pytest.raises(InputError, match="is inside the input"):
        check_output(run / "inside" / "deeper", "train", inputs=[run / "inside"])
    assert check_output(run / "beside", "train", inputs=[run / "inside"]).folder == run / "beside"


@pytest.mark.parametrize("content", ["", "{", "[]", '{"kind": "dance"}'])
def test_a_run_whose_manifest_is_damaged_is_not_resumed(run: Path, content: str) -> None:
    (run / "manifest.json").write_text(content)
    with pytest.raises(InputError, match=r"manifest\.json"):
        check_resume(Output(run, resume=True), PLAN)


@pytest.mark.parametrize("plan", [None, [], "x"])
def test_a_run_whose_plan_is_damaged_is_not_resumed(run: Path, plan: object) -> None:
    write_json(run / "plan.json", read_json(run / "plan.json") | {"plan": plan})
    with pytest.raises(InputError, match=r"plan\.json: is damaged"):
        check_resume(Output(run, resume=True), PLAN)


def test_a_refusal_shows_the_beginning_and_end_of_a_long_value(run: Path) -> None:
    values = read_json(run / "plan.json") | {"plan": {"data": "x" * 9_000}}
    write_json(run / "plan.json", values)
    with pytest.raises(InputError) as refusal:
        check_resume(Output(run, resume=True), PLAN)
    assert len(str(refusal.value)) < 500


def test_what_a_run_was_started_with_is_told_to_who_resumes_it_otherwise(run: Path) -> None:
    with pytest.raises(InputError, match=r"settings\.epochs = 3"):
        check_resume(Output(run, resume=True), SomePlan(settings={"epochs": 4}))


def test_the_lock_is_not_taken_through_a_link(run: Path, tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("kept")
    (run / ".lock").unlink()
    (run / ".lock").symlink_to(tmp_path / "precious")
    with pytest.raises(InputError, match=r"\.lock: is a link"), only_writer(run):
        pass
    assert (tmp_path / "precious").read_text() == "kept"


def test_overwriting_removes_a_link_and_not_what_it_leads_to(run: Path, tmp_path: Path) -> None:
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "file").write_text("kept")
    (run / "tensorboard").symlink_to(tmp_path / "precious")
    with start(check_output(run, "train", overwrite=True), PLAN) as new:
        new.finish(record(new))
    assert not (run / "tensorboard").exists()
    assert (tmp_path / "precious" / "file").read_text() == "kept"


def test_a_run_that_was_killed_before_it_had_a_plan_is_started_again(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with only_writer(folder):
        (folder / ".plan.json.host.0123456789abcdef.tmp").write_text("{")
    for resume in (True, False):
        with start(check_output(folder, "train", resume=resume, overwrite=not resume), PLAN):
            pass
        # The one that is replaced is kept until the new one is complete.
        left = {path.name for path in folder.iterdir()} - {".replaced"}
        assert left == {".lock", "plan.json", "provenance.json"}


def test_only_one_job_makes_a_folder_and_it_sweeps_what_killed_ones_left(tmp_path: Path) -> None:
    out = tmp_path / "above" / "data"
    with only_maker(out):
        left = out.with_name(".data.host.0123456789abcdef.tmp")
        left.mkdir()
        with pytest.raises(InputError, match="data: another job is writing"), only_maker(out):
            pass
        assert left.exists()
    assert list(out.parent.iterdir()) == [left]
    with only_maker(out):
        assert not left.exists()
    assert list(out.parent.iterdir()) == []


def test_a_lock_that_its_holder_has_removed_is_held_by_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = fcntl.flock

    def release_first(stream: TextIO, operation: int) -> None:
        # The holder ends between this job's opening of the file and its locking it.
        (tmp_path / ".data.lock").unlink()
        whole(stream, operation)

    monkeypatch.setattr(fcntl, "flock", release_first)
    with pytest.raises(InputError, match="another job is writing"), only_maker(tmp_path / "data"):
        pass


def test_only_one_job_writes(run: Path) -> None:
    with (
        only_writer(run),
        pytest.raises(InputError, match="another job is writing here"),
        only_writer(run),
    ):
        pass


def test_overwriting_never_empties_where_one_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in (tmp_path, tmp_path.parent, Path.home()):
        with pytest.raises(InputError, match="would be emptied"):
            check_output(folder, "train", overwrite=True)

"""A run that is replaced is moved aside, on a disk and on S3, until the new one is complete."""

from __future__ import annotations

from pathlib import Path

import pytest

from hyena_ray.errors import InputError
from hyena_ray.files import atomic_folder, write_json
from hyena_ray.runs import lock
from hyena_ray.runs.run import Output, check_output, start
from hyena_ray.runs.stored_files import MANIFEST
from hyena_ray.storage import AnyPath, S3Path
from tests.runs.test_run import PLAN, SomePlan, SomeRecord, finished, record

OTHER = SomePlan(data="e")


@pytest.fixture(params=["disk", "S3"])
def above(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AnyPath:
    """A folder for runs."""
    if request.param == "disk":
        return tmp_path
    monkeypatch.setattr(lock, "SECONDS", 2.0)
    bucket: S3Path = request.getfixturevalue("bucket")
    return bucket / "runs"


def replaced(above: AnyPath) -> list[AnyPath]:
    return [path for path in above.iterdir() if ".replaced-" in path.name]


def complete(run: AnyPath, plan: SomePlan, *, overwrite: bool = False) -> None:
    with start(Output(run, overwrite=overwrite), plan) as started:
        write_json(run / "history.json", plan.data)
        started.finish(record(started))


def test_a_run_is_kept_beside_the_new_one_until_that_is_complete(above: AnyPath) -> None:
    run = above / "run"
    complete(run, PLAN)
    for times in (1, 2):  # the second replaces one that was interrupted
        with pytest.raises(RuntimeError), start(Output(run, overwrite=True), OTHER):
            assert not (run / "history.json").exists()
            raise RuntimeError("a fault")
        assert len(replaced(above)) == times
        kept = [path for path in replaced(above) if (path / MANIFEST).is_file()]
        assert [SomeRecord.read(path).fingerprint for path in kept] == [PLAN.fingerprint]
        assert (kept[0] / "history.json").is_file()
    with start(Output(run, resume=True), OTHER) as resumed:
        resumed.finish(record(resumed))
    assert SomeRecord.read(run).fingerprint == OTHER.fingerprint
    assert replaced(above) == []


def test_nothing_is_removed_that_was_not_moved_aside_here(tmp_path: Path) -> None:
    precious = finished(tmp_path / "precious")
    run = finished(tmp_path / "run")
    for names in (["precious"], ["../precious"], "precious", [3]):
        write_json(run / ".replaced", names)
        (run / MANIFEST).unlink(missing_ok=True)
        with (
            pytest.raises(InputError, match=r"\.replaced"),
            start(Output(run, resume=True), PLAN) as resumed,
        ):
            resumed.finish(record(resumed))
    assert (precious / MANIFEST).is_file()


def test_a_run_is_not_replaced_while_another_job_writes_it(tmp_path: Path) -> None:
    run = finished(tmp_path / "run")
    with (
        start(Output(run, resume=True), PLAN),
        pytest.raises(InputError, match="another job is writing"),
        start(Output(run, overwrite=True), OTHER),
    ):
        pass
    assert replaced(tmp_path) == []


@pytest.mark.parametrize("name", ["notes.txt", ".git", "run", "model.bak"])
def test_a_run_is_not_replaced_with_anything_of_the_users_in_it(tmp_path: Path, name: str) -> None:
    run = finished(tmp_path / "run")
    (run / name).mkdir()
    with pytest.raises(InputError, match=f"holds {name}, which is no part of a training run"):
        check_output(run, "train", overwrite=True)


def test_a_folder_is_replaced_only_where_it_has_the_file_that_says_complete(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    for content in ("first", "second"):
        with atomic_folder(folder, last="readout.json", replace=True) as temporary:
            (temporary / "readout.json").write_text(content)
    assert (folder / "readout.json").read_text() == "second"
    assert list(tmp_path.iterdir()) == [folder]
    (folder / "readout.json").rename(folder / "config.json")
    with (
        pytest.raises(InputError, match="holds something else"),
        atomic_folder(folder, last="readout.json", replace=True),
    ):
        pass
    assert (folder / "config.json").read_text() == "second"


def test_on_s3_a_replaced_folder_has_the_new_files_alone(bucket: S3Path) -> None:
    for names in (("a", "b", "last"), ("b", "c", "last")):
        with atomic_folder(bucket / "folder", last="last", replace=True) as temporary:
            for name in names:
                (temporary / name).write_text(f"{name} of {names}")
        assert sorted(path.name for path in (bucket / "folder").files()) == sorted(names)
        assert (bucket / "folder" / "b").read_text() == f"b of {names}"

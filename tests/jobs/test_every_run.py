"""The contract of a complete run, for every job: verified, resumed only as it was started, kept."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

import pytest

from hyena_ray.dataset import preparation
from hyena_ray.errors import JobError
from hyena_ray.files import read_json, sha256_file
from hyena_ray.runs.record import EVERY_KIND, KINDS, MANIFEST, PLAN
from hyena_ray.runs.run import PROVENANCE
from tests.command_line import run_command
from tests.conftest import Once
from tests.jobs.bad_inputs import User, contents, edited
from tests.jobs.every_run import COMMANDS, ON_RAY, RESUMED, Job, each, make

VOLATILE = (MANIFEST, PLAN, PROVENANCE, "report.html", "study.db", "data.json")
"""Files with times, or with paths, in them."""


@pytest.fixture
def job(
    request: pytest.FixtureRequest,
    once: Once,
    good: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Job:
    """A job that has run, in a copy of the folder in which it did."""
    name = request.param
    if name in ON_RAY:
        request.getfixturevalue("cluster")
    made = once(f"every-{name}", lambda folder: make(name, good, folder))
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    return Job(name, COMMANDS[name], tmp_path)


def listed(folder: Path) -> Iterator[Path]:
    """Yield the files that a manifest lists, those of the runs inside included."""
    for file in read_json(folder / MANIFEST)["contents"]:
        path = folder / file["path"]
        assert (path.stat().st_size, sha256_file(path)) == (file["bytes"], file["sha256"])
        yield path
        if path.name == MANIFEST:
            yield from listed(path.parent)


@each(*COMMANDS)
def test_a_manifest_lists_every_output_and_verify_finds_all_that_is_lost_or_changed(
    job: Job,
) -> None:
    files = set(listed(job.out))
    manifest = read_json(job.out / MANIFEST)
    for output in manifest["outputs"].values():
        path = job.out / output
        inside = [path] if path.is_file() else [item for item in path.rglob("*") if item.is_file()]
        own = [item for item in inside if ".lock" not in item.name and item.name != MANIFEST]
        assert own or output == MANIFEST
        if job.name != "compare":  # whose runs have work files that no manifest lists
            assert set(own) <= files, output
    assert {"hyena-ray", "numpy"} <= manifest["versions"].keys()
    done = run_command("verify out", "--json")
    assert done.code == 0, done.stderr
    assert json.loads(done.stdout)["found"]["kind"] == job.kind
    for path in sorted(files):
        before = path.read_bytes()
        for change in (None, before[:-1], before[:-1] + bytes([before[-1] ^ 1])):
            if change is None:
                path.unlink()
            else:
                path.write_bytes(change)
            done = run_command("verify out")
            assert done.code in (1, 2), (path, done)
            assert str(path.relative_to(job.out)) in done.stderr
            path.write_bytes(before)
    assert run_command("verify out").code == 0


@each(*COMMANDS)
def test_a_folder_holds_what_its_kind_writes_and_nothing_else(job: Job) -> None:
    patterns = (*EVERY_KIND, *KINDS[job.kind].writes)
    for path in job.out.iterdir():
        assert any(fnmatch(path.name, pattern) for pattern in patterns), path.name


@each(*COMMANDS)
def test_no_folder_is_replaced_that_is_not_a_run_of_this_kind_alone(job: Job) -> None:
    out, other = job.out, next(kind for kind in KINDS if kind != job.kind)
    first = PLAN if (out / PLAN).exists() else MANIFEST
    values = {"kind": other, "schema_version": KINDS[other].schema_version}

    def is_model() -> None:
        shutil.rmtree(out)
        shutil.copytree(job.folder / "backbone", out)

    def is_other_kind() -> None:
        (out / first).write_text(json.dumps(read_json(out / first) | values))

    def holds_notes() -> None:
        (out / "notes.txt").write_text("years of work")

    for change in (holds_notes, is_other_kind, is_model):
        change()
        before = contents(job.folder)
        done = run_command(f"{job.command} --overwrite")
        assert done.code == 2, done.stderr
        assert "error: --out: out" in done.stderr.replace(f"{job.folder}/", "")
        assert contents(job.folder) == before


@each(*(name for name in COMMANDS if name not in ("prepare", "sequences")))
def test_a_run_that_is_replaced_is_kept_until_the_new_one_is_complete(job: Job) -> None:
    before = contents(job.out)
    user = User(job.folder)
    for times in (1, 2):
        user.starts(f"{job.command} --overwrite")
        aside = list(job.folder.glob("out.replaced-*"))
        assert len(aside) == times
        assert any(contents(folder) == before for folder in aside)
        assert not (job.out / MANIFEST).exists()
    done = run_command(f"{job.command} {'--resume' if job.name in RESUMED else '--overwrite'}")
    assert done.code == 0, done.stderr
    assert not list(job.folder.glob("out.replaced-*"))
    assert not (job.out / ".replaced").exists()
    assert run_command("verify out").code == 0


@pytest.mark.parametrize("job", ["prepare", "sequences"], indirect=True)
def test_prepared_data_are_kept_where_their_replacement_fails(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = contents(job.folder)

    def fail(*_: object) -> None:
        raise JobError("stopped")

    with monkeypatch.context() as patch:
        patch.setattr(preparation, "write_provenance", fail)
        assert run_command(f"{job.command} --overwrite").code == 1
    assert contents(job.folder) == before
    assert run_command(f"{job.command} --overwrite").code == 0
    assert sorted(path.name for path in job.folder.glob("out*")) == ["out"]
    assert read_json(job.out / MANIFEST) == json.loads(before[f"out/{MANIFEST}"] or b"")


INPUTS = {
    "train": {"data": "--data", "backbone": "--backbone"},
    "attribute": {"data": "--data", "model": "--model"},
    "predict": {"genome.fa": "--genome", "model": "--model"},
    "variants": {"genome.fa": "--genome", "variants.tsv": "--vcf", "model": "--model"},
    "embed": {"genome.fa": "--genome", "regions.bed": "--regions", "model": "--model"},
    "pretrain": {"genome.fa": "--genome", "backbone": "--backbone"},
    "tune": {"data": "--data", "backbone": "--backbone", "space.yaml": "--space"},
    "compare": {"data": "--data"},
}
"""Inputs of every job that is resumed, and their options."""


@each(*RESUMED)
def test_a_run_is_resumed_where_its_inputs_were_moved(job: Job) -> None:
    (job.folder / "elsewhere").mkdir()
    command = job.command
    for name, option in INPUTS[job.name].items():
        (job.folder / name).rename(job.folder / "elsewhere" / name)
        assert f"{option} {name}" in command
        command = command.replace(f"{option} {name}", f"{option} elsewhere/{name}")
    before = read_json(job.out / PLAN)
    (job.out / MANIFEST).unlink()  # as if it were not complete
    done = run_command(f"{command} --resume")
    assert done.code == 0, done.stderr
    assert read_json(job.out / PLAN) == before


def other_content(folder: Path, name: str) -> None:
    """Change an input so that it is one that can be used as well."""
    if name == "data":
        shutil.rmtree(folder / "data")
        command = COMMANDS["prepare"].replace("--out out", "--out data") + " --seed 7"
        assert run_command(command).code == 0
    elif name == "model":
        command = "threshold --model model --threshold 0.01 --out other"
        assert run_command(command).code == 0
        shutil.rmtree(folder / "model")
        (folder / "other").rename(folder / "model")
    elif name == "backbone":
        edited(f"{name}/config.json", lambda text: text.replace(b'_freq": 10', b'_freq": 11'))(
            folder
        )
    elif name in ("regions.bed", "variants.tsv"):
        edited(name, lambda text: text[: text.rstrip().rindex(b"\n") + 1])(folder)
    elif name == "space.yaml":
        edited(name, lambda text: text.replace(b"low: 1e-3", b"low: 2e-3"))(folder)
    else:
        edited(name, lambda text: text[:-2] + (b"C\n" if text[-2:-1] == b"A" else b"A\n"))(folder)


@each(*RESUMED)
def test_no_run_complete_or_not_is_resumed_with_other_inputs(job: Job) -> None:
    command = job.command
    for name in INPUTS[job.name]:
        kept = job.folder / "kept"
        (shutil.copytree if (job.folder / name).is_dir() else shutil.copy)(job.folder / name, kept)
        other_content(job.folder, name)
        for complete in (True, False):
            manifest = (job.out / MANIFEST).read_bytes()
            if not complete:
                (job.out / MANIFEST).unlink()
            before = contents(job.out)
            done = run_command(f"{command} --resume")
            assert done.code == 2, (name, done.stderr)
            assert f"out/{PLAN}: " in done.stderr
            if name != "space.yaml":  # whose settings are told
                assert "read from" in done.stderr
            assert contents(job.out) == before
            (job.out / MANIFEST).write_bytes(manifest)
        if kept.is_dir():
            shutil.rmtree(job.folder / name)
        kept.replace(job.folder / name)


@each(*RESUMED)
def test_a_complete_run_that_has_lost_or_damaged_files_makes_them_again(job: Job) -> None:
    kept = {
        path: path.read_bytes()
        for path in listed(job.out)
        if path.name not in VOLATILE and not path.match("out/comparison.*")
    }
    assert kept
    for damage in (Path.unlink, lambda path: path.write_bytes(b"damaged")):
        for path in kept:
            damage(path)
        assert run_command("verify out").code == 1
        done = run_command(f"{job.command} --resume")
        assert done.code == 0, done.stderr
        assert run_command("verify out").code == 0
        for path, before in kept.items():
            assert path.read_bytes() == before, path


LAST = {
    "train": "model/readout.json",
    "tune": "model/readout.json",
    "pretrain": "backbone/pretraining.json",
}
"""File of an output that says that the output is complete."""


@each(*LAST)
def test_an_output_without_the_file_that_says_complete_is_made_again(job: Job) -> None:
    path = job.out / LAST[job.name]
    before = path.read_bytes()
    path.unlink()
    done = run_command(f"{job.command} --resume")
    assert done.code == 0, done.stderr
    assert path.read_bytes() == before
    assert run_command("verify out").code == 0


@each(*RESUMED)
def test_a_complete_run_is_left_as_it_is(job: Job) -> None:
    before = (job.out / MANIFEST).read_bytes()
    done = run_command(f"{job.command} --resume")
    assert done.code == 0, done.stderr
    if job.name not in ("predict", "compare"):  # which may get other regions, or other presets
        assert (job.out / MANIFEST).read_bytes() == before
    assert run_command("verify out").code == 0


@pytest.mark.parametrize("job", ["train"], indirect=True)
def test_a_run_keeps_the_threads_of_its_first_start_and_names_other_versions(
    job: Job, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    import torch

    plan = read_json(job.out / PLAN)
    assert plan["plan"]["threads"] == 1
    provenance = read_json(job.out / PROVENANCE)
    provenance["versions"]["torch"] = "1.0"
    (job.out / PROVENANCE).write_text(json.dumps(provenance))
    (job.out / MANIFEST).unlink()
    used: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", used.append)
    with caplog.at_level("WARNING"):
        done = run_command(f"{job.command} --resume --threads 2")
    assert done.code == 0, done.stderr
    assert "torch 1.0" in caplog.text
    assert set(used) == {plan["plan"]["threads"]}
    assert read_json(job.out / PLAN) == plan


def test_every_kind_of_run_is_made_by_a_command() -> None:
    assert set(KINDS) == {"prepare" if name == "sequences" else name for name in COMMANDS}

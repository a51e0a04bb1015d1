"""Files are listed once each, and what is lost or changed is found, also in runs inside a run."""

from __future__ import annotations

from pathlib import Path

import pytest

from hyena_ray.errors import InputError
from hyena_ray.files import read_json, write_json
from hyena_ray.runs.plan import check_seal, sealed
from hyena_ray.runs.stored_files import MANIFEST, StoredFile, find_faults, list_files
from hyena_ray.runs.verification import verify_run
from tests.runs.test_run import PLAN, SomeRecord, finished
from tests.sealed_files import edit_sealed


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("model/weights", "model/deep/er", "model/.hidden", "table.csv", "other"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    return tmp_path


def test_outputs_are_listed_with_all_that_is_in_them_and_nothing_twice(folder: Path) -> None:
    files = list_files(folder, ("table.csv", "model", "model/deep", "missing"))
    assert [file.path for file in files] == ["model/deep/er", "model/weights", "table.csv"]
    assert [file.bytes for file in files] == [13, 13, 9]


def test_files_that_are_missing_shorter_or_changed_are_found(folder: Path) -> None:
    files = list_files(folder, ("model", "table.csv"))
    assert find_faults(folder, files) == []
    (folder / "model/weights").unlink()
    (folder / "model/deep/er").write_text("short")
    (folder / "table.csv").write_text("table.CSV")
    found = {fault.path: fault.problem for fault in find_faults(folder, files)}
    assert found.keys() == {"model/weights", "model/deep/er", "table.csv"}
    assert "missing" in found["model/weights"]
    assert "5 bytes, not 13" in found["model/deep/er"]
    assert "sha256" in found["table.csv"]


@pytest.mark.parametrize("path", ["../x", "/etc/passwd", "a/../../x", ""])
def test_no_path_leads_out_of_the_folder(path: str) -> None:
    with pytest.raises(InputError, match="leads out of the folder"):
        StoredFile.parse({"path": path, "bytes": 1, "sha256": "0"}, "manifest.json")


def test_a_run_inside_is_listed_by_its_manifest_and_verified_as_a_whole(folder: Path) -> None:
    inner = folder / "runs" / "first"
    inner.mkdir(parents=True)
    (inner / "model").write_text("weights")
    finished(inner)
    for names in (("runs",), ("runs/first",), ("runs/first/model",)):
        assert [file.path for file in list_files(folder, names)] == [f"runs/first/{MANIFEST}"]
    record = SomeRecord.make(
        fingerprint=PLAN.fingerprint, simulated=True, outputs={"runs": "runs"}, score=0.5
    )
    listed = list_files(folder, ("runs", "table.csv"))
    record.model_copy(update={"contents": listed}).write(folder)
    assert verify_run(folder).faults == ()
    assert verify_run(folder).files == len(listed) + len(read_json(inner / MANIFEST)["contents"])
    (inner / "model").write_text("WEIGHTS")
    (fault,) = verify_run(folder).faults
    assert (fault.path, fault.is_of("runs"), fault.is_of("run")) == (
        "runs/first/model",
        True,
        False,
    )


def test_what_was_sealed_is_returned_and_any_change_refused(tmp_path: Path) -> None:
    values = {"kind": "train", "numbers": {1: 0.1}, "none": None}
    stored = sealed(values)
    write_json(tmp_path / "plan.json", stored)
    again = read_json(tmp_path / "plan.json")
    assert check_seal(again, tmp_path) == {"kind": "train", "numbers": {"1": 0.1}, "none": None}
    for change in ({"kind": "tune"}, {"more": 1}, {"numbers": {"1": 0.2}}, {"sha256": "0"}):
        with pytest.raises(InputError, match="was changed"):
            check_seal({**again, **change}, tmp_path / "plan.json")
    del again["none"]
    with pytest.raises(InputError, match="was changed"):
        check_seal(again, tmp_path / "plan.json")


def test_an_edited_manifest_is_refused_and_one_that_was_sealed_again_is_not(tmp_path: Path) -> None:
    folder = finished(tmp_path / "run")
    edit_sealed(folder / MANIFEST, lambda values: values.update(score=0.75))
    assert SomeRecord.read(folder).score == 0.75
    path = folder / MANIFEST
    path.write_text(path.read_text().replace("0.75", "0.85"))
    with pytest.raises(InputError, match=r"manifest\.json: was changed"):
        SomeRecord.read(folder)
    with pytest.raises(InputError, match=r"manifest\.json: was changed"):
        verify_run(folder)

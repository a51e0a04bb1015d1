"""Where a run is written: what is resumed is this user's, and nothing is reached through a link."""

from __future__ import annotations

from pathlib import Path

import pytest

from hyena_ray.cluster.folder import begin, check_output, only_writer
from hyena_ray.errors import InputError


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run that was begun."""
    out = tmp_path / "run"
    with only_writer(out, overwrite=False):
        begin(out, {"space": {"task": "zdna"}})
    return out


@pytest.mark.parametrize("name", ["config.yaml", "study.db", "trials", "shards", "model", "kmers"])
def test_a_run_with_a_link_in_it_is_not_resumed(run: Path, tmp_path: Path, name: str) -> None:
    (run / name).unlink(missing_ok=True)
    (tmp_path / "elsewhere").write_text("space: {task: zdna}")
    (run / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match=f"{name}: is a link"):
        check_output(run, None, resume=True, overwrite=False)


def test_a_run_that_all_may_write_is_not_resumed(run: Path) -> None:
    (run / "config.yaml").chmod(0o666)
    with pytest.raises(InputError, match=r"config\.yaml: mode 666: .*chmod -R o-w"):
        check_output(run, None, resume=True, overwrite=False)


def test_a_run_of_this_user_is_resumed(run: Path) -> None:
    assert check_output(run, None, resume=True, overwrite=False) == run
    with only_writer(run, overwrite=False):
        assert begin(run, {"space": {"task": "zdna"}}) == {"space": {"task": "zdna"}}


def test_the_lock_is_not_taken_through_a_link(run: Path, tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("kept")
    (run / ".lock").unlink()
    (run / ".lock").symlink_to(tmp_path / "precious")
    with pytest.raises(InputError, match=r"\.lock: is a link"), only_writer(run, overwrite=True):
        pass
    assert (tmp_path / "precious").read_text() == "kept"


def test_overwriting_removes_a_link_and_not_what_it_leads_to(run: Path, tmp_path: Path) -> None:
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "file").write_text("kept")
    (run / "trials").symlink_to(tmp_path / "precious")
    with only_writer(check_output(run, None, resume=False, overwrite=True), overwrite=True):
        assert [path.name for path in run.iterdir()] == [".lock"]
    assert (tmp_path / "precious" / "file").read_text() == "kept"


def test_only_one_job_writes(run: Path) -> None:
    with (
        only_writer(run, overwrite=False),
        pytest.raises(InputError, match="another job is writing here"),
        only_writer(run, overwrite=False),
    ):
        pass

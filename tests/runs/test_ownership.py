"""A job resumes only what is its user's own, and no name leads out of its folder."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path

import pytest

from hyena_ray.errors import InputError
from hyena_ray.runs._ownership import check_ownership, open_lock


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A folder as an interrupted run leaves it."""
    run = tmp_path / "run"
    for name in ("plan.json", "study.db", "trials/0000/checkpoint.pt", "shards/shard-00000"):
        (run / name).parent.mkdir(parents=True, exist_ok=True)
        (run / name).write_text(name)
    return run


def test_a_run_of_this_user_is_resumed_though_its_group_may_write(run: Path) -> None:
    (run / "study.db").chmod(0o664)
    (run / "trials").chmod(0o2775)
    check_ownership(run)


def test_a_run_that_is_not_there_yet_is_none_to_refuse(tmp_path: Path) -> None:
    check_ownership(tmp_path / "new")


@pytest.mark.parametrize(
    "name", ["study.db", "plan.json", "trials", "trials/0000", "shards", "shards/shard-00000"]
)
def test_a_link_in_a_run_is_refused_wherever_it_leads(run: Path, tmp_path: Path, name: str) -> None:
    (run / name).rename(tmp_path / "elsewhere")
    (run / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError) as refusal:
        check_ownership(run)
    assert str(refusal.value) == f"{run / name}: is a link, and may lead anywhere; remove it"


def test_a_link_in_place_of_the_run_is_refused(run: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(run)
    with pytest.raises(InputError, match="is a link"):
        check_ownership(tmp_path / "link")


def test_a_pipe_in_a_run_is_refused(run: Path) -> None:
    os.mkfifo(run / "manifest.json")
    with pytest.raises(InputError, match=r"manifest\.json: is neither file nor folder"):
        check_ownership(run)


def test_a_run_of_another_user_is_refused(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    owner = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    with pytest.raises(InputError) as refusal:
        check_ownership(run)
    assert str(refusal.value) == (
        f"{run}: user {owner}: belongs to another user than this one ({owner + 1}); "
        "resume as that user, or give a new folder"
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_one_file_of_another_user_is_enough(run: Path) -> None:
    os.chown(run / "trials/0000/checkpoint.pt", os.geteuid() + 1, -1)
    with pytest.raises(InputError, match=r"checkpoint\.pt: user \d+: belongs to another user"):
        check_ownership(run)


@pytest.mark.parametrize(
    ("name", "mode"), [(".", 0o777), ("trials/0000", 0o1777), ("study.db", 0o646)]
)
def test_state_that_all_may_write_is_refused_with_the_command_that_mends_it(
    run: Path, name: str, mode: int
) -> None:
    (run / name).chmod(mode)
    with pytest.raises(InputError) as refusal:
        check_ownership(run)
    message = str(refusal.value)
    assert message.startswith(f"{run / name}: mode {mode:o}: writable by all")
    command = message.rpartition("trust it: ")[2]
    assert command == f"chmod -R o-w {run}"
    subprocess.run(shlex.split(command), check=True)
    check_ownership(run)


def test_a_file_that_another_job_removes_meanwhile_is_no_error(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = Path.iterdir
    monkeypatch.setattr(Path, "iterdir", lambda path: [*listed(path), path / ".part.7.tmp"])
    check_ownership(run)


def test_a_lock_is_not_opened_through_a_link_and_empties_nothing(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("kept")
    (tmp_path / ".lock").symlink_to(tmp_path / "precious")
    with pytest.raises(InputError, match=r"\.lock: is a link"):
        open_lock(tmp_path / ".lock")
    (tmp_path / "dangling").symlink_to(tmp_path / "new")
    with pytest.raises(InputError, match="dangling: is a link"):
        open_lock(tmp_path / "dangling")
    assert (tmp_path / "precious").read_text() == "kept"
    assert not (tmp_path / "new").exists()

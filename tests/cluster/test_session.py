"""Other users of a machine do not get into the folder of Ray's session."""

from __future__ import annotations

import logging
import os
import stat
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray

from hyena_ray.cluster import session, start
from hyena_ray.cluster.resources import Cluster
from hyena_ray.cluster.session import private_session, warn_of_open_session, writable_by_others
from hyena_ray.errors import InputError, JobError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder that others can enter, whatever is above it."""
    tmp_path.chmod(0o755)
    return tmp_path


@pytest.fixture
def checked_from(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`folder`, above which every folder lets others pass: pytest's own ones do not."""
    monkeypatch.setattr(
        session, "_way_to", lambda path: [folder, *_between(folder, path)], raising=True
    )
    return folder


def _between(top: Path, path: Path) -> list[Path]:
    return [parent for parent in reversed(path.parents) if top in parent.parents] + [path]


def made(path: Path, mode: int) -> Path:
    path.mkdir()
    path.chmod(mode)
    return path


def test_a_cluster_that_a_job_starts_cannot_be_entered_by_others(cluster: Cluster) -> None:
    folder = Path(ray.init(ignore_reinit_error=True).address_info["session_dir"])
    assert stat.S_IMODE(folder.stat().st_mode) == 0o777, "Ray's fault: then all this can go"
    assert stat.S_IMODE(folder.parents[1].stat().st_mode) == 0o700
    assert writable_by_others(folder) is None


def test_a_folder_as_ray_start_leaves_it_is_found(checked_from: Path) -> None:
    temporary = made(checked_from / "ray", 0o777)
    latest = made(temporary / "session_1", 0o777)
    assert writable_by_others(latest) == temporary
    temporary.chmod(0o755)
    assert writable_by_others(latest) == latest
    latest.chmod(0o755)
    assert writable_by_others(latest) is None
    resources = made(latest / "runtime_resources", 0o777)
    assert writable_by_others(latest) == resources


def test_mode_700_anywhere_above_closes_it_and_a_sticky_folder_is_no_way_in(
    checked_from: Path,
) -> None:
    private = made(checked_from / "private", 0o700)
    latest = made(made(private / "ray", 0o777) / "session_1", 0o777)
    assert writable_by_others(latest) is None
    private.chmod(0o755)
    assert writable_by_others(latest) == private / "ray"
    sticky = made(checked_from / "sticky", 0o1777)
    assert writable_by_others(made(sticky / "session_1", 0o755)) is None
    assert writable_by_others(checked_from / "none") is None


def test_joining_a_cluster_with_such_a_folder_warns_and_names_it(
    checked_from: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    latest = made(checked_from / "session_1", 0o777)

    def init(**_: Any) -> SimpleNamespace:
        info = {"session_dir": str(latest)}
        return SimpleNamespace(address_info=info, dashboard_url=None)

    monkeypatch.setattr(start.ray, "is_initialized", lambda: False)
    monkeypatch.setattr(start.ray, "init", init)
    monkeypatch.setattr(start.ray, "shutdown", lambda: None)
    monkeypatch.setattr(start, "_describe", lambda *_: None)
    monkeypatch.setattr(session.os, "geteuid", lambda: 0)
    for mode, warnings in ((0o777, 1), (0o755, 0)):
        latest.chmod(mode)
        caplog.clear()
        with start.connect("auto"):
            pass
        lines = [entry for entry in caplog.records if entry.levelno == logging.WARNING]
        assert len(lines) == warnings
        assert all(str(latest) in entry.getMessage() for entry in lines)


def test_a_container_with_no_other_user_is_not_warned_of(
    checked_from: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    latest = made(checked_from / "session_1", 0o777)
    first = Path("/proc/1").stat().st_uid
    for user, warned in ((first or 1000, first == 0), (0, True)):
        caplog.clear()
        monkeypatch.setattr(session.os, "geteuid", lambda user=user: user)
        warn_of_open_session(latest)
        assert bool(caplog.records) == warned


def test_the_folder_is_new_private_removed_and_the_variable_is_as_before(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "LONGEST_SOCKET", 1000)
    for variable in ("RAY_TMPDIR", "TMPDIR"):
        monkeypatch.delenv("RAY_TMPDIR", raising=False)
        monkeypatch.setenv(variable, str(folder))
        before = os.environ.get("RAY_TMPDIR")
        with private_session() as private:
            assert private.parent == folder
            assert stat.S_IMODE(private.stat().st_mode) == 0o700
            assert os.environ["RAY_TMPDIR"] == str(private)
        assert not private.exists()
        assert os.environ.get("RAY_TMPDIR") == before


@pytest.mark.parametrize(
    ("error", "kept"), [(JobError("x"), True), (InputError("x", 1, "y", "z"), False)]
)
def test_what_ray_has_logged_is_kept_for_a_failure_that_it_may_explain(
    error: Exception, kept: bool, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "LONGEST_SOCKET", 1000)
    monkeypatch.setenv("RAY_TMPDIR", str(folder))
    with pytest.raises(type(error)), private_session() as private:
        (private / "ray").mkdir()
        raise error
    assert private.exists() == kept


def test_the_longest_folder_that_is_taken_leaves_room_for_every_socket(
    monkeypatch: pytest.MonkeyPatch, cluster: Cluster
) -> None:
    info = ray.init(ignore_reinit_error=True).address_info
    sockets = (info["object_store_address"], info["raylet_socket_name"])
    below = max(len(path.partition("/ray/")[2]) for path in sockets)
    assert below <= len(session.BELOW.format(process=os.getpid()).removeprefix("/ray/"))


@pytest.mark.parametrize("variable", ["RAY_TMPDIR", "TMPDIR"])
@pytest.mark.parametrize("kind", ["long", "missing", "file"])
def test_a_folder_that_cannot_hold_a_session_is_refused_by_the_name_of_its_variable(
    variable: str, kind: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(start.ray, "is_initialized", lambda: False)
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    (folder / "file").touch()
    if kind != "long":
        monkeypatch.setattr(session, "LONGEST_SOCKET", 1000)
    monkeypatch.setenv(variable, str(folder / ("x" * 100 if kind == "long" else kind)))
    with pytest.raises(InputError, match=f"^{variable}: .*RAY_TMPDIR"), start.connect("local"):
        pass

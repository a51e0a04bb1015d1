"""Files and folders appear whole or not at all, and nothing is overwritten unasked."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from hyena_ray.errors import InputError
from hyena_ray.files import (
    atomic_file,
    atomic_folder,
    is_unused,
    new_output,
    read_json,
    remove_temporary_files,
    write_json,
)


def fail_midway() -> None:
    raise RuntimeError("midway")


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    target = tmp_path / "table.csv"
    target.write_text("old")
    with pytest.raises(RuntimeError, match="midway"), atomic_file(target) as temporary:
        temporary.write_text("new")
        fail_midway()
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"table.csv": "old"}


@pytest.mark.parametrize("durable", [True, False])
def test_only_a_durable_file_is_flushed_to_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, durable: bool
) -> None:
    flushed: list[int] = []
    monkeypatch.setattr(os, "fsync", flushed.append)
    with atomic_file(tmp_path / "bases", durable=durable) as temporary:
        temporary.write_text("ACGT")
    assert (tmp_path / "bases").read_text() == "ACGT"
    assert len(flushed) == durable


def test_a_failed_folder_leaves_nothing(tmp_path: Path) -> None:
    with (
        pytest.raises(RuntimeError, match="midway"),
        atomic_folder(tmp_path / "out", last="part") as temporary,
    ):
        (temporary / "part").write_text("x")
        fail_midway()
    assert list(tmp_path.iterdir()) == []


def test_a_finished_folder_takes_its_name(tmp_path: Path) -> None:
    with atomic_folder(tmp_path / "out", last="part") as temporary:
        write_json(temporary / "a.json", {"b": 1})
    assert read_json(tmp_path / "out" / "a.json") == {"b": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_writers_with_one_process_id_never_share_a_temporary_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As in two containers that write to one folder.
    monkeypatch.setattr(os, "getpid", lambda: 1)
    with (
        pytest.raises(OSError, match="not empty"),  # the other one was faster
        atomic_folder(tmp_path / "out", last="a") as slow,
    ):
        (slow / "a").write_text("slow")
        with atomic_folder(tmp_path / "out", last="a") as quick:
            assert quick.name != slow.name
            (quick / "a").write_text("quick")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert (tmp_path / "out" / "a").read_text() == "quick"


def test_the_longest_name_has_a_temporary_one(tmp_path: Path) -> None:
    for name in ("x" * 255, "é" * 127):
        with atomic_file(tmp_path / name) as temporary:
            temporary.write_text("a")
        assert (tmp_path / name).read_text() == "a"


def test_what_killed_writers_left_is_swept_in_a_folder_and_beside_it(tmp_path: Path) -> None:
    killed = []

    def leave(folder: Path) -> Path:
        killed.append(atomic_folder(folder, last="a"))
        return killed[-1].__enter__()  # and never comes to its end

    folder = tmp_path / "data[1]"
    (folder / "inner").mkdir(parents=True)
    kept = [leave(tmp_path / "data"), leave(tmp_path / "data[1].x"), folder / "inner"]
    swept = [leave(folder), leave(folder / "model"), leave(folder / "inner" / "model")]
    remove_temporary_files(folder)
    assert [path.exists() for path in kept] == [True] * 3
    assert [path.exists() for path in swept] == [False] * 3


def test_a_folder_in_which_a_job_was_killed_at_its_start_is_unused(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    assert is_unused(folder, besides=".lock")
    folder.mkdir()
    (folder / ".lock").touch()
    (folder / ".plan.json.host.0123456789abcdef.tmp").touch()
    assert is_unused(folder, besides=".lock")
    (folder / "notes.txt").touch()
    assert not is_unused(folder, besides=".lock")


def test_an_existing_output_is_refused_unless_asked(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "kept").touch()
    with pytest.raises(InputError, match="exists already"):
        new_output(tmp_path / "out")
    assert new_output(tmp_path / "out", allow_existing=True) == tmp_path / "out"
    assert (tmp_path / "out" / "kept").exists()


def test_a_file_or_a_link_is_no_output_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path)
    for name in ("file", "link"):
        with pytest.raises(InputError, match="not a plain folder"):
            new_output(tmp_path / name, allow_existing=True)


def test_a_relative_output_is_refused_inside_a_submitted_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unpacked = tmp_path / "runtime_resources" / "working_dir_files" / "pkg"
    unpacked.mkdir(parents=True)
    monkeypatch.chdir(unpacked)
    with pytest.raises(InputError, match="absolute"):
        new_output(Path("out"))


@pytest.mark.parametrize(
    ("body", "code", "message"),
    [
        (
            "raise InputError('a.bed:3', 'x', 'bad', 'mend it')",
            2,
            "error: a.bed:3: x: bad; mend it",
        ),
        ("raise KeyboardInterrupt", 130, "SIGINT"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGTERM)", 143, "SIGTERM"),
        ("pass", 0, ""),
    ],
)
def test_a_job_says_in_its_exit_code_how_it_ended(body: str, code: int, message: str) -> None:
    script = (
        "from hyena_ray.cli.terminal import run_in_terminal\n"
        "from hyena_ray.errors import InputError\n"
        f"def work():\n    {body}\nrun_in_terminal('job', work)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.returncode, message in done.stderr) == (code, True)
    assert done.stderr.count("\n") <= 1

"""The token of a cluster stays in the environment of its processes."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

JOB = Path(__file__).parents[2] / "jobs" / "tune_zdna.py"
SPACE = """\
task: zdna
trials: 1
settings: {data.length: 40, data.limit: 400, model.d_model: 16, model.n_layer: 1,
           readout.flank: 8, readout.lookahead: 8, training.epochs: 2}
search:
  training.learning_rate: {low: 4e-3, high: 1e-2, log: true}
"""


@pytest.fixture
def short() -> Iterator[Path]:
    """For Ray's own files: its sockets need a short path."""
    folder = Path(tempfile.mkdtemp(prefix="hr", dir="/tmp"))
    yield folder
    shutil.rmtree(folder)


def holders(folder: Path, secret: str) -> list[Path]:
    """Files under a folder that have a secret in them, or in their name."""
    found = []
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):  # removed meanwhile
            if secret in path.name or (path.is_file() and secret.encode() in path.read_bytes()):
                found.append(path)
    return found


def arguments_of(process: psutil.Process) -> set[str]:
    """Of every process that it has started, and its own."""
    found = set()
    for each in (process, *process.children(recursive=True)):
        try:
            found.update(each.cmdline())
        except psutil.Error:  # ended meanwhile
            continue
    return found


@pytest.mark.slow
def test_the_token_is_in_no_file_no_log_and_no_argument_of_a_whole_run(
    small_data: Path, tmp_path: Path, short: Path
) -> None:
    (tmp_path / "space.yaml").write_text(SPACE)
    token = secrets.token_hex(32)
    environment = {
        **os.environ,
        "HOME": str(tmp_path),
        "RAY_TMPDIR": str(short),
        "RAY_AUTH_TOKEN": token,
    }
    command = [sys.executable, str(JOB), "--out", str(tmp_path / "run")]
    command += ["--data", str(small_data), "--space", str(tmp_path / "space.yaml")]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as job:
        process, seen, ended = psutil.Process(job.pid), set[str](), threading.Event()
        names, leaks = set[str](), list[Path]()

        def watch() -> None:
            while not ended.wait(0.5):
                seen.update(arguments_of(process))
                # While the job runs: Ray's own files are removed with it.
                with suppress(FileNotFoundError):
                    names.update(path.name for path in short.rglob("*"))
                    leaks.extend(holders(short, token))

        watcher = threading.Thread(target=watch)
        watcher.start()
        output, _ = job.communicate()
        ended.set()
        watcher.join()
    assert job.returncode == 0, output
    assert (tmp_path / "run" / "manifest.json").is_file()
    assert any("raylet" in argument for argument in seen), "the cluster was watched"
    assert not [argument for argument in seen if token in argument]
    assert token not in output
    assert "gcs_server.out" in names, "its logs were looked at"
    assert leaks == []
    assert list(short.iterdir()) == []
    assert holders(tmp_path, token) == []
    links = [path for path in (tmp_path / "run").rglob("*") if path.is_symlink()]
    assert links == [], "a run that makes links could not be resumed"

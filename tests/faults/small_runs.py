"""Small runs, the jobs as processes of their own, and clusters whose nodes can be killed."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import psutil

from hyena_ray.storage import AnyPath
from tests.command_line import process_of


class Inputs(NamedTuple):
    """What a run is made of."""

    data: AnyPath
    space: Path

    def arguments(self, out: AnyPath, *more: str) -> list[str]:
        """Return the words of a search that writes to `out`."""
        given = ("--data", str(self.data), "--space", str(self.space), "--out", str(out))
        return ["tune", "zdna", *given, *more]


class Nodes:
    """A head that runs nothing, and workers that can be killed.

    Args:
        home: Home folder of its processes and of the jobs that join it.
        environment: Variables of all of them besides those of this process.
    """

    def __init__(self, home: Path, environment: Mapping[str, str] = {}) -> None:
        self.environment = {
            **os.environ,
            **environment,
            "HOME": str(home),
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": secrets.token_hex(32),
        }
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("nodes_of_a_cluster.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=self.environment,
            text=True,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._write, self._read = self._process.stdin, self._process.stdout
        self.address = self._read.readline().strip()
        self.workers: list[psutil.Process] = []
        """Their raylets."""

    def add(self, cpus: float = 1.0) -> None:
        self._write.write(f"{cpus}\n")
        self._write.flush()
        self.workers.append(psutil.Process(int(self._read.readline())))

    def kill(self, number: int) -> None:
        """As when a machine is lost: the raylet and all that it runs."""
        raylet = self.workers.pop(number)
        for process in [raylet, *raylet.children(recursive=True)]:
            with suppress(psutil.NoSuchProcess):
                process.kill()

    def start(self, *words: str) -> Job:
        """Start `hyena-ray WORDS` on this cluster."""
        return Job(process_of(*words, "--address", self.address), self.environment)

    def shutdown(self) -> None:
        self._write.close()
        self._process.wait(60)
        self._read.close()


class Job:
    """A job as a process of its own."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str] = os.environ) -> None:
        # Not a pipe, which nobody reads while the job runs, and which may be full.
        self._messages = Path(tempfile.mkstemp(prefix="messages-")[1])
        with self._messages.open("w") as stream:
            self.process = subprocess.Popen(
                command, stdout=subprocess.DEVNULL, stderr=stream, env=environment
            )

    @property
    def messages(self) -> str:
        """What it has said so far."""
        return self._messages.read_text()[-20_000:]

    def wait_for(self, condition: Callable[[], bool]) -> None:
        """Until something is so, while the job runs."""
        deadline = time.monotonic() + 300
        while not condition():
            assert self.process.poll() is None, self.messages
            assert time.monotonic() < deadline, self.messages
            time.sleep(0.1)

    def finish(self, code: int = 0) -> str:
        """The messages of a job that ends with this code."""
        assert self.process.wait(600) == code, self.messages
        return self.messages

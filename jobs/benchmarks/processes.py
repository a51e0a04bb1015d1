"""Processor time and peak memory of processes."""

from __future__ import annotations

import threading
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

import psutil

EVERY = 0.1
"""Seconds between two samples, short enough to see processes that end soon."""


class Usage(NamedTuple):
    """Resources that one process has used since its start."""

    title: str
    """Command line of the process, or the title that it set: Ray's workers name their task."""
    processor_s: float
    """Processor time in seconds."""
    peak_mb: float
    """Peak resident memory in megabytes (10^6 bytes)."""


class Watch:
    """Samples the resources of this process and of all its descendants."""

    def __init__(self) -> None:
        self._last: dict[int, Usage] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look_on, daemon=True, name="watch")

    def __enter__(self) -> Self:
        self._look()
        self._before = self._processor_s()
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._over.set()
        self._thread.join()
        self._look()
        self.processor_s = self._processor_s() - self._before

    def peaks_mb(self, name: str) -> list[float]:
        """Return the peak memory in MB of every process whose title contains a name."""
        return [found.peak_mb for found in self._last.values() if name in found.title]

    def _processor_s(self) -> float:
        return sum(found.processor_s for found in self._last.values())

    def _look_on(self) -> None:
        while not self._over.wait(EVERY):
            self._look()

    def _look(self) -> None:
        this = psutil.Process()
        for process in [this, *this.children(recursive=True)]:
            with suppress(psutil.Error, OSError, StopIteration):
                times = process.cpu_times()
                title = " ".join(process.cmdline())
                self._last[process.pid] = Usage(
                    title, times.user + times.system, peak_mb(process.pid)
                )


def peak_mb(pid: int) -> float:
    """Return the peak resident memory of a process so far, in MB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(1.024e-3 * int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))

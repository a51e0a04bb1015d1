"""What processes take while something runs: processor time, and memory at most."""

from __future__ import annotations

import threading
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

import psutil

EVERY = 0.1
"""Seconds between two looks, so that little is missed of a process that ends meanwhile."""


class Taken(NamedTuple):
    """By one process since it began."""

    title: str
    """Its command line, or what it calls itself: Ray's workers say what they work at."""
    processor_s: float
    peak_mb: float
    """Resident memory at most, in units of 1,000,000 bytes."""


class Watch:
    """Looks at this process and at all that it has started, and those that they have."""

    def __init__(self) -> None:
        self._last: dict[int, Taken] = {}
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
        """Of the processes that have this name in their title."""
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
                self._last[process.pid] = Taken(
                    title, times.user + times.system, peak_mb(process.pid)
                )


def peak_mb(pid: int) -> float:
    """Resident memory of a process at most, so far."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(1.024e-3 * int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))

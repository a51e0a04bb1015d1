"""End what a killed job leaves of the cluster that it started.

Most of Ray's processes die with the job, by the system's hand. Two agents of 200 MB each try for a
minute to report to the head that the node has died, although the head has died as well; the time is
fixed in Ray 2.60. This module is also a program, a small process that waits for the end of the job.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess  # nosec B404
import sys
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PATIENCE = 3.0
"""Seconds in which processes may end by themselves."""


@contextmanager
def no_orphans(besides: Collection[int], folder: Path) -> Iterator[None]:
    """See to it that the processes below this one end soon after it, if it is killed in the block.

    Args:
        besides: Ids of those that are left alone, such as what ran before a cluster was started.
            So is what starts in the block.
        folder: Folder of the cluster's files, which is removed then.
    """
    numbers = [str(child) for child in descendants(os.getpid()) if child not in besides]
    # Neither packages nor the environment of the job are loaded: it takes 8 MB. Every word of the
    # command is this program's own.
    with subprocess.Popen(  # nosec B603
        [sys.executable, "-I", "-S", __file__, str(folder), *numbers],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C is not for it
    ) as watcher:
        try:
            yield
        finally:
            watcher.kill()


def descendants(process: int) -> list[int]:
    """Return the ids of all processes that a process has started, and that these have.

    Args:
        process: Id of the process.
    """
    children: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has ended meanwhile
            # After the name, which may hold blanks and brackets: state and parent.
            parent = int(path.read_text().rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(path.parent.name))
    found, waiting = [], [process]
    while waiting:
        new = children.get(waiting.pop(), [])
        found += new
        waiting += new
    return found


def _main() -> None:
    # Handles, not numbers, which the system gives to other processes later.
    handles = []
    _, folder, *numbers = sys.argv
    for number in numbers:
        with suppress(OSError):
            handles.append(os.pidfd_open(int(number)))
    sys.stdin.read()  # ends with the job, which never writes
    time.sleep(PATIENCE)
    for handle in handles:
        with suppress(OSError):
            signal.pidfd_send_signal(handle, signal.SIGKILL)
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    _main()

"""Stop what makes no progress: Ray waits for ever where others fail."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from hyena_ray.errors import JobError


class StalledError(JobError):
    """Nothing has happened for longer than allowed."""


class Watchdog:
    """Remembers when something last happened."""

    def __init__(self, limit: float) -> None:
        self.limit = limit
        self.bit = False
        self._last = time.monotonic()

    def progress(self) -> None:
        """Say that something has happened."""
        self._last = time.monotonic()

    def idle(self) -> float:
        """Seconds since the last progress."""
        return time.monotonic() - self._last


@contextmanager
def watchdog(limit: float, what: str) -> Iterator[Watchdog]:
    """Interrupt the main thread once `progress()` was not called for `limit` seconds.

    Must be entered in the main thread, where Ctrl-C is not caught inside.

    Args:
        limit: seconds.
        what: what is waited for, as the message has it.

    Raises:
        StalledError: in place of the KeyboardInterrupt that the watchdog caused.
    """
    dog = Watchdog(limit)
    done = threading.Event()
    main = threading.main_thread().ident
    assert main is not None

    def watch() -> None:
        while not done.wait(min(1.0, limit / 4)):
            if dog.idle() > limit:
                dog.bit = True
                # A signal, unlike an exception, also ends a wait inside Ray's compiled code.
                signal.pthread_kill(main, signal.SIGINT)
                dog.progress()

    thread = threading.Thread(target=watch, daemon=True, name="watchdog")
    # A shell's background job begins with SIGINT ignored: the bite would go unnoticed.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    thread.start()
    try:
        yield dog
    except KeyboardInterrupt:
        if not dog.bit:
            raise
        raise StalledError(
            f"no progress for {limit:g} s in {what}; see `ray status` for what it waits for"
        ) from None
    finally:
        done.set()
        thread.join()
        signal.signal(signal.SIGINT, before)

"""What makes no progress is stopped."""

from __future__ import annotations

import signal
import time

import pytest

from hyena_ray.cluster.monitor import StalledError, watchdog


def test_a_wait_without_progress_is_interrupted() -> None:
    with (
        pytest.raises(StalledError, match=r"no progress for 0.2 s in a test"),
        watchdog(0.2, "a test"),
    ):
        time.sleep(20)


def test_progress_keeps_it_quiet() -> None:
    with watchdog(0.5, "a test") as dog:
        for _ in range(5):
            time.sleep(0.2)
            dog.progress()


def test_ctrl_c_is_not_taken_for_a_stall() -> None:
    with pytest.raises(KeyboardInterrupt), watchdog(60, "a test"):
        raise KeyboardInterrupt


def test_it_bites_where_the_shell_has_left_sigint_ignored() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with pytest.raises(StalledError), watchdog(0.2, "a wait"):
            time.sleep(10)
        assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)

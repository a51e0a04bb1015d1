"""What makes no progress is stopped."""

from __future__ import annotations

import signal
import time
from typing import Any

import pytest
import torch

from hyena_ray.cluster import monitor
from hyena_ray.cluster.monitor import StalledError, gpu_memory, watchdog
from hyena_ray.model import devices


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


def test_the_metric_of_a_trials_gpu_memory_has_its_name_and_is_reset_at_its_end(
    cluster: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    exported: list[tuple[float, str]] = []
    peaks = iter((5, 7))

    def export(gauge: object, value: float, tags: dict[str, Any]) -> None:
        exported.append((value, tags["trial"]))

    monkeypatch.setattr(monitor.Gauge, "set", export)
    with gpu_memory("trials", "trial_0003") as update:
        update()
    assert exported == []
    monkeypatch.setattr(devices, "default_device", lambda: torch.device("cuda"))
    monkeypatch.setattr(devices, "peak_bytes", lambda device: next(peaks))
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device: None)
    with gpu_memory("trials", "trial_0003") as update:
        update()
        update()
    assert exported == [(value, "trial_0003") for value in (5, 7, 0)]

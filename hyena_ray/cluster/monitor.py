"""How far a job on Ray is, also in metrics of Ray, and the end of one that makes no progress."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

import ray
from ray.util.metrics import Counter, Gauge

from hyena_ray import progress
from hyena_ray.errors import JobError
from hyena_ray.progress import State

METRICS = {
    "windows_per_second": "Windows done a second, since the work began",
    "shards_done": "Shards that are done",
    "shards_total": "Shards that there were to do",
    "best_score": "Highest validation score of a trial that finished",
    "loss": "Training loss of the last step, in nats",
    "trials": "Trials in each state",
}
"""Gauges, each named `hyena_ray_NAME`; Ray's endpoint puts `ray_` before that. All have the tags
`work` and `JobId`, trials also `state`. The counter `hyena_ray_windows` is for rates over less time
than all."""


class Progress(progress.Progress):
    """Says how far the work inside the block is, in the log and in metrics of Ray.

    Args:
        work: Name of the work, and a tag of the metrics.
        total: Number of shards, runs or trials; None for a single wait, which has no metrics.
        unit: What they are.
        windows: Number of windows in all of them; None where windows are not counted.
        initial: How far the work is now; what is done already says nothing about the speed.
    """

    def __init__(
        self,
        work: str,
        total: int | None = None,
        unit: str = "shards",
        *,
        windows: int | None = None,
        initial: State | None = None,
    ) -> None:
        super().__init__(work, total, unit, windows=windows, initial=initial)
        self._metrics = _Metrics(work) if ray.is_initialized() and total is not None else None

    def _measure(self, *, over: bool = False) -> None:
        if self._metrics is not None and self._total is not None:
            seconds = time.monotonic() - self._started
            rate = None if self._windows is None else 0.0 if over else self._speed(seconds)
            self._metrics.record(self._state, self._total, rate)


class _Metrics:
    """What Ray exports of one piece of work."""

    def __init__(self, work: str) -> None:
        self._tags = {"work": work, "JobId": ray.get_runtime_context().get_job_id()}
        keys = tuple(self._tags)
        self._gauges = {
            name: Gauge(f"hyena_ray_{name}", about, (*keys, "state") if name == "trials" else keys)
            for name, about in METRICS.items()
        }
        self._windows = Counter("hyena_ray_windows", "Windows that are done", keys)
        self._counted = 0

    def record(self, state: State, total: int, windows_per_second: float | None) -> None:
        """Set all metrics that are known."""
        values = {
            "best_score": state.best,
            "loss": state.loss,
            "windows_per_second": windows_per_second,
        }
        if not state.states:
            values |= {"shards_done": state.done, "shards_total": total}
        for name, value in values.items():
            self._gauges[name].set(value, self._tags)
        for name, count in state.states.items():
            self._gauges["trials"].set(count, {**self._tags, "state": name})
        if state.windows > self._counted:
            self._windows.inc(state.windows - self._counted, self._tags)
            self._counted = state.windows


@contextmanager
def gpu_memory(work: str, trial: str) -> Iterator[Callable[[], None]]:
    """Export the peak GPU memory of a trial as the metric `hyena_ray_gpu_bytes`.

    Its tags are `work`, `trial` and `JobId`. Ray's own GPU metrics are tagged with the name of the
    process, which all trials of a search share.

    Args:
        work: Name of the work.
        trial: Name of the trial.

    Yields:
        A function that updates the metric; without a GPU it does nothing.
    """
    import torch

    from hyena_ray.model.devices import default_device, peak_bytes

    device = default_device()
    if device.type != "cuda":
        yield lambda: None
        return
    job = ray.get_runtime_context().get_job_id()
    tags = {"work": work, "trial": trial, "JobId": job}
    gauge = Gauge("hyena_ray_gpu_bytes", "Peak GPU memory of a trial, in bytes", tuple(tags))
    torch.cuda.reset_peak_memory_stats(device)  # the process may have run other trials
    try:
        yield lambda: gauge.set(peak_bytes(device), tags)
    finally:
        gauge.set(0, tags)


class StalledError(JobError):
    """Nothing has happened for longer than allowed; Ray waits for ever where others fail."""


class Watchdog:
    """Remembers when something last happened.

    Args:
        limit: Longest time without progress, in seconds.
    """

    def __init__(self, limit: float) -> None:
        self.limit = limit
        self.bit = False
        self._last = time.monotonic()

    def progress(self) -> None:
        """Note that something has happened."""
        self._last = time.monotonic()

    def idle(self) -> float:
        """Return the seconds since the last progress."""
        return time.monotonic() - self._last


@contextmanager
def watchdog(limit: float, what: str) -> Iterator[Watchdog]:
    """Interrupt the main thread once `progress()` was not called for `limit` seconds.

    Must be entered in the main thread, where Ctrl-C is not caught inside. A Ctrl-C of the user is
    left to the handler of the job.

    Args:
        limit: Longest time without progress, in seconds.
        what: What is waited for, as the message has it.

    Yields:
        A watchdog to tell of progress.

    Raises:
        StalledError: In place of the KeyboardInterrupt that the watchdog caused.
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

    def interrupted(number: int, frame: FrameType | None) -> None:
        # A shell's background job begins with SIGINT ignored: the bite would go unnoticed.
        if dog.bit or not callable(before):
            raise KeyboardInterrupt
        before(number, frame)

    thread = threading.Thread(target=watch, daemon=True, name="watchdog")
    before = signal.getsignal(signal.SIGINT)
    signal.signal(signal.SIGINT, interrupted)
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

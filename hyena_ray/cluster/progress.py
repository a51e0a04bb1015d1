"""How far a job on Ray is: as anywhere, and in metrics of Ray."""

from __future__ import annotations

import time

import ray
from ray.util.metrics import Counter, Gauge

from hyena_ray import progress
from hyena_ray.progress import State, count_noun, duration, shortened_list

__all__ = ["Progress", "State", "count_noun", "duration", "shortened_list"]

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
    """Tells how far the work inside the block is, until the block ends in whatever way; its name is
    a tag of the metrics."""

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
        """Set all that is known."""
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

"""Time work where it will be done: on workers of the cluster, as many at once as will be."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Generic, NamedTuple, TypeVar

import ray
import torch

from hyena_ray.cluster.progress import Progress
from hyena_ray.cluster.resources import Resources

Item = TypeVar("Item")
Found = TypeVar("Found")
MOST_AT_ONCE = 8
"""Workers that time: enough to feel what they take from each other on one machine."""


class Timed(NamedTuple, Generic[Found]):
    """What workers found."""

    found: list[list[Found]]
    """Of every item, by each worker that had it."""
    start: float
    """Seconds until a worker has begun, the longest of all: its process and its imports."""


def on_workers(
    work: Callable[[Item], Found],
    items: Sequence[Item],
    *,
    resources: Resources,
    concurrent: int,
    threads: int,
) -> Timed[Found]:
    """Do work on every item, and on some again where there are fewer than run at once.

    Args:
        work: what is timed.
        items: what it is done on.
        resources: of one worker.
        concurrent: how many the job will have at once.
        threads: torch threads of each.
    """

    def measure(asked: float, item: Item) -> tuple[float, Found]:
        begun = time.time() - asked
        torch.set_num_threads(threads)
        return begun, work(item)

    task = ray.remote(num_cpus=resources.cpu, num_gpus=resources.gpu, max_retries=0)(measure)
    rounds = max(1, -(-min(concurrent, MOST_AT_ONCE) // len(items)))
    shared = [ray.put(item) for item in items]
    with Progress("dry run: timing a few steps"):
        tasks = [
            task.options(name="dry run").remote(time.time(), item)
            for _ in range(rounds)
            for item in shared
        ]
        done = ray.get(tasks)
    # Those after the first wait for a place, not for their start.
    start = max(begun for begun, _ in done[: min(concurrent, len(done))])
    return Timed(
        [[found for _, found in done[index :: len(items)]] for index in range(len(items))], start
    )


def makespan(seconds: Sequence[float], concurrent: int) -> float:
    """Seconds of work that is handed out in its order to whoever is free."""
    free = [0.0] * concurrent
    for one in seconds:
        free.sort()
        free[0] += one
    return max(free)

"""Time work where it will be done: on a worker of the cluster."""

from __future__ import annotations

from collections.abc import Callable

import ray

from hyena_ray.cluster.progress import Progress
from hyena_ray.cluster.resources import Resources


def time_on_worker(work: Callable[[], float], resources: Resources, *, threads: int = 1) -> float:
    """Return the seconds that a worker of the cluster measures.

    Args:
        work: Times one batch and returns its seconds.
        resources: What the worker takes.
        threads: torch threads of the worker.
    """

    def measure() -> float:
        import torch

        torch.set_num_threads(threads)
        return work()

    task = ray.remote(num_cpus=resources.cpu, num_gpus=resources.gpu, max_retries=0)(measure)
    with Progress("dry run: timing one batch"):
        seconds: float = ray.get(task.options(name="dry run").remote())
    return seconds

"""One task on a worker of the cluster, and values that every node reads from shared memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, NamedTuple, TypeVar

import ray

from hyena_ray.cluster.progress import Progress
from hyena_ray.cluster.resources import Resources

Value = TypeVar("Value")
Result = TypeVar("Result")


class Shared(NamedTuple, Generic[Value]):
    """A value in the object store; small and picklable."""

    reference: ray.ObjectRef[Value]
    """Reference of Ray."""

    def get(self) -> Value:
        """Return the value; its arrays are those of shared memory, and read-only."""
        value: Value = ray.get(self.reference)
        return value


def share(value: Value) -> Shared[Value]:
    """Put a value into the object store.

    Args:
        value: Whatever workers read.
    """
    return Shared(ray.put(value))


def run_task(
    work: Callable[[], Result], resources: Resources, name: str, *, threads: int | None = None
) -> Result:
    """Run one task on a worker, since the driver may have neither CPU nor GPU, and wait.

    Args:
        work: What is done.
        resources: What the worker takes.
        name: Name of the task, in the log and on the dashboard.
        threads: torch threads of the worker; None leaves them as they are.
    """

    def run() -> Result:
        if threads is not None:
            import torch

            torch.set_num_threads(threads)
        return work()

    task: Any = ray.remote(num_cpus=resources.cpu, num_gpus=resources.gpu)(run)
    with Progress(name):
        result: Result = ray.get(task.options(name=name).remote())
    return result

"""What a cluster has, what a trial or an actor takes, and how many of them fit.

Asked before the start, since Ray waits for ever where others fail. Imports nothing of Ray.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from pydantic import Field

from hyena_ray.errors import InputError
from hyena_ray.progress import count_noun
from hyena_ray.settings import Settings


class Cluster(NamedTuple):
    """The resources of a cluster."""

    cpus: float
    """Logical CPUs that Ray hands out, counting nodes that autoscaling may add."""
    gpus: float
    """GPUs, counted likewise."""
    cores: int | None
    """Cores of this machine where the cluster was started here: fewer than `cpus` on a small one.
    None for a cluster that was joined, where a CPU is taken to be a core."""
    object_store: float
    """Bytes of shared memory over all nodes."""
    dashboard: bool = False
    """Whether a dashboard runs. Ray Train asks it which processes are alive."""

    @property
    def text(self) -> str:
        """The resources in words."""
        resources = f"{self.cpus:g} CPUs and {self.gpus:g} GPUs"
        if self.cores is None:
            return f"Ray with {resources}"
        return f"this machine with {count_noun(self.cores, 'core')}; Ray on it has {resources}"


class Resources(Settings):
    """CPUs and GPUs of one trial or one actor.

    Example:
        >>> Resources(cpu=2, gpu=0.5).text
        '2 CPU and 0.5 GPU'
    """

    cpu: float = Field(default=1.0, gt=0)
    """CPUs."""
    gpu: float = Field(default=0.0, ge=0)
    """GPUs: a whole number, or a fraction of one."""

    @property
    def text(self) -> str:
        """The resources in words."""
        return f"{self.cpu:g} CPU" + (f" and {self.gpu:g} GPU" if self.gpu else "")


class TrialResources(Resources):
    """Resources of one trial: `cpu` and `gpu` for each of its workers."""

    workers: int = Field(default=1, ge=1)
    """Number of processes that train one trial together, each on its part of every batch. Results
    are those of one process but for rounding. Costs half a minute a trial, so only for models that
    need it."""


DRIVER_CPU = 0.01
"""CPUs of a trial that has workers: its own process only waits for them."""


class Placement(Settings):
    """How many trials or actors run at once, and on how many threads."""

    concurrent: int
    """Number of trials or actors at once."""
    threads: int
    """torch threads of each, or of each of its workers. Part of a run's plan: results differ in the
    last bits by threads."""


def fit_resources(
    cluster: Cluster,
    resources: Resources,
    *,
    wanted: int | None,
    useful: int,
    streams: bool,
    name: str,
    workers: int = 1,
    stream_cpu: float = 1.0,
) -> Placement:
    """Fit trials or actors into a cluster.

    Args:
        cluster: What there is.
        resources: What one takes, or each of its workers.
        wanted: Number to run at once; None takes as many as fit and are useful.
        useful: Number beyond which there is nothing to do.
        streams: Whether each worker reads its own data stream, which needs `stream_cpu` more CPUs.
        name: Name of the setting that asks, for the message, such as `--actors`.
        workers: Number of workers of each; several work under a process that needs `DRIVER_CPU`.
        stream_cpu: CPUs of the tasks of one stream.

    Returns:
        How many run at once: no more than the machine has cores for, unless more are wanted.

    Raises:
        InputError: A request that this cluster can never meet.

    Example:
        >>> server = Cluster(cpus=32, gpus=4, cores=None, object_store=2e10)
        >>> half = Resources(cpu=2, gpu=0.5)
        >>> fit_resources(server, half, wanted=None, useful=100, streams=False, name="--actors")
        Placement(concurrent=8, threads=2)
    """
    if wanted is not None and wanted < 1:
        raise InputError(name, wanted, "below 1", "ask for one or more, or leave it out")
    _check_gpu(resources.gpu, workers, name)
    cpu = workers * (resources.cpu + (stream_cpu if streams else 0))
    cpu += DRIVER_CPU if workers > 1 else 0
    gpu = workers * resources.gpu
    asked = f"{cpu:g} CPUs and {gpu:g} GPUs each"
    available = f"the cluster has {cluster.cpus:g} CPUs and {cluster.gpus:g} GPUs"
    remedy = "ask for less or join a larger cluster"
    room = math.floor(cluster.cpus / cpu)
    if gpu:
        of_one_gpu = math.floor(1 / gpu) if gpu <= 1 else 1 / gpu
        room = min(room, math.floor(cluster.gpus * of_one_gpu))
    if room < 1:
        raise InputError(name, asked, available, remedy)
    if wanted is not None and wanted > room:
        raise InputError(name, wanted, f"{asked}, but {available}", remedy)
    if workers > 1 and not cluster.dashboard:
        # Without it Ray Train keeps the resources of a trial that was stopped early.
        raise InputError(f"{name}: workers", workers, "the cluster has no dashboard", "start one")
    cores = cluster.cores or cluster.cpus
    concurrent = min(room, useful)
    if wanted is None:
        concurrent = min(concurrent, max(1, math.floor(cores / (workers * resources.cpu))))
    else:
        concurrent = min(concurrent, wanted)
    threads = math.floor(min(resources.cpu, cores / (concurrent * workers)))
    return Placement(concurrent=max(1, concurrent), threads=max(1, threads))


def _check_gpu(gpu: float, workers: int, name: str) -> None:
    if gpu > 1 and gpu != int(gpu):
        raise InputError(f"{name}: gpu", gpu, "neither whole nor below 1", "give 1, 2 or 0.5")
    if workers > 1 and gpu != int(gpu):
        raise InputError(f"{name}: gpu", gpu, "is shared by workers", "give 1, or workers 1")

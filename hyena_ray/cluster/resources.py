"""How much of a cluster a job takes: asked before the start, since Ray waits rather than fails."""

from __future__ import annotations

import math
from typing import NamedTuple

from pydantic import Field

from hyena_ray.errors import InputError
from hyena_ray.progress import count_noun
from hyena_ray.settings import Settings


class Cluster(NamedTuple):
    """What is connected to."""

    cpus: float
    """Logical CPUs that Ray hands out, counting nodes that autoscaling may add."""
    gpus: float
    cores: int | None
    """Cores of this machine when the cluster was started here: fewer than `cpus` on a small one.
    None on a cluster that was joined, where a CPU is taken to be a core."""
    object_store: float
    """Bytes of shared memory over all nodes."""
    dashboard: bool = False
    """Whether one runs. Ray Train asks it who is alive."""

    @property
    def text(self) -> str:
        """For people."""
        has = f"{self.cpus:g} CPUs and {self.gpus:g} GPUs"
        if self.cores is None:
            return f"Ray with {has}"
        return f"this machine with {count_noun(self.cores, 'core')}; Ray on it has {has}"


class Resources(Settings):
    """What one trial or one actor holds."""

    cpu: float = Field(default=1.0, gt=0)
    """CPUs."""
    gpu: float = Field(default=0.0, ge=0)
    """GPUs: a whole number, or a fraction of one."""

    @property
    def text(self) -> str:
        """For people."""
        return f"{self.cpu:g} CPU" + (f" and {self.gpu:g} GPU" if self.gpu else "")


class TrialResources(Resources):
    """What one trial holds: `cpu` and `gpu` for each of its workers."""

    workers: int = Field(default=1, ge=1)
    """Processes that train one trial together, each on its part of every batch: results are those
    of 1 but for rounding. Costs half a minute a trial, so only for models that need it."""


DRIVER_CPU = 0.01
"""Of a trial with several workers: its own process only waits for them."""


class Placement(Settings):
    """How many run at once, and on how many threads resources."""

    concurrent: int
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
    """Fit trials or actors into the cluster.

    Args:
        cluster: what there is.
        resources: of one, or of each of its workers.
        wanted: how many at once; None takes as many as fit and are useful.
        useful: more than this many would have nothing to do.
        streams: each worker reads its own data stream, which needs `stream_cpu` more CPUs.
        name: of the setting that asks, for the message, such as `--actors`.
        workers: of each; several work under a process that needs `DRIVER_CPU`.
        stream_cpu: what the tasks of a stream hold.

    Raises:
        InputError: a request that this cluster can never meet.
    """
    if wanted is not None and wanted < 1:
        raise InputError(name, wanted, "below 1", "ask for one or more, or leave it out")
    has = f"the cluster has {cluster.cpus:g} CPUs and {cluster.gpus:g} GPUs"
    remedy = "ask for less or join a larger cluster"
    if resources.gpu > 1 and resources.gpu != int(resources.gpu):
        raise InputError(
            f"{name}: gpu", resources.gpu, "neither whole nor below 1", "give 1, 2 or 0.5"
        )
    if workers > 1 and resources.gpu != int(resources.gpu):
        raise InputError(
            f"{name}: gpu", resources.gpu, "is shared by workers", "give 1, or workers 1"
        )
    cpu = workers * (resources.cpu + (stream_cpu if streams else 0)) + (
        DRIVER_CPU if workers > 1 else 0
    )
    gpu = workers * resources.gpu
    asked = f"{cpu:g} CPUs and {gpu:g} GPUs each"
    room = math.floor(cluster.cpus / cpu)
    if gpu:
        shares = math.floor(1 / gpu) if gpu <= 1 else 1 / gpu
        room = min(room, math.floor(cluster.gpus * shares))
    if room < 1:
        raise InputError(name, asked, has, remedy)
    if wanted is not None and wanted > room:
        raise InputError(name, wanted, f"{asked}, but {has}", remedy)
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

"""What a cluster has, what a trial or an actor takes, and how many of them fit.

Asked before the start, since Ray waits for ever where others fail. Imports nothing of Ray.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Annotated, Generic, NamedTuple, Self, TypeVar

from pydantic import AfterValidator, Field, model_validator

from hyena_ray.errors import InputError
from hyena_ray.progress import count_noun
from hyena_ray.settings import Settings

LEAST = 0.01
"""Least part of a CPU or of a GPU that can be asked for; Ray counts ten-thousandths."""


class Node(NamedTuple):
    """Nodes of a cluster that are alike."""

    cpus: float
    """Logical CPUs of each."""
    gpus: float
    """GPUs of each."""
    number: int = 1
    """Number of these nodes."""

    def room(self, cpu: float, gpu: float) -> int:
        """Return how many processes fit on one of these nodes; a fraction is of a single GPU.

        Args:
            cpu: CPUs of a process.
            gpu: GPUs of a process.
        """
        room = math.floor(self.cpus / cpu)
        if gpu:
            of_gpus = self.gpus * math.floor(1 / gpu) if gpu <= 1 else self.gpus / gpu
            room = min(room, math.floor(of_gpus))
        return room


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
    nodes: tuple[Node, ...] = ()
    """Nodes, and those that autoscaling may add; empty where one node has all."""
    accelerators: tuple[str, ...] = ()
    """Kinds of GPU that are up, as Ray calls them, such as H200."""

    @property
    def kinds(self) -> tuple[Node, ...]:
        """The nodes, where there is but one as well."""
        return self.nodes or (Node(self.cpus, self.gpus),)

    @property
    def text(self) -> str:
        """The resources in words."""
        resources = _amounts(self.cpus, self.gpus)
        if self.accelerators:
            resources += f" ({', '.join(self.accelerators)})"
        if self.cores is None:
            return f"Ray with {resources}"
        return f"this machine with {count_noun(self.cores, 'core')}; Ray on it has {resources}"


def _whole_or_fraction(gpu: float) -> float:
    if gpu > 1 and gpu != int(gpu):
        raise ValueError("is neither whole nor below 1; give for example 1, 2 or 0.5")
    if 0 < gpu < LEAST:
        raise ValueError(f"is less than {LEAST:g} of a GPU; give for example 0.25, or 0 for none")
    return gpu


CpuCount = Annotated[float, Field(ge=LEAST)]
"""A number of CPUs."""
GpuCount = Annotated[float, Field(ge=0), AfterValidator(_whole_or_fraction)]
"""A number of GPUs: whole, or a fraction of one."""


class Resources(Settings):
    """CPUs and GPUs of one trial or one actor.

    Example:
        >>> Resources(cpu=2, gpu=0.5).text
        '2 CPU and 0.5 GPU'
    """

    cpu: CpuCount = 1.0
    """CPUs."""
    gpu: GpuCount | None = None
    """GPUs: a whole number, or a fraction of one; 0 hides them. Left out, each process takes one
    where the cluster has GPUs, and small trials share one."""

    @property
    def has_gpu(self) -> bool | None:
        """Whether a process has a GPU, or a part of one; None where the cluster decides."""
        return None if self.gpu is None else self.gpu > 0

    @property
    def processes(self) -> int:
        """Number of processes that take these resources together."""
        return 1

    @property
    def text(self) -> str:
        """The resources of one process in words."""
        return f"{self.cpu:g} CPU" + (f" and {self.gpu:g} GPU" if self.gpu else "")


class TrialResources(Resources):
    """Resources of one trial: `cpu` and `gpu` for each of its workers."""

    workers: int = Field(default=1, ge=1)
    """Number of processes that train one trial together, each on its part of every batch. Results
    are those of one process but for rounding. Costs half a minute a trial, so only for models that
    need it."""

    @model_validator(mode="after")
    def _workers_share_no_gpu(self) -> Self:
        if self.workers > 1 and self.gpu is not None and self.gpu != int(self.gpu):
            raise ValueError(
                f"gpu {self.gpu:g} is for each of {self.workers} workers, and no two can share a "
                "GPU; give a whole number, or workers 1"
            )
        return self

    @property
    def processes(self) -> int:
        """Number of workers."""
        return self.workers

    @property
    def of_one(self) -> Resources:
        """What a single process is given, such as one that scores the best model."""
        return Resources(cpu=self.cpu, gpu=self.gpu)


DRIVER_CPU = 0.01
"""CPUs of a trial that has workers: its own process only waits for them."""
GPU_MEMORY = 15e9
"""Bytes that a GPU is taken to have where a trial's share of it is chosen: those of a T4, the
smallest that is rented out for training. Ray does not know them, and to look would take a process
on a node that autoscaling may have to start first."""
FOR_TENSORS = 0.9
"""Fraction of a process's share of a GPU that its tensors may take. The rest is for what CUDA takes
for itself, half a gigabyte in each process."""
SHARES: tuple[float, ...] = (1.0, 0.5, 0.25)
"""Shares of a GPU that are given unasked. In less than a quarter what CUDA itself takes would no
longer be small, nor would four processes leave much of a GPU idle."""

AnyResources = TypeVar("AnyResources", bound=Resources)


class Placement(NamedTuple, Generic[AnyResources]):
    """How many trials or actors run at once, and what each of them gets."""

    concurrent: int
    """Number of trials or actors at once."""
    threads: int
    """torch threads of each, or of each of its workers. Part of a run's plan: results differ in the
    last bits by threads."""
    resources: AnyResources
    """What one gets, or each of its workers; `gpu` is a number."""

    @property
    def gpu(self) -> bool:
        """Whether each process has a GPU, or a part of one."""
        return bool(self.resources.has_gpu)

    @property
    def text(self) -> str:
        """The number at once and what each gets, in words."""
        workers = self.resources.processes
        each = f"{self.concurrent} at once, each {self.resources.text}"
        return each + (f" for each of {workers} workers" if workers > 1 else "")


def fit_resources(
    cluster: Cluster,
    resources: AnyResources,
    *,
    wanted: int | None,
    useful: int,
    name: str,
    count_name: str = "--actors",
    stream_cpu: float = 0.0,
    gpu_bytes: Callable[[], float] | None = None,
) -> Placement[AnyResources]:
    """Fit trials or actors into a cluster, and give them GPUs where it has any.

    Where `resources` leave the GPUs open, each process gets one, or the largest of `SHARES` with
    which as many run at once as with the smallest that holds one.

    Args:
        cluster: What there is.
        resources: What one takes, or each of its workers; several work under a process that needs
            `DRIVER_CPU`.
        wanted: Number to run at once; None takes as many as fit and are useful.
        useful: Number beyond which there is nothing to do.
        name: Name of the setting that asks for resources, for the message, such as `--cpu, --gpu`.
        count_name: Name of the setting that asks for a number at once, likewise.
        stream_cpu: CPUs that each process needs besides, where it reads a data stream of its own.
        gpu_bytes: Returns the bytes of GPU memory that a process is estimated to need; None where
            it fills a GPU of any size, so that several share one only where they are wanted.

    Returns:
        How many run at once: no more than the machine has cores for, unless more are wanted.

    Raises:
        InputError: A request that this cluster can never meet.

    Example:
        >>> server = Cluster(cpus=32, gpus=4, cores=None, object_store=2e10)
        >>> placed = fit_resources(server, Resources(cpu=2), wanted=None, useful=9, name="--gpu")
        >>> placed.text, placed.threads
        ('4 at once, each 2 CPU and 1 GPU', 2)
    """
    if wanted is not None and wanted < 1:
        raise InputError(count_name, wanted, "below 1", "ask for one or more, or leave it out")
    workers = resources.processes
    cores = cluster.cores or cluster.cpus
    most = wanted or max(1, min(useful, math.floor(cores / (workers * resources.cpu))))

    def room(gpu: float) -> int:
        return _room(cluster, resources.cpu, gpu, workers, stream_cpu)

    if resources.gpu is None:
        need = None
        if cluster.gpus and workers == 1:
            # Actors, whose need is not known, share a GPU where more are wanted than there are.
            need = gpu_bytes() if gpu_bytes else 0.0 if wanted else None
        at_once = lambda share: min(room(share), most)  # noqa: E731
        resources = resources.model_copy(update={"gpu": _default_gpu(cluster, need, at_once)})
    gpu = resources.gpu or 0.0
    if room(gpu) < (wanted or 1):
        raise _too_much(cluster, resources, wanted, room(gpu), name, count_name, stream_cpu)
    if workers > 1 and not cluster.dashboard:
        # Without it Ray Train keeps the resources of a trial that was stopped early.
        raise InputError(
            f"{name}: workers",
            workers,
            "the cluster has no dashboard, which Ray asks whether workers are alive",
            "start Ray with --include-dashboard=true, or ask for one worker",
        )
    concurrent = min(room(gpu), useful, most)
    threads = math.floor(min(resources.cpu, cores / (concurrent * workers)))
    return Placement(max(1, concurrent), max(1, threads), resources)


def _room(cluster: Cluster, cpu: float, gpu: float, workers: int, stream_cpu: float) -> int:
    """Return how many trials or actors fit into a cluster."""
    on_nodes = sum(node.number * node.room(cpu, gpu) for node in cluster.kinds) // workers
    # Streams and the process of a trial with workers may be on any node.
    return min(on_nodes, math.floor(cluster.cpus / _cpus(cpu, workers, stream_cpu)))


def _cpus(cpu: float, workers: int, stream_cpu: float) -> float:
    return workers * (cpu + stream_cpu) + (DRIVER_CPU if workers > 1 else 0)


def _default_gpu(cluster: Cluster, need: float | None, at_once: Callable[[float], int]) -> float:
    """Return the GPUs of a process that asks for none and refuses none.

    Args:
        cluster: What there is.
        need: Bytes of memory that a process needs; None for the whole GPU.
        at_once: Returns how many would run at once with a share.
    """
    if not cluster.gpus:
        return 0.0
    if need is None:
        return 1.0
    fitting = [share for share in SHARES if need <= share * FOR_TENSORS * GPU_MEMORY]
    return max(fitting or SHARES[:1], key=lambda share: (at_once(share), share))


def _too_much(
    cluster: Cluster,
    resources: Resources,
    wanted: int | None,
    room: int,
    name: str,
    count_name: str,
    stream_cpu: float,
) -> InputError:
    """Return the refusal of what a cluster can never give: what it has, and what to set."""
    workers, gpu = resources.processes, resources.gpu or 0.0
    cpus = max(node.cpus for node in cluster.kinds)
    gpus = max(node.gpus for node in cluster.kinds)
    asked = f"{_amounts(workers * (resources.cpu + stream_cpu), workers * gpu)} for each"
    available = f"the cluster has {_amounts(cluster.cpus, cluster.gpus)}"
    if len(cluster.kinds) > 1 or cluster.kinds[0].number > 1:
        available += f", and a node at most {_amounts(cpus, gpus)}"
    if room:
        remedy = f"ask for {room} or fewer, or for less for each"
        return InputError(count_name, wanted, f"{asked}, but {available}", remedy)
    if gpu and not cluster.gpus:
        remedy = "leave the GPUs out, or ask for 0"
    elif gpu > gpus:
        remedy = f"ask for {gpus:g} or less, or for 0 to compute on CPUs"
    elif resources.cpu > cpus:
        remedy = f"ask for {_amounts(cpus)} or less"
    elif workers > 1:
        remedy = "ask for fewer workers or less for each" + (", or for no GPU" if gpu else "")
    else:
        remedy = "ask for less or join a larger cluster"
    return InputError(name, asked, available, remedy)


def _amounts(cpus: float, gpus: float | None = None) -> str:
    """Return numbers of CPUs, and of GPUs if they are given, in words."""
    words = f"{cpus:g} CPU" + ("" if cpus == 1 else "s")
    return words if gpus is None else f"{words} and {gpus:g} GPU" + ("" if gpus == 1 else "s")

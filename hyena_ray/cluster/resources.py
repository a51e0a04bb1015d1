"""What a cluster has, what a trial or an actor takes, and how many of them fit.

This is worked out before a job starts: a request that can never be met makes Ray wait forever
instead of failing. The module does not import Ray.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Annotated, Generic, NamedTuple, Self, TypeVar

from pydantic import AfterValidator, Field, model_validator

from hyena_ray.errors import InputError
from hyena_ray.settings import Settings

LEAST = 0.01
"""Smallest fraction of a CPU or a GPU that can be requested; Ray counts in ten-thousandths."""


class Node(NamedTuple):
    """A kind of node, and the number of such nodes in a cluster."""

    cpus: float
    """Logical CPUs of one node."""
    gpus: float
    """GPUs of one node."""
    number: int = 1
    """Number of nodes of this kind."""

    def room(self, cpu: float, gpu: float) -> int:
        """Return how many processes fit on one node of this kind.

        Args:
            cpu: CPUs of a process.
            gpu: GPUs of a process; a fraction always comes from a single GPU.
        """
        room = math.floor(self.cpus / cpu)
        if gpu:
            gpu_slots = self.gpus * math.floor(1 / gpu) if gpu <= 1 else self.gpus / gpu
            room = min(room, math.floor(gpu_slots))
        return room


class Cluster(NamedTuple):
    """The resources of a cluster."""

    cpus: float
    """Logical CPUs that Ray hands out, including those of nodes that autoscaling may add."""
    gpus: float
    """GPUs, including those of nodes that autoscaling may add."""
    cores: int | None
    """Cores of this machine if the cluster was started here; a small machine has fewer than `cpus`,
    see `reserve`. None for a cluster that was joined, on which a CPU is taken to be a core."""
    object_store: float
    """Shared memory of all nodes together, in bytes."""
    dashboard: bool = False
    """Whether a dashboard runs. Ray Train asks it which processes are alive."""
    nodes: tuple[Node, ...] = ()
    """Nodes that are running and nodes that autoscaling may add, by kind. Empty if a single node
    has all CPUs and GPUs."""
    accelerators: tuple[str, ...] = ()
    """GPU models of the nodes that are running, as Ray names them, such as H200."""

    @property
    def kinds(self) -> tuple[Node, ...]:
        """The nodes by kind; never empty."""
        return self.nodes or (Node(self.cpus, self.gpus),)

    @property
    def text(self) -> str:
        """The resources in words."""
        resources = _amounts(self.cpus - self.reserve, self.gpus)
        if self.accelerators:
            resources += f" ({', '.join(self.accelerators)})"
        if self.reserve:
            resources += f", and {_amounts(self.reserve)} in reserve for reading data"
        return resources

    @property
    def reserve(self) -> float:
        """CPUs that Ray hands out beyond the cores of this machine, so that tasks that read data
        never wait for trials that hold all others."""
        return 0.0 if self.cores is None else max(0.0, self.cpus - self.cores)


def _whole_or_fraction(gpu: float) -> float:
    if gpu > 1 and gpu != int(gpu):
        raise ValueError("is neither a whole number nor below 1; give for example 1, 2 or 0.5")
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
    """GPUs: a whole number, or a fraction of one; 0 hides all GPUs. By default, each process takes
    one if the cluster has GPUs, and small trials share one."""

    @property
    def has_gpu(self) -> bool | None:
        """Whether a process has a GPU or a fraction of one; None if that depends on the cluster."""
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
    """Number of processes that train one trial together, each on its part of every batch. Without
    dropout and batch norms, results differ from those of one process only by rounding. Starting the
    workers takes half a minute per trial, so use them only for models that need them."""

    @model_validator(mode="after")
    def _workers_share_no_gpu(self) -> Self:
        if self.workers > 1 and self.gpu is not None and self.gpu != int(self.gpu):
            raise ValueError(
                f"gpu {self.gpu:g} is for each of {self.workers} workers, and workers cannot share "
                "a GPU; give a whole number, or workers 1"
            )
        return self

    @property
    def processes(self) -> int:
        """Number of workers."""
        return self.workers

    @property
    def of_one(self) -> Resources:
        """Resources of a single process, such as the one that scores the best model."""
        return Resources(cpu=self.cpu, gpu=self.gpu)


OBJECT_STORE = "the object store"
"""Name of the shared memory of all nodes, for messages."""
READER_CPU = 1.0
"""CPUs of the task that reads the training windows of a run from Parquet, one task at a time: it
reads 500,000 windows of 100 bases a second, more than several GPUs train on."""
DRIVER_CPU = 0.01
"""CPUs of a trial that has workers: its own process only waits for them."""
GPU_MEMORY = 15e9
"""GPU memory in bytes that is assumed when a trial's share of a GPU is chosen: that of a T4, the
smallest GPU commonly rented for training. Ray does not know the real figure, and reading it takes a
process on a node, which autoscaling may have to start first."""
FOR_TENSORS = 0.9
"""Fraction of a process's share of GPU memory that its tensors may take. The rest is for the CUDA
context, which takes half a gigabyte in each process."""
SHARES: tuple[float, ...] = (1.0, 0.5, 0.25)
"""Shares of a GPU that a process may get by default. Below a quarter, the CUDA context would take a
large part of the share, and four processes already leave little of a GPU idle."""

AnyResources = TypeVar("AnyResources", bound=Resources)


class Placement(NamedTuple, Generic[AnyResources]):
    """How many trials or actors run at the same time, and the resources of each."""

    concurrent: int
    """Number of trials or actors that run at the same time."""
    threads: int
    """torch threads of a trial or actor, or of each worker of a trial. They are part of a run's
    plan, because the last bits of results depend on the number of threads."""
    resources: AnyResources
    """Resources of a trial or actor, or of each worker of a trial; `gpu` is a number."""

    @property
    def gpu(self) -> bool:
        """Whether each process has a GPU or a fraction of one."""
        return bool(self.resources.has_gpu)

    @property
    def text(self) -> str:
        """The number of trials or actors and their resources, in words."""
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
    """Fit trials or actors into a cluster, and give them GPUs if it has any.

    If `resources` leaves the GPUs open, each process gets either a whole GPU or a share of one.
    Among the `SHARES` whose memory suffices, it is the largest with which the most processes run at
    the same time.

    Args:
        cluster: Resources of the cluster.
        resources: Resources of a trial or actor, or of each worker of a trial. A trial with several
            workers has a process of its own, which needs `DRIVER_CPU`.
        wanted: Number to run at the same time; None runs as many as fit and are useful.
        useful: Largest number for which there is work.
        name: Setting that asks for the resources, for the message, such as `--cpu, --gpu`.
        count_name: Setting that asks for the number to run, for the message.
        stream_cpu: Additional CPUs that each process needs if it reads a data stream of its own.
        gpu_bytes: Returns the GPU memory that a process is estimated to need, in bytes. None for
            processes that fill a GPU of any size; these share GPUs only if `wanted` exceeds the
            number of GPUs.

    Returns:
        The placement. Unless more are wanted, no more run than the machine has cores for.

    Raises:
        InputError: This cluster can never meet the request.

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
            # The need of actors is not known: they share GPUs if more are wanted than there are.
            need = gpu_bytes() if gpu_bytes else 0.0 if wanted else None

        def concurrency(share: float) -> int:
            return min(room(share), most)

        resources = resources.model_copy(update={"gpu": _default_gpu(cluster, need, concurrency)})
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


def _default_gpu(
    cluster: Cluster, need: float | None, concurrency: Callable[[float], int]
) -> float:
    """Return the GPUs of a process for which the user left the number open.

    Args:
        cluster: Resources of the cluster.
        need: GPU memory that a process needs, in bytes; None for a whole GPU.
        concurrency: Returns how many processes would run at the same time with a given share.
    """
    if not cluster.gpus:
        return 0.0
    if need is None:
        return 1.0
    fitting = [share for share in SHARES if need <= share * FOR_TENSORS * GPU_MEMORY]
    return max(fitting or SHARES[:1], key=lambda share: (concurrency(share), share))


def _too_much(
    cluster: Cluster,
    resources: Resources,
    wanted: int | None,
    room: int,
    name: str,
    count_name: str,
    stream_cpu: float,
) -> InputError:
    """Return the error for a request that the cluster can never meet, with what to ask for."""
    workers, gpu = resources.processes, resources.gpu or 0.0
    cpus = max(node.cpus for node in cluster.kinds)
    gpus = max(node.gpus for node in cluster.kinds)
    asked = f"{_amounts(workers * (resources.cpu + stream_cpu), workers * gpu)} for each"
    available = f"the cluster has {cluster.text}"
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

"""Work on the cluster: shards on a pool of actors, each exactly once even if actors die, and single
tasks.

Ray's own retries are off, because they may run an item twice, or forever. Whether a shard is done
is known from its file alone, so a shard whose actor died after writing the file is not done again.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import ray
from ray.exceptions import RayActorError, RayTaskError

from hyena_ray.cluster.gpu_share import keep_to
from hyena_ray.cluster.monitor import Progress, StalledError
from hyena_ray.cluster.resources import LEAST, Placement, Resources
from hyena_ray.cluster.start import reason_of
from hyena_ray.errors import InputError, JobError
from hyena_ray.progress import State, count_noun

if TYPE_CHECKING:
    from hyena_ray.model.settings import Precision

logger = logging.getLogger(__name__)

TRIES = 4
"""Times that one shard is started before the job stops."""
NAMES = 100
"""Most different names that tasks have: Ray keeps metrics of every name until the job ends, in the
driver and in each worker (8 KB a name in Ray 2.60, a gigabyte for the shards of a genome)."""

Result = TypeVar("Result")
Work = Callable[[int], object]
"""Computes the shard of a given number and writes its file."""


class ShardError(JobError):
    """A shard failed on every try."""


class PoolReport(NamedTuple):
    """Report of a pool: shards that were done, and workers that died."""

    finished: int
    """Number of shards that this call has done."""
    deaths: int
    """Number of actors that died."""


class Shards(NamedTuple):
    """Shards to do, and how."""

    name: str
    """Name of the work, in the log and on the dashboard."""
    numbers: Sequence[int]
    """Number of every shard, in the order in which they are started."""
    make: Callable[[], Work]
    """Makes the work, once in every actor: for what is slow to make, such as a model."""
    is_done: Callable[[int], bool]
    """Whether the shard's file is complete."""
    describe: Callable[[int], str]
    """What a shard holds, for the message when it cannot be done."""
    label: Callable[[int], str] = "shard {}".format
    """Name of a shard, in the log and, where there are few, on the dashboard."""
    unit: str = "shards"
    """Name of several."""
    windows: Callable[[int], int] | None = None
    """Number of windows that a shard holds; None where they are not counted."""
    in_own_process: bool = False
    """Whether every try has a process to itself, so that its peak of memory is the shard's."""
    at_once: int = 1
    """Number of shards that an actor works on concurrently, each in its own thread."""


def run_shards(
    shards: Shards, *, actors: int, resources: Resources, stall_seconds: float = 1800.0
) -> PoolReport:
    """Do all shards that are not done, and return when every one is.

    Args:
        shards: What is to be done.
        actors: Number of actors that work at once.
        resources: Resources of one actor; `gpu` is a number.
        stall_seconds: Longest time without a finished shard.

    Returns:
        How many shards were done, and how many actors died.

    Raises:
        InputError: The work refuses its input; it is not tried again.
        ShardError: A shard failed `TRIES` times.
        StalledError: No progress, for example because no actor could be placed.
    """
    pool = _Pool(shards, resources)
    if not pool.unfinished:
        return PoolReport(0, 0)
    try:
        pool.start(actors)
        with pool.progress() as progress:
            while pool.unfinished:
                pool.hand_out()
                progress.update(pool.state())
                pool.collect(stall_seconds)
            progress.update(pool.state())
        return PoolReport(pool.finished, pool.deaths)
    finally:
        pool.stop()


def run_task(
    work: Callable[[], Result], resources: Resources, name: str, *, threads: int | None = None
) -> Result:
    """Run one task on a worker, since the driver may have neither CPU nor GPU, and wait.

    Args:
        work: What is done.
        resources: Resources of the worker; `gpu` is a number.
        name: Name of the task, in the log and on the dashboard.
        threads: torch threads of the worker; None leaves them as they are.

    Returns:
        What `work` returns.
    """

    def run() -> Result:
        keep_to(resources)
        if threads is not None:
            import torch

            torch.set_num_threads(threads)
        return work()

    # The task gets a process of its own: CUDA reads the visible GPUs only once, and the next task
    # in the same process may be assigned others.
    options = {"num_cpus": resources.cpu, "num_gpus": resources.gpu, "max_calls": 1}
    task: Any = ray.remote(**options)(run)
    with Progress(name):
        result: Result = ray.get(task.options(name=name).remote())
    return result


def check_devices(
    placement: Placement[Any], precisions: Iterable[tuple[str, Precision]] = ()
) -> str:
    """Check the GPU that a process of a run would get, and describe what the run is computed on.

    Args:
        placement: What each process of the run gets.
        precisions: Precisions that the run needs, each with the setting that asks for it.

    Returns:
        Number of processes, and the CPUs, GPUs and kind of GPU of each, for the provenance.

    Raises:
        InputError: Ray assigns a GPU that torch does not see, or the GPU lacks a precision.
    """
    text = placement.text
    if placement.gpu:
        gpu, needed = placement.resources.gpu, sorted(set(precisions))

        def kind() -> str | None:
            from hyena_ray.model.devices import check_precision, default_device, device_name

            device = default_device()
            if device.type == "cpu":
                return None
            for place, precision in needed:
                check_precision(precision, device, place)
            return device_name(device)

        name = run_task(kind, Resources(cpu=LEAST, gpu=gpu), "check of the GPU")
        if name is None:
            raise InputError(
                "--gpu",
                gpu,
                "Ray assigns GPUs to the processes, but torch does not see any",
                "install torch for CUDA on the nodes, or set --gpu 0 to compute on CPUs",
            )
        text += f" ({name})"
    logger.info("%s", text)
    return text


class _Worker:
    """The actor."""

    def __init__(self, name: str, make: Callable[[], Work], resources: Resources) -> None:
        self._name = name
        self._make = make
        self._resources = resources
        self._making = threading.Lock()
        self._work: Work | None = None

    def __repr__(self) -> str:
        # What the dashboard calls it. Not an actor name of Ray's: of those there may be only one,
        # and it is not free at once when an actor dies.
        return self._name

    def run(self, number: int) -> None:
        # Made here and not in the constructor, whose errors Ray reports as the actor's death.
        with self._making:
            if self._work is None:
                keep_to(self._resources)
                self._work = self._make()
        self._work(number)


class _Pool:
    """The state of a pool: which actor does which shard, and what is left."""

    def __init__(self, shards: Shards, resources: Resources) -> None:
        self.shards = shards
        self.resources = resources
        self.finished = self.deaths = 0
        # The dashboard calls actors after their class, and their start after nothing else.
        named = type(f"{shards.name} worker", (_Worker,), {})
        self._actor_class = ray.remote(
            num_cpus=resources.cpu,
            num_gpus=resources.gpu,
            max_restarts=0,
            max_task_retries=0,
            max_concurrency=shards.at_once,
        )(named)
        self._places = self._made = self._stillborn = 0
        self._waiting = deque(number for number in shards.numbers if not shards.is_done(number))
        self._total = len(self._waiting)
        self._tries: Counter[int] = Counter()
        self._starting: dict[ray.ObjectRef[bool], Any] = {}
        """Actors that have not said yet that they are up: a shard given to one would wait for ever
        where the cluster has become too small for it."""
        self._actors: set[Any] = set()
        """Actors that are up."""
        self._idle: list[Any] = []
        """Actors that can take another shard; an actor appears once for each free thread."""
        self._running: dict[ray.ObjectRef[None], tuple[int, Any]] = {}
        self._windows = 0
        self._last = time.monotonic()

    @property
    def unfinished(self) -> bool:
        return bool(self._waiting or self._running)

    def progress(self) -> Progress:
        shards = self.shards
        windows = None if shards.windows is None else sum(map(shards.windows, self._waiting))
        initial = State(waiting=f"{count_noun(self._places, 'actor')} to start")
        return Progress(shards.name, self._total, shards.unit, windows=windows, initial=initial)

    def state(self) -> State:
        starting = len(self._starting)
        return State(
            done=self.finished,
            windows=self._windows,
            waiting=f"{count_noun(starting, 'actor')} to start" if starting else "",
            at_work=tuple(self.shards.label(number) for number, _ in self._running.values()),
        )

    def task_name(self, number: int) -> str:
        """Return the name of the work at a shard in the dashboard."""
        few = self._total <= NAMES
        return f"{self.shards.name} {self.shards.label(number) if few else self.shards.unit}"

    def start(self, actors: int) -> None:
        self._places = min(actors, self._total)

    def hand_out(self) -> None:
        while self._waiting and self._idle:
            number, actor = self._waiting.popleft(), self._idle.pop()
            self._tries[number] += 1
            task = actor.run.options(name=self.task_name(number))
            self._running[task.remote(number)] = (number, actor)
        free = self._places - len(self._starting) - len(self._actors)
        for _ in range(min(free, len(self._waiting) - len(self._starting))):
            name = f"{self.shards.name} worker {self._made}"
            self._made += 1
            actor = self._actor_class.remote(name, self.shards.make, self.resources)
            up = actor.__ray_ready__.options(name=f"{name} starts").remote()
            self._starting[up] = actor

    def collect(self, stall_seconds: float) -> None:
        ready, _ = ray.wait([*self._running, *self._starting], num_returns=1, timeout=1.0)
        for reference in ready:
            if reference in self._starting:
                self._welcome(reference)
            else:
                self._settle(reference)
        if time.monotonic() - self._last > stall_seconds:
            raise StalledError(
                f"no shard of {self.shards.name} was finished for {stall_seconds:g} s; "
                "see `ray status` for what it waits for"
            )

    def _welcome(self, reference: ray.ObjectRef[bool]) -> None:
        actor = self._starting.pop(reference)
        try:
            ray.get(reference)
        except RayActorError as death:
            self.deaths += 1
            self._stillborn += 1
            if self._stillborn > TRIES * self._places:
                raise ShardError(
                    f"{self.shards.name}: its workers die before they begin: {reason_of(death)}; "
                    "see the logs of Ray"
                ) from death
        else:
            self._stillborn = 0
            self._actors.add(actor)
            self._idle += [actor] * self.shards.at_once

    def _settle(self, reference: ray.ObjectRef[None]) -> None:
        number, actor = self._running.pop(reference)
        error: Exception | None = None
        try:
            ray.get(reference)
        except RayActorError as death:
            self.deaths += actor in self._actors
            self._forget(actor)
            error = death
        except RayTaskError as failure:
            if isinstance(failure.cause, InputError):
                # The actor is still among those that `stop` kills: the error's traceback holds its
                # handle, so that it would live, and keep its CPUs, as long as the error.
                raise failure.cause from None
            error = failure
        if self.shards.in_own_process and actor in self._actors:
            ray.kill(actor)
            self._forget(actor)
        if actor in self._actors:
            self._idle.append(actor)
        if self.shards.is_done(number):
            self.finished += 1
            self._windows += 0 if self.shards.windows is None else self.shards.windows(number)
            self._last = time.monotonic()
        else:
            self._try_again(number, error or RuntimeError("no file was written"))

    def _forget(self, actor: Any) -> None:
        """Stop giving shards to a dead actor."""
        self._actors.discard(actor)
        self._idle = [other for other in self._idle if other != actor]

    def _try_again(self, number: int, error: Exception) -> None:
        reason = reason_of(error)
        if self._tries[number] >= TRIES:
            raise ShardError(
                f"{self.shards.name}: {self.shards.describe(number)} failed {TRIES} times, last: "
                f"{reason}; what was finished is kept, --resume does the rest"
            ) from error
        label = self.shards.label(number)
        logger.warning("%s %s is tried again: %s", self.shards.name, label, reason)
        self._waiting.append(number)

    def stop(self) -> None:
        for actor in [*self._starting.values(), *self._actors]:
            ray.kill(actor)

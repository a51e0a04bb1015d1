"""One run on workers of Ray Train, which train one model together."""

from __future__ import annotations

import threading
import uuid
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import ray
from ray.util.queue import Queue

from hyena_ray.cluster.gpu_share import NO_GPU
from hyena_ray.cluster.resources import TrialResources
from hyena_ray.cluster.start import reason_of
from hyena_ray.errors import InputError, JobError
from hyena_ray.storage import AnyPath

if TYPE_CHECKING:
    from ray.train import TrainingFailedError

    from hyena_ray.training.data_parallel import Workers

Report = Callable[[dict[str, Any]], None]
"""Takes the result of an epoch."""


def run_on_workers(
    train: Callable[[Workers, Report], None],
    resources: TrialResources,
    folder: AnyPath,
    *,
    name: str,
    tell: Report,
    retries: int = 0,
) -> None:
    """Call `train` on every worker of a new group, and wait.

    Workers communicate over NCCL if each has a GPU of its own, else over Gloo. The reports of the
    first worker are passed on in this thread: Ray 2.60's TuneReportCallback hangs if Tune takes
    longer to accept the last report than the group takes to end.

    Args:
        train: Trains one run as one of these workers.
        resources: Resources of the run; `gpu` is a number.
        folder: Folder for Ray Train's own files, on storage that every node sees.
        name: Name of the run, in `folder` and on the dashboard; a Tune trial's has its id.
        tell: Takes the reports.
        retries: Times that the group is started again after one of its workers failed or died;
            where Tune retries the whole trial, none.

    Raises:
        TrainingFailedError: A worker failed or died once more.
    """
    # Not above: a trial without workers of its own is spared these imports.
    import ray.train
    from ray.train.torch import TorchConfig, TorchTrainer

    from hyena_ray.training.data_parallel import Workers

    # The suffix belongs to this process: a trial that is tried again has the same id, and its first
    # queue may still be there.
    queue = f"reports of {name} {uuid.uuid4().hex[:6]}"
    reports = Queue(actor_options={"num_cpus": 0, "name": queue})

    def work() -> None:
        workers = Workers.of_process_group()
        train(workers, reports.put if workers.writes else lambda result: None)

    gpu = resources.gpu or 0.0
    trainer = TorchTrainer(
        work,
        torch_config=TorchConfig(backend=backend_for(resources)),
        scaling_config=ray.train.ScalingConfig(
            num_workers=resources.workers,
            use_gpu=gpu > 0,
            resources_per_worker={"CPU": resources.cpu, "GPU": gpu},
        ),
        run_config=ray.train.RunConfig(
            name=name,
            storage_path=str(folder),
            failure_config=ray.train.FailureConfig(max_failures=retries),
            # `keep_to` would be too late here: Ray Train initialises CUDA before it calls `work`.
            # Ray Train itself makes each worker's own GPU the current device.
            worker_runtime_env={} if gpu else {"env_vars": NO_GPU},
        ),
    )
    failures: list[Exception] = []

    def fit() -> None:
        try:
            with warnings.catch_warnings():
                # Ray's own context sets options that Ray has deprecated.
                warnings.simplefilter("ignore", DeprecationWarning)
                trainer.fit()
        except Exception as error:
            failures.append(error)
        reports.put(None)

    # A daemon, so that a process that is to end, such as that of a trial that Tune stops, can end
    # while the thread still waits.
    threading.Thread(target=fit, daemon=True, name="workers").start()
    while (report := reports.get()) is not None:
        tell(report)
    if failures:
        raise failures[0]


def backend_for(resources: TrialResources) -> str:
    """Return the torch.distributed backend of a group of workers.

    Args:
        resources: Resources of the run; `gpu` is a number.

    Example:
        >>> backend_for(TrialResources(gpu=1, workers=2)), backend_for(TrialResources(gpu=0))
        ('nccl', 'gloo')
    """
    return "nccl" if resources.gpu else "gloo"


def run_in_own_process(
    train: Callable[[Workers, Report], None],
    resources: TrialResources,
    folder: AnyPath,
    *,
    name: str,
    tell: Report,
    retries: int = 0,
) -> None:
    """Call `run_on_workers` in a process of its own, and wait.

    `run_on_workers` waits in two threads. A driver that receives SIGTERM while one of them is in
    Ray sometimes loses its exit code, which a process of its own prevents.

    Args:
        train: Trains one run as one of these workers.
        resources: Resources of the run; `gpu` is a number.
        folder: Folder for Ray Train's own files, on storage that every node sees.
        name: Name of the run, in `folder` and on the dashboard.
        tell: Takes the reports.
        retries: Times that the group is started again after one of its workers failed or died.

    Raises:
        InputError: A worker refuses its input.
        JobError: A worker failed or died once more; what finished is kept.
    """
    from ray.train import TrainingFailedError

    reports = Queue(actor_options={"num_cpus": 0})

    def drive() -> None:
        try:
            run_on_workers(train, resources, folder, name=name, tell=reports.put, retries=retries)
        finally:
            reports.put(None)

    ended = ray.remote(num_cpus=0)(drive).options(name=name).remote()
    while (report := reports.get()) is not None:
        tell(report)
    try:
        ray.get(ended)
    except TrainingFailedError as error:
        raise _failure(error) from error


def _failure(error: TrainingFailedError) -> Exception:
    """Return what stopped a worker, in one line."""
    causes = getattr(getattr(error, "cause", error), "worker_failures", {}).values()
    for cause in causes:
        if isinstance(cause, InputError | JobError):
            return cause
    reason = reason_of(next(iter(causes), error))
    return JobError(f"workers failed ({reason}); what was finished is kept, --resume does the rest")

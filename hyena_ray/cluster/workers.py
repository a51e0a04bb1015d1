"""One run on workers of Ray Train, which train one model together."""

from __future__ import annotations

import threading
import uuid
import warnings
from collections.abc import Callable
from typing import Any

import ray.train
from ray.train.torch import TorchTrainer
from ray.util.queue import Queue

from hyena_ray.cluster.resources import TrialResources
from hyena_ray.storage import AnyPath
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

    The group talks over nccl where its workers have GPUs, else over gloo. What the first worker
    reports is told in this thread: Ray 2.60's TuneReportCallback hangs where Tune is slower to take
    the last report than the group to end.

    Args:
        train: trains one run as one of these workers.
        resources: of the run.
        folder: takes Ray Train's own files; on storage that every node sees.
        name: of the run, in `folder` and on the dashboard; a Tune trial's has its id.
        tell: takes the reports.
        retries: times that the group is started anew after one of its workers failed or died; of
            a Tune trial that is Tune's task.

    Raises:
        TrainingFailedError: a worker failed or died once more.
    """
    # The rest of the name is no run's but this process's: a trial that is tried again has the
    # same id, and its first queue may still be there.
    queue = f"reports of {name} {uuid.uuid4().hex[:6]}"
    reports = Queue(actor_options={"num_cpus": 0, "name": queue})

    def work() -> None:
        workers = Workers.of_process_group()
        train(workers, reports.put if workers.writes else lambda result: None)

    trainer = TorchTrainer(
        work,
        scaling_config=ray.train.ScalingConfig(
            num_workers=resources.workers,
            use_gpu=resources.gpu > 0,
            resources_per_worker={"CPU": resources.cpu, "GPU": resources.gpu},
        ),
        run_config=ray.train.RunConfig(
            name=name,
            storage_path=str(folder),
            failure_config=ray.train.FailureConfig(max_failures=retries),
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

    # A daemon: a process that is told to end, such as that of a trial that Tune stops, ends while
    # this still waits.
    threading.Thread(target=fit, daemon=True, name="workers").start()
    while (report := reports.get()) is not None:
        tell(report)
    if failures:
        raise failures[0]

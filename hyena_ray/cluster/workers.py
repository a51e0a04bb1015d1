"""One trial on several workers of Ray Train, which train one model together."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable
from typing import Any

import ray.train
from ray import tune
from ray.train.torch import TorchTrainer
from ray.util.queue import Queue

from hyena_ray.cluster.resources import TrialResources
from hyena_ray.storage import AnyPath
from hyena_ray.training.workers import Workers

Report = Callable[[dict[str, Any]], None]
"""Takes the result of an epoch."""


def run_on_workers(
    train: Callable[[Workers, Report], None], resources: TrialResources, folder: AnyPath
) -> None:
    """Call `train` on every worker of a new group, and wait; for the driver of a Tune trial.

    The group talks over nccl where its workers have GPUs, else over gloo. What the first worker
    reports reaches Tune, from this thread: Ray 2.60's TuneReportCallback hangs where Tune is slower
    to take the last report than the group to end. When Tune stops the trial, the workers end too.

    Args:
        train: trains one run as one of these workers.
        resources: of the trial.
        folder: takes Ray Train's own files; on storage that every node sees.

    Raises:
        TrainingFailedError: a worker failed or died; trying again is Tune's task.
    """
    trial = f"{tune.get_context().get_trial_name()}_{tune.get_context().get_trial_id()}"
    # The rest of the name is no trial's but this process's: a trial that is tried again has the
    # same id, and its first queue may still be there.
    queue = f"reports of {trial} {uuid.uuid4().hex[:6]}"
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
        run_config=ray.train.RunConfig(name=trial, storage_path=str(folder)),
    )
    failures: list[Exception] = []

    def fit() -> None:
        try:
            trainer.fit()
        except Exception as error:
            failures.append(error)
        reports.put(None)

    # A daemon, since Tune ends the process of a trial that it stops while this still waits.
    threading.Thread(target=fit, daemon=True, name="workers").start()
    while (report := reports.get()) is not None:
        tune.report(report)
    if failures:
        raise failures[0]

"""One trial on several workers of Ray Train, which train one model together."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import ray.train
from ray import tune
from ray.train.torch import TorchTrainer
from ray.tune.integration.ray_train import TuneReportCallback

from hyena_ray.cluster.resources import TrialResources
from hyena_ray.training.workers import Workers

Report = Callable[[dict[str, Any]], None]
"""Takes the result of an epoch."""


def run_on_workers(
    train: Callable[[Workers, Report], None], resources: TrialResources, folder: Path
) -> None:
    """Call `train` on every worker of a new group, and wait; for the driver of a Tune trial.

    The group talks over nccl where its workers have GPUs, else over gloo. Every worker must report
    each epoch; the first one's results reach Tune. When Tune stops the trial, its workers end too.

    Args:
        train: trains one run as one of these workers.
        resources: of the trial.
        folder: takes Ray Train's own files; on storage that every node sees.

    Raises:
        TrainingFailedError: a worker failed or died; trying again is Tune's task.
    """

    def loop() -> None:
        train(Workers.of_process_group(), ray.train.report)

    TorchTrainer(
        loop,
        scaling_config=ray.train.ScalingConfig(
            num_workers=resources.workers,
            use_gpu=resources.gpu > 0,
            resources_per_worker={"CPU": resources.cpu, "GPU": resources.gpu},
        ),
        run_config=ray.train.RunConfig(
            name=f"train_{tune.get_context().get_trial_id()}",
            storage_path=str(folder),
            callbacks=[TuneReportCallback()],
        ),
    ).fit()

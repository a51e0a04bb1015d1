"""One trial: train a run, alone or on workers of its own, and report to Tune."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any, NamedTuple

import torch
from ray import tune

from hyena_ray.cluster.feeds import SharedData
from hyena_ray.cluster.gpu_share import keep_to
from hyena_ray.cluster.monitor import gpu_memory
from hyena_ray.cluster.resources import TrialResources
from hyena_ray.cluster.workers import Report, run_on_workers
from hyena_ray.model.devices import DeviceError
from hyena_ray.runs.plan import fingerprint
from hyena_ray.search.space import SearchSpace
from hyena_ray.search.trial_fields import EPOCH, FINISHED, METRIC, PROBLEM, SCORE, SECONDS
from hyena_ray.storage import AnyPath
from hyena_ray.training.checkpoint import CHECKPOINT, load_state
from hyena_ray.training.data_parallel import ALONE, Workers
from hyena_ray.training.supervised import EpochReport, train_run
from hyena_ray.training.tensorboard import TENSORBOARD, LearningCurve, learning_curve
from hyena_ray.training.trainer import DivergenceError


def trial_name(number: int) -> str:
    """Return the name of a trial in Tune, in TensorBoard and in metrics.

    Args:
        number: Number of the trial in the Optuna study.
    """
    return f"trial_{number:04d}"


class TrialPlan(NamedTuple):
    """Settings that all trials of a search share."""

    space: SearchSpace
    """What is searched."""
    folder: AnyPath
    """Folder of the run, on storage that every node sees; takes `trials/` and `tensorboard/`, each
    with a folder per trial."""
    data: SharedData
    """Training windows by length, and what trials are scored on."""
    threads: int
    """torch threads of each trial, or of each of its workers."""
    resources: TrialResources
    """Resources of each trial, or of each worker of a trial; `gpu` is a number."""
    search: str
    """Fingerprint of the search, which says what data and initial weights are, not where."""

    def fingerprint_of(self, values: Mapping[str, Any]) -> str:
        """Return what identifies a trial: a checkpoint belongs to exactly one.

        Args:
            values: Searched settings of the trial, by dotted key.
        """
        return fingerprint({"search": self.search, "values": dict(values)})

    def folder_of(self, number: int) -> AnyPath:
        """Return the folder of a trial's checkpoint and model.

        Args:
            number: Number of the trial in the Optuna study.
        """
        return self.folder / "trials" / f"{number:04d}"

    def events_of(self, number: int) -> AnyPath:
        """Return the folder of a trial's learning curve.

        Args:
            number: Number of the trial in the Optuna study.
        """
        return self.folder / TENSORBOARD / trial_name(number)


def run_trial(config: dict[str, Any], plan: TrialPlan) -> None:
    """Train with the settings that `StudySearch` suggested, from the trial's checkpoint if any.

    If a run diverges, runs out of GPU memory or needs a precision that the device lacks, that is a
    result of its settings: it is reported with the problem, and not tried again.

    Args:
        config: Number and searched settings of the trial.
        plan: What all trials share.
    """
    resources = plan.resources
    if resources.workers == 1:
        keep_to(resources)
        _train(config, plan, ALONE, tune.report)
    else:
        context = tune.get_context()
        # When Tune stops the trial, the workers end too.
        run_on_workers(
            lambda workers, report: _train(config, plan, workers, report),
            resources,
            plan.folder_of(config["number"]),
            name=f"{context.get_trial_name()}_{context.get_trial_id()}",
            tell=tune.report,
        )


def _train(config: dict[str, Any], plan: TrialPlan, workers: Workers, report: Report) -> None:
    torch.set_num_threads(plan.threads)
    with ExitStack() as stack:
        curve = None
        if workers.writes:
            events = learning_curve(plan.events_of(config["number"]), config["values"])
            curve = stack.enter_context(events)
        memory = gpu_memory(f"{plan.space.task} trials", trial_name(config["number"]))
        update = stack.enter_context(memory)

        def report_with_memory(result: dict[str, Any]) -> None:
            update()
            report(result)

        _train_and_report(config, plan, workers, report_with_memory, curve)


def _train_and_report(
    config: dict[str, Any],
    plan: TrialPlan,
    workers: Workers,
    report: Report,
    curve: LearningCurve | None,
) -> None:
    began = time.monotonic()
    settings = plan.space.run_settings(config["values"])
    metric, length = settings.metric, settings.data.length

    def tell(epoch: int, metrics: Mapping[str, float], problem: str, *, finished: bool) -> None:
        # Tune ends a whole experiment over a report that lacks a key: always the same ones.
        report(
            {
                EPOCH: epoch,
                SCORE: metrics.get(metric, -1.0),
                FINISHED: finished,
                PROBLEM: problem,
                SECONDS: time.monotonic() - began,
                **{METRIC + name: value for name, value in metrics.items()},
            }
        )

    last = EpochReport(0, 0, {})

    def after_epoch(epoch: EpochReport) -> None:
        nonlocal last
        last = epoch
        if curve is not None:
            curve.add(epoch.epoch, epoch.metrics)
        # The last epoch is reported once the best model is in place: ASHA may end a trial then.
        if epoch.epoch < epoch.epochs:
            tell(epoch.epoch, epoch.metrics, "", finished=False)

    folder = plan.folder_of(config["number"])
    own = plan.fingerprint_of(config["values"])
    state = load_state(folder / CHECKPOINT, own)
    if state is not None:
        # A run that was killed may have been ahead of what Tune knows of it.
        epochs = settings.total_epochs
        for number, metrics in enumerate(state.history, start=1):
            after_epoch(EpochReport(number, epochs, metrics))
    try:
        result = train_run(
            settings,
            plan.data.train[length].open(settings.data.limit, workers, settings.data.negatives),
            plan.data.validation.get(),
            folder,
            after_epoch,
            workers,
            fingerprint=own,
        )
    except (DivergenceError, DeviceError) as error:
        tell(last.epoch + 1, {}, str(error), finished=True)
    else:
        epoch = max(last.epoch, result.best_epoch)
        tell(epoch, {"best_epoch": result.best_epoch, **result.metrics}, "", finished=True)

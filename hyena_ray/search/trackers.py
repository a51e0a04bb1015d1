"""Experiment trackers that follow a search: MLflow and Weights & Biases.

A tracker is a guest: what goes wrong in it is logged once, and the search continues without it.
Keys and passwords come from the trackers' own environment variables or login files, and are neither
logged nor given to Ray.
"""

from __future__ import annotations

import importlib.util
import logging
import multiprocessing
import os
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from ray import tune

from hyena_ray.cluster.start import reason_of
from hyena_ray.errors import InputError
from hyena_ray.search._wandb_process import TrialMessage, send_to_wandb
from hyena_ray.storage import AnyPath

logger = logging.getLogger(__name__)

OPTION = "--tracker"
UPLOAD_SECONDS = 120
"""Longest time that the end of a search waits for what Weights & Biases has not sent yet."""
_MLFLOW_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    # By default MLflow tries for several minutes, for which the search would wait.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
}
_HOOKS = (
    *("setup", "on_step_begin", "on_step_end", "on_trial_start", "on_trial_restore"),
    *("on_trial_save", "on_trial_result", "on_trial_complete", "on_trial_recover"),
    *("on_trial_error", "on_checkpoint", "on_experiment_end"),
)


class Tracker(NamedTuple):
    """A tracker that is to follow a search.

    Example:
        >>> parse_trackers(["mlflow=http://host:5000"])
        (Tracker(kind='mlflow', target='http://host:5000'),)
    """

    kind: str
    """Key of `MAKERS`."""
    target: str
    """URI of MLflow, or project of Weights & Biases."""


def parse_trackers(texts: Sequence[str]) -> tuple[Tracker, ...]:
    """Read what `--tracker` gives, without an import of a tracker.

    Args:
        texts: Each `KIND=TARGET`, such as `mlflow=http://host:5000` or `wandb=project`.

    Returns:
        One tracker for each text.

    Raises:
        InputError: An unknown kind, no target, a password in it, or a package that is not
            installed.
    """
    return tuple(map(_parse, texts))


def _parse(text: str) -> Tracker:
    kind, _, target = text.partition("=")
    if kind not in MAKERS or not target:
        raise InputError(
            OPTION,
            kind,
            "no tracker and where it writes",
            "write mlflow=URI or wandb=PROJECT",
        )
    if kind == "mlflow":
        _check_uri(target)
    if importlib.util.find_spec(kind) is None:
        raise InputError(
            OPTION,
            kind,
            "is not installed",
            f"run pip install 'hyena-ray[{kind}]', or leave it out",
        )
    return Tracker(kind, target)


def _check_uri(target: str) -> None:
    parts = urlsplit(target)
    if parts.password is not None:
        raise InputError(
            OPTION,
            f"mlflow={parts.scheme}://...",
            "holds a password, which logs would show",
            "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD instead",
        )
    if not parts.scheme and target != "databricks":
        raise InputError(
            OPTION,
            f"mlflow={target}",
            "not a URI",
            "give http://HOST:5000, or sqlite:////FOLDER/mlflow.db",
        )


def tracker_callbacks(
    trackers: Sequence[Tracker], task: str, folder: AnyPath
) -> list[tune.Callback]:
    """Make the callbacks of Tune that pass every trial on to trackers.

    Args:
        trackers: What `parse_trackers` returned.
        task: Name of the task, which is part of the name of MLflow's experiment.
        folder: Folder of the run. Its name is that of the group of trials in Weights & Biases,
            whose files are in `wandb/` next to it.

    Returns:
        A callback for each tracker, none of which stops the search.
    """
    return [_Guest(kind, partial(MAKERS[kind], target, task, folder)) for kind, target in trackers]


def _mlflow(target: str, task: str, folder: AnyPath) -> tune.Callback:
    for key, value in _MLFLOW_ENVIRONMENT.items():
        os.environ.setdefault(key, value)
    from ray.air.integrations.mlflow import MLflowLoggerCallback

    return MLflowLoggerCallback(
        tracking_uri=target, experiment_name=f"hyena_ray {task}", tags={"run": folder.name}
    )


def _wandb(target: str, task: str, folder: AnyPath) -> tune.Callback:
    options = {"project": target, "group": folder.name, "job_type": task}
    if directory := os.environ.get("WANDB_DIR"):
        options["dir"] = directory
    elif isinstance(folder, Path):
        # Next to the run: W&B makes links, which a run that is resumed must not hold.
        options["dir"] = str(folder.parent)
    else:
        options["dir"] = tempfile.mkdtemp(prefix="hyena_ray-wandb-")
    return _Wandb(options)


class _Wandb(tune.Callback):
    """Tells Weights & Biases of trials, through a process that the search never waits for."""

    def __init__(self, options: dict[str, Any]) -> None:
        # Forking would copy a process that has threads.
        processes = multiprocessing.get_context("spawn")
        self._inbox: Any = processes.Queue()
        self._inbox.cancel_join_thread()  # what a dead process does not take is not waited for
        self._problems, problems = processes.Pipe(duplex=False)
        self._process = processes.Process(
            target=send_to_wandb, args=(self._inbox, problems, options), daemon=True, name="wandb"
        )
        self._process.start()

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._send(TrialMessage(trial.trial_id, "start", trial.config, name=str(trial)))

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        numbers = {
            key: value
            for key, value in result.items()
            if isinstance(value, int | float) and not isinstance(value, bool)
        }
        step = result["training_iteration"]
        self._send(TrialMessage(trial.trial_id, "result", numbers, step=step))

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._send(TrialMessage(trial.trial_id, "end", {}))

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._send(TrialMessage(trial.trial_id, "end", {}, failed=True))

    def on_experiment_end(self, trials: list[Any], **info: Any) -> None:
        self._send(None)
        self._process.join(UPLOAD_SECONDS)
        if self._process.is_alive():
            self._process.kill()
            raise TimeoutError(f"not all was sent within {UPLOAD_SECONDS} s")
        self._raise_problem()

    def _send(self, message: TrialMessage | None) -> None:
        self._raise_problem()
        self._inbox.put(message)

    def _raise_problem(self) -> None:
        if not self._problems.poll():
            return
        try:
            problem = self._problems.recv()
        except EOFError:  # the process has ended
            self._process.join()
            if self._process.exitcode == 0:
                return
            problem = f"its process ended with exit code {self._process.exitcode}"
        raise RuntimeError(problem)


MAKERS: dict[str, Callable[[str, str, AnyPath], tune.Callback]] = {
    "mlflow": _mlflow,
    "wandb": _wandb,
}
"""By the name of the package, which is also that of the extra that installs it: the function that
makes a tracker's callback from target, task and folder."""


class _Guest(tune.Callback):
    """A callback that may fail once, and is not called again then."""

    def __init__(self, name: str, make: Callable[[], tune.Callback]) -> None:
        self._name = name
        self._make = make
        self._inner: tune.Callback | None = None
        self._failed = False

    def __reduce__(self) -> tuple[type[tune.Callback], tuple[()]]:
        # Tune keeps a copy for a restore, which never happens.
        return tune.Callback, ()

    def call(self, hook: str, *arguments: Any, **info: Any) -> None:
        """Pass one of Tune's calls on.

        Args:
            hook: Name of the method.
            arguments: Its positional arguments.
            info: Its keyword arguments.
        """
        if self._failed:
            return
        try:
            if self._inner is None:
                self._inner = self._make()
            getattr(self._inner, hook)(*arguments, **info)
        except Exception as error:  # whatever another program's server, disk or key can do
            self._failed = True
            logger.warning(
                "%s no longer follows the search (%s); the search continues",
                self._name,
                reason_of(error),
            )


def _passed_on(hook: str) -> Callable[..., None]:
    def passed_on(self: _Guest, *arguments: Any, **info: Any) -> None:
        self.call(hook, *arguments, **info)

    return passed_on


for _hook in _HOOKS:
    setattr(_Guest, _hook, _passed_on(_hook))

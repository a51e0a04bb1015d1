"""A search that is followed: TensorBoard always, MLflow and W&B where asked, Optuna's dashboard."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any, NamedTuple
from wsgiref.util import setup_testing_defaults

import pytest
import ray
import torch
from huggingface_hub import ModelCard
from mlflow.tracking import MlflowClient
from optuna.storages import RDBStorage
from optuna_dashboard import wsgi
from ray import tune
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

import hyena_ray
from hyena_ray.cluster.resources import Cluster
from hyena_ray.files import read_json
from hyena_ray.runs._ownership import check_ownership
from hyena_ray.search import trackers
from hyena_ray.training.checkpoint import CHECKPOINT
from hyena_ray.workflows.tune import TuneRecord
from tests.command_line import run_job

pytestmark = [
    pytest.mark.slow,
    # MLflow's store asks SQLAlchemy so.
    pytest.mark.filterwarnings("ignore:The ``noload`` loader:sqlalchemy.exc.SADeprecationWarning"),
]

ROOT = Path(__file__).parents[2]
EPOCHS = 3
SPACE = f"""\
task: zdna
trials: 2
concurrent: 2
scheduler: {{grace_period: {EPOCHS}}}
settings:
  data.length: 40
  data.limit: 400
  model.d_model: 16
  model.n_layer: 1
  model.max_seq_len: 130
  readout.flank: 8
  readout.lookahead: 4
  training.epochs: {EPOCHS}
search:
  training.learning_rate: {{low: 1e-3, high: 1e-2, log: true}}
attribution: {{methods: [tp]}}
"""
RATE = "training.learning_rate"
SECRET = "0123456789abcdef0123456789abcdef01234567"


class Broken(tune.Callback):
    """A tracker whose server is gone."""

    def on_trial_result(self, *arguments: Any, **info: Any) -> None:
        raise ConnectionError("the server is gone")


class Followed(NamedTuple):
    """A finished run, and what was told of it to whom."""

    out: Path
    mlflow: str
    remote: list[Any]
    """Options of all that Ray was asked to start."""
    log: list[str]
    """Of the trackers."""


@pytest.fixture(scope="module")
def followed(
    small_data: Path, cluster: Cluster, tmp_path_factory: pytest.TempPathFactory
) -> Followed:
    folder = tmp_path_factory.mktemp("followed")
    (folder / "space.yaml").write_text(SPACE)
    done = Followed(folder / "run", f"sqlite:///{folder / 'mlflow.db'}", [], [])
    remote, parse = ray.remote, trackers.parse_trackers

    def spy(*arguments: Any, **options: Any) -> Any:
        done.remote.append(options)
        return remote(*arguments, **options)

    handler = logging.Handler()
    handler.emit = lambda record: done.log.append(record.getMessage())  # type: ignore[method-assign]
    trackers.logger.addHandler(handler)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WANDB_MODE", "offline")
        patch.setenv("WANDB_API_KEY", SECRET)
        patch.setattr(ray, "remote", spy)
        patch.setitem(trackers.MAKERS, "broken", lambda *given: Broken())
        broken = trackers.Tracker("broken", "")
        patch.setattr(trackers, "parse_trackers", lambda texts: (broken, *parse(texts)))
        run_job(
            "tune",
            "zdna",
            *[
                *("--data", str(small_data), "--out", str(done.out)),
                *("--space", str(folder / "space.yaml")),
                *("--tracker", f"mlflow={done.mlflow}", "--tracker", "wandb=a_project"),
            ],
        )
    trackers.logger.removeHandler(handler)
    return done


def rates(out: Path) -> list[float]:
    """What was searched, by trial."""
    trials = RDBStorage(f"sqlite:///{out / 'study.db'}").get_all_trials(1)
    return [trial.params[RATE] for trial in trials]


def test_tensorboard_has_the_whole_curve_and_the_settings_of_every_trial(
    followed: Followed,
) -> None:
    for number, rate in enumerate(rates(followed.out)):
        events = EventAccumulator(str(followed.out / "tensorboard" / f"trial_{number:04d}"))
        events.Reload()
        path = followed.out / "trials" / f"{number:04d}" / CHECKPOINT
        history = torch.load(path, weights_only=True)["history"]
        assert len(history) == EPOCHS
        for name in ("f1", "train_loss"):
            curve = events.Scalars(name)
            assert [event.step for event in curve] == [1, 2, 3]
            told = [metrics[name] for metrics in history]
            assert [event.value for event in curve] == pytest.approx(told)
        content = events.PluginTagToContent("hparams")["_hparams_/session_start_info"]
        given = HParamsPluginData.FromString(content).session_start_info.hparams
        assert given[RATE].number_value == rate


def test_mlflow_has_settings_and_metrics_of_every_trial(followed: Followed) -> None:
    client = MlflowClient(followed.mlflow)
    experiment = client.get_experiment_by_name("hyena_ray zdna")
    assert experiment is not None
    runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    assert sorted(runs) == ["trial_0000", "trial_0001"]
    for run, rate in zip((runs[name] for name in sorted(runs)), rates(followed.out), strict=True):
        assert float(run.data.params[f"values/{RATE}"]) == rate
        steps = [point.step for point in client.get_metric_history(run.info.run_id, "score")]
        assert steps == list(range(1, EPOCHS + 1))
        assert run.info.status == "FINISHED"


def test_wandb_has_settings_and_metrics_of_every_trial(followed: Followed) -> None:
    files = sorted((followed.out.parent / "wandb").glob("offline-run-*/run-*.wandb"))
    assert len(files) == 2
    for file in files:
        content = file.read_bytes()
        for word in (b"a_project", RATE.encode(), b"metric/f1"):
            assert word in content


def test_the_key_is_in_no_file_and_no_runtime_environment(followed: Followed) -> None:
    for path in followed.out.parent.rglob("*"):
        assert path.is_dir() or SECRET.encode() not in path.read_bytes(), path
    assert list((followed.out.parent / "wandb").glob("offline-run-*")), "W&B was told nothing"
    assert followed.remote, "Ray was asked for nothing"
    assert SECRET not in str(followed.remote)


def test_a_tracker_that_fails_is_told_once_and_the_run_goes_on(followed: Followed) -> None:
    assert followed.log == [
        "broken no longer follows the search (the server is gone); the search continues"
    ]
    assert TuneRecord.read(followed.out).trials == {"complete": 2}


def test_a_followed_run_can_be_resumed(followed: Followed) -> None:
    check_ownership(followed.out)


def get(storage: RDBStorage, path: str) -> Any:
    """What Optuna's dashboard answers."""
    environment: dict[str, Any] = {"PATH_INFO": path}
    setup_testing_defaults(environment)
    begun: list[str] = []
    answer = wsgi(storage)(environment, lambda status, *more: begun.append(status))
    body = b"".join(answer)
    assert begun == ["200 OK"]
    return json.loads(body)


def test_the_dashboard_of_optuna_opens_the_study(followed: Followed) -> None:
    storage = RDBStorage(f"sqlite:///{followed.out / 'study.db'}")
    (study,) = get(storage, "/api/studies")["study_summaries"]
    assert study["study_name"] == "zdna"
    found = get(storage, f"/api/studies/{study['study_id']}")
    best = TuneRecord.read(followed.out)
    scores = {trial["number"]: trial["values"][0] for trial in found["trials"]}
    assert scores[best.best_trial] == max(scores.values()) == best.validation["average_precision"]


def test_the_card_of_the_best_model_has_the_test_figures(followed: Followed) -> None:
    card = ModelCard.load(followed.out / "model" / "README.md")
    test = TuneRecord.read(followed.out).test
    figures = {
        result.metric_name: result.metric_value
        for result in card.data.eval_results
        if result.dataset_split == "test"
    }
    assert figures == {name: test[name] for name in figures}
    assert {"f1", "mcc", "average_precision"} <= set(figures)
    interval = read_json(followed.out / "evaluation.json")["intervals"]["f1"]
    shown = f"{test['f1']:.3f} ({interval['low']:.3f} to {interval['high']:.3f})"
    assert shown in card.text
    assert str(followed.out.parent) not in card.content
    model = hyena_ray.load(followed.out / "model")
    assert f"{model.threshold:.3f}" in card.text

"""Which trackers can be asked for, and what a failing one may do."""

from __future__ import annotations

import importlib.util
import logging
import multiprocessing
from pathlib import Path
from typing import Any, ClassVar

import pytest
from ray import tune

from hyena_ray.errors import InputError
from hyena_ray.search import trackers
from hyena_ray.search.trackers import Tracker, parse_trackers, tracker_callbacks


def test_trackers_are_read_in_order() -> None:
    assert parse_trackers(["mlflow=sqlite:////x/y.db?timeout=3", "wandb=some=project"]) == (
        Tracker("mlflow", "sqlite:////x/y.db?timeout=3"),
        Tracker("wandb", "some=project"),
    )
    assert parse_trackers([]) == ()
    assert parse_trackers(["mlflow=databricks"]) == (Tracker("mlflow", "databricks"),)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("comet=x", "--tracker: comet: no tracker and where it writes; write mlflow=URI or wandb"),
        ("mlflow", "--tracker: mlflow: no tracker and where it writes"),
        ("wandb=", "--tracker: wandb: no tracker and where it writes"),
        ("mlflow=mlruns", "--tracker: mlflow=mlruns: not a URI; give http://HOST:5000"),
        ("mlflow=https://me:hush@host", "--tracker: mlflow=https://...: holds a password"),
    ],
)
def test_what_is_no_tracker_is_refused(text: str, message: str) -> None:
    with pytest.raises(InputError) as error:
        parse_trackers([text])
    assert str(error.value).startswith(message)
    assert "hush" not in str(error.value)


@pytest.mark.parametrize("kind", trackers.MAKERS)
def test_a_package_that_is_missing_is_named_with_its_extra(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        InputError, match=rf"{kind}: is not installed; run pip install 'hyena-ray\["
    ):
        parse_trackers([f"{kind}=http://host"])


def test_every_call_of_tune_reaches_a_tracker_until_it_fails(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    heard: list[str] = []

    class Inner(tune.Callback):  # type: ignore[misc]
        def __getattribute__(self, name: str) -> Any:
            def hear(*arguments: Any, **info: Any) -> None:
                heard.append(name)
                if info.get("fail"):
                    raise OSError("no\nnetwork")

            return hear

    monkeypatch.setitem(trackers.MAKERS, "inner", lambda *given: Inner())
    (guest,) = tracker_callbacks([Tracker("inner", "")], "zdna", Path("run"))
    hooks = [name for name in vars(tune.Callback) if name.startswith("on_")]
    assert len(hooks) >= 11
    for hook in ["setup", *hooks]:
        getattr(guest, hook)(trials=[])
    assert heard == ["setup", *hooks]
    with caplog.at_level(logging.WARNING):
        guest.on_trial_start(fail=True)
        guest.on_trial_start(fail=True)
        guest.on_experiment_end(trials=[])
    assert heard == ["setup", *hooks, "on_trial_start"]
    assert [record.message for record in caplog.records] == [
        "inner no longer follows the search (no); the search continues"
    ]


def test_a_tracker_that_cannot_begin_is_told_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    def make(*given: object) -> tune.Callback:
        raise ImportError("half of it is missing")

    monkeypatch.setitem(trackers.MAKERS, "half", make)
    (guest,) = tracker_callbacks([Tracker("half", "")], "zdna", tmp_path)
    with caplog.at_level(logging.WARNING):
        guest.setup()
        guest.on_trial_start()
    assert len(caplog.records) == 1


class FakeTrial:
    """As much of a Tune trial as a tracker looks at."""

    trial_id = "a_trial"
    config: ClassVar = {"number": 0}


def test_what_wandb_refuses_is_told_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    monkeypatch.setenv("WANDB_MODE", "no such mode")
    (guest,) = tracker_callbacks([Tracker("wandb", "a_project")], "zdna", tmp_path / "run")
    with caplog.at_level(logging.WARNING):
        guest.on_trial_start(iteration=0, trials=[], trial=FakeTrial())
        guest.on_experiment_end(trials=[])
        guest.on_experiment_end(trials=[])
    (record,) = caplog.records
    assert record.message.startswith("wandb no longer follows the search (")


def test_a_process_of_wandb_that_dies_is_told_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    (guest,) = tracker_callbacks([Tracker("wandb", "a_project")], "zdna", tmp_path / "run")
    before = multiprocessing.active_children()
    guest.on_trial_start(iteration=0, trials=[], trial=FakeTrial())
    (process,) = set(multiprocessing.active_children()) - set(before)
    process.kill()
    process.join()
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            guest.on_trial_complete(iteration=0, trials=[], trial=FakeTrial())
    assert [record.message for record in caplog.records] == [
        "wandb no longer follows the search (its process ended with exit code -9); "
        "the search continues"
    ]

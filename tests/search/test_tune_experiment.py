"""Trials run to their end through crashes, or the search says which did not."""

from __future__ import annotations

import logging
import os
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import optuna
import pytest
from optuna.trial import TrialState
from ray import tune

from hyena_ray import progress
from hyena_ray.cluster.monitor import StalledError
from hyena_ray.cluster.resources import Placement, TrialResources
from hyena_ray.search import tune_experiment as experiment
from hyena_ray.search.space import SearchSpace
from hyena_ray.search.stored_study import StoredStudy
from hyena_ray.search.trial_fields import EPOCH, FINISHED, METRIC, PROBLEM, SCORE, SECONDS
from hyena_ray.search.tune_experiment import UnfinishedError, run_trials

pytestmark = [pytest.mark.usefixtures("cluster"), pytest.mark.slow]
EPOCHS = 3
PLACEMENT = Placement(concurrent=2, threads=1, resources=TrialResources())


def space(**changes: Any) -> SearchSpace:
    values: dict[str, Any] = {
        "task": "zdna",
        "trials": 4,
        "settings": {"training.epochs": EPOCHS},
        "search": {"training.learning_rate": {"low": 0.001, "high": 0.01}},
    }
    return SearchSpace.parse(values | changes, "test")


def fake_run(folder: Path, fault: Callable[[int, int, int], None] | None = None) -> Any:
    """A trial whose score grows with its number and epoch; `fault(number, begin, epoch)`."""

    def run(config: dict[str, Any], plan: Any) -> None:
        number = config["number"]
        begun = folder / f"{number}.begun"
        with begun.open("a") as stream:
            stream.write("begun\n")
        begin = len(begun.read_text().splitlines())

        def tell(epoch: int, problem: str = "", *, finished: bool = False) -> None:
            score = number + epoch / 10
            tune.report(
                {
                    EPOCH: epoch,
                    SCORE: score,
                    FINISHED: finished,
                    PROBLEM: problem,
                    SECONDS: 1.0,
                    METRIC + "f1": score,
                }
            )

        for epoch in range(1, EPOCHS):
            if fault is not None:
                fault(number, begin, epoch)
            tell(epoch)
        tell(EPOCHS, "the loss is nan" if number == 99 else "", finished=True)

    return run


def begins(folder: Path) -> list[int]:
    return [len(path.read_text().splitlines()) for path in sorted(folder.glob("*.begun"))]


@pytest.fixture
def go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., optuna.Study]:
    def start(
        settings: SearchSpace,
        fault: Callable[[int, int, int], None] | None = None,
        placement: Placement[TrialResources] = PLACEMENT,
    ) -> optuna.Study:
        monkeypatch.setattr(experiment, "run_trial", fake_run(tmp_path, fault))
        monkeypatch.setattr(experiment, "RETRIES", 1)
        stored = StoredStudy(tmp_path, settings)
        run_trials(settings, stored, {}, tmp_path, placement, fingerprint="search")
        return stored.study

    return start


LINE = re.compile(
    r"zdna trials: 0 of 4 trials in .*, 2 running, 2 pending, about .* left, "
    r"at work: trial 0 \(epoch 1 of 3\), trial 1 \(epoch 1 of 3\)"
)


class Searched(NamedTuple):
    """A finished search, of which a trial was killed in its second epoch."""

    folder: Path
    study: optuna.Study
    log: list[str]


@pytest.fixture(scope="module")
def searched(cluster: object, tmp_path_factory: pytest.TempPathFactory) -> Searched:
    folder = tmp_path_factory.mktemp("searched")
    log: list[str] = []
    told = folder / "told"

    class Reader(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            log.append(record.getMessage())
            if LINE.fullmatch(record.getMessage()):
                told.touch()

    def wait_for_the_line_and_die(number: int, begin: int, epoch: int) -> None:
        deadline = time.monotonic() + 120
        while epoch == 2 and not told.exists():
            assert time.monotonic() < deadline, "nothing was told"
            time.sleep(0.05)
        if number == 1 and begin == 1 and epoch == 2:
            os.kill(os.getpid(), signal.SIGKILL)

    reader = Reader()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(experiment, "run_trial", fake_run(folder, wait_for_the_line_and_die))
        patch.setattr(experiment, "RETRIES", 1)
        patch.setattr(progress, "PROGRESS_SECONDS", 0.2)
        for logger in (progress.logger, experiment.logger):
            patch.setattr(logger, "level", logging.INFO)
            logger.addHandler(reader)
        try:
            stored = StoredStudy(folder, space())
            run_trials(space(), stored, {}, folder, PLACEMENT, fingerprint="search")
        finally:
            for logger in (progress.logger, experiment.logger):
                logger.removeHandler(reader)
    return Searched(folder, stored.study, log)


def test_every_trial_ends_and_the_best_is_known(searched: Searched) -> None:
    study = searched.study
    states = [trial.state for trial in study.get_trials()]
    assert states[3] == TrialState.COMPLETE
    assert set(states) <= {TrialState.COMPLETE, TrialState.PRUNED}
    assert study.best_trial.number == 3
    assert study.best_value == pytest.approx(3.3)


def test_the_log_says_how_far_trials_are_while_they_run(searched: Searched) -> None:
    assert any(map(LINE.fullmatch, searched.log))


def test_a_killed_trial_is_run_again(searched: Searched) -> None:
    assert begins(searched.folder) == [1, 2, 1, 1]
    assert any("trial 1 failed, and is tried again" in line for line in searched.log)


def test_a_trial_that_always_crashes_is_named_and_the_others_are_kept(
    go: Callable[..., optuna.Study], tmp_path: Path
) -> None:
    def broken(number: int, begin: int, epoch: int) -> None:
        if number == 2:
            raise ArithmeticError("planted")

    with pytest.raises(
        UnfinishedError, match=r"1 of 4 trials did not finish \(trial 2: .*planted.*--resume"
    ):
        go(space(), broken)
    assert begins(tmp_path) == [1, 1, 2, 1]
    study = go(space())
    assert len(study.get_trials()) == 4
    assert all(trial.state.is_finished() for trial in study.get_trials())
    assert begins(tmp_path) == [1, 1, 3, 1]


def test_trials_that_cannot_be_placed_end_the_search_rather_than_wait(
    go: Callable[..., optuna.Study],
) -> None:
    too_large = Placement(concurrent=2, threads=1, resources=TrialResources(cpu=512))
    with pytest.raises(StalledError, match="no progress for 3 s in the trials"):
        go(space(stall_minutes=0.05), placement=too_large)

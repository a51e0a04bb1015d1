"""The study on disk is all there is to know about a search."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import optuna
import pyarrow.parquet as pq
import pytest
from optuna.trial import TrialState

from hyena_ray.errors import InputError
from hyena_ray.report.run_contents import read_study
from hyena_ray.search.searcher import StudySearch, scheduler
from hyena_ray.search.space import SearchSpace
from hyena_ray.search.stored_study import StoredStudy, best_trial, missing, write_trials
from hyena_ray.search.study_file import check_study_file
from hyena_ray.search.trial_fields import EPOCH, FINISHED, METRIC, OWN, PROBLEM, SCORE, SECONDS

SPACE = SearchSpace.parse(
    {
        "task": "zdna",
        "trials": 12,
        "search": {
            "training.learning_rate": {"low": 1e-4, "high": 1e-2, "log": True},
            "lora.enabled": {"choices": [False, True]},
            "lora.rank": {"choices": [4, 8], "when": {"lora.enabled": True}},
        },
    },
    "test",
)


def report(
    score: float, epoch: int, *, finished: bool = False, problem: str = ""
) -> dict[str, Any]:
    return {
        EPOCH: epoch,
        SCORE: score,
        FINISHED: finished,
        PROBLEM: problem,
        SECONDS: 1.0,
        METRIC + "f1": score,
    }


def run_one(search: StudySearch, name: str) -> dict[str, Any] | None:
    """A trial whose score is a function of its settings."""
    config = search.suggest(name)
    if not isinstance(config, dict):
        return None
    score = 1 - abs(config["values"]["training.learning_rate"] - 2e-3)
    search.on_trial_result(name, report(score / 2, 1))
    search.on_trial_complete(name, report(score, 2, finished=True))
    return config


def settings_of(study: optuna.Study) -> list[dict[str, Any]]:
    return [trial.user_attrs["settings"] for trial in study.get_trials()]


def test_an_interrupted_search_tries_the_same_settings_as_an_undisturbed_one(
    tmp_path: Path,
) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    stored = StoredStudy(tmp_path / "a", SPACE)
    calm = stored.study
    search = StudySearch(stored, SPACE)
    while run_one(search, str(len(calm.get_trials()))):
        pass
    for stop in (3, 11, 99):
        stored = StoredStudy(tmp_path / "b", SPACE)
        study = stored.study
        search = StudySearch(stored, SPACE)
        while len(study.get_trials()) < stop and run_one(search, str(len(study.get_trials()))):
            pass
        if stop < 99:
            search.suggest("killed in the middle")
    assert missing(study, SPACE) == 0
    assert settings_of(study) == settings_of(calm)
    assert len({str(values) for values in settings_of(calm)}) == SPACE.trials


def test_a_trial_that_was_running_is_run_again_with_its_settings(tmp_path: Path) -> None:
    stored = StoredStudy(tmp_path, SPACE)
    study = stored.study
    first = StudySearch(stored, SPACE).suggest("killed")
    study.enqueue_trial({}, user_attrs={OWN: True})
    study.ask()  # killed between `ask` and its suggestions
    again = StudySearch(StoredStudy(tmp_path, SPACE), SPACE)
    assert again.suggest("x") == first
    assert again.suggest("y")["number"] == 1  # type: ignore[index]
    assert again.suggest("z")["number"] == 2  # type: ignore[index]
    assert missing(study, SPACE) == SPACE.trials


def test_the_result_at_which_a_trial_is_stopped_is_remembered(tmp_path: Path) -> None:
    stored = StoredStudy(tmp_path, SPACE)
    study = stored.study
    search = StudySearch(stored, SPACE)
    search.suggest("stopped")
    search.on_trial_result("stopped", report(0.5, 1))
    search.on_trial_complete("stopped", report(0.6, 2))
    assert study.get_trials()[0].intermediate_values == {1: 0.5, 2: 0.6}
    assert study.get_trials()[0].value == 0.6


def test_the_study_knows_how_every_trial_ended(tmp_path: Path) -> None:
    stored = StoredStudy(tmp_path, SPACE)
    study = stored.study
    search = StudySearch(stored, SPACE)
    for name in ("good", "stopped", "diverged", "crashed", "better"):
        search.suggest(name)
        search.on_trial_result(name, report(0.5, 1))
    search.on_trial_complete("good", report(0.7, 2, finished=True))
    search.on_trial_complete("stopped", report(0.5, 1))
    search.on_trial_complete("diverged", report(-1.0, 2, finished=True, problem="loss is nan"))
    search.on_trial_complete("crashed", error=True)
    search.on_trial_complete("better", report(0.8, 2, finished=True))
    states = [trial.state for trial in study.get_trials()]
    assert states == [
        TrialState.COMPLETE,
        TrialState.PRUNED,
        TrialState.FAIL,
        TrialState.RUNNING,
        TrialState.COMPLETE,
    ]
    assert study.get_trials()[1].value == 0.5
    assert best_trial(study).number == 4
    write_trials(study, SPACE, tmp_path / "trials.parquet")
    table = pq.read_table(tmp_path / "trials.parquet")
    assert table["state"].to_pylist() == [
        "complete",
        "stopped early",
        "failed",
        "unfinished",
        "complete",
    ]
    assert table["score"].to_pylist() == [0.7, 0.5, 0.5, 0.5, 0.8]
    assert table["problem"][2].as_py() == "loss is nan"
    assert table["f1"].to_pylist()[:2] == [0.7, 0.5]
    for row, trial in zip(table.to_pylist(), study.get_trials(), strict=True):
        assert row["lora.rank"] == trial.user_attrs["settings"].get("lora.rank")


POINTS = SPACE.model_copy(
    update={
        "points_to_evaluate": (
            {"training.learning_rate": 3e-3, "lora.enabled": False},
            {"training.learning_rate": 1e-2, "lora.enabled": True, "lora.rank": 8},
        )
    }
)


def test_known_settings_are_the_first_trials_and_count_among_all(tmp_path: Path) -> None:
    stored = StoredStudy(tmp_path, POINTS)
    search = StudySearch(stored, POINTS)
    assert missing(stored.study, POINTS) == POINTS.trials
    while run_one(search, str(len(stored.study.get_trials()))):
        pass
    tried = settings_of(stored.study)
    assert tuple(tried[:2]) == POINTS.points()
    assert len(tried) == POINTS.trials
    assert missing(stored.study, POINTS) == 0


@pytest.mark.parametrize("asked", [False, True])
def test_known_settings_are_tried_once_though_a_start_was_killed_before_them(
    tmp_path: Path, asked: bool
) -> None:
    stored = StoredStudy(tmp_path, POINTS)
    study = stored.study
    assert run_one(StudySearch(stored, POINTS), "first")
    study.enqueue_trial(POINTS.parameters_in_study(POINTS.points()[1]), user_attrs={OWN: True})
    if asked:
        study.ask()  # killed between `ask` and its suggestions
    assert missing(study, POINTS) == POINTS.trials - 1
    stored = StoredStudy(tmp_path, POINTS)
    search = StudySearch(stored, POINTS)
    names = map(str, range(99))
    while run_one(search, next(names)):
        pass
    tried = [trial.user_attrs["settings"] for trial in stored.study.get_trials()]
    assert tuple(tried[:2]) == POINTS.points()
    assert POINTS.points()[1] not in tried[2:]
    assert len(tried) == POINTS.trials


def test_values_under_another_condition_have_a_name_of_their_own_in_optuna(tmp_path: Path) -> None:
    search = {
        "lora.enabled": {"choices": [False, True]},
        "training.epochs": {
            "choices": [2, 3],
            "when": {"lora.enabled": True},
            "otherwise": {"choices": [5, 6, 7]},
        },
    }
    space = SearchSpace.parse({"task": "zdna", "trials": 12, "search": search}, "test")
    stored = StoredStudy(tmp_path, space)
    suggest = StudySearch(stored, space).suggest
    for number in range(12):
        config = suggest(str(number))
        assert isinstance(config, dict)
        values = config["values"]
        assert values["training.epochs"] in ((2, 3) if values["lora.enabled"] else (5, 6, 7))
    names = {name for trial in stored.study.get_trials() for name in trial.params}
    assert names == {"lora.enabled", "training.epochs", "training.epochs (2)"}


def test_trials_of_another_program_are_named_and_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    calm = StudySearch(StoredStudy(tmp_path, SPACE), SPACE)
    for number in range(3):
        run_one(calm, str(number))
    elsewhere = optuna.load_study(study_name="zdna", storage=f"sqlite:///{tmp_path / 'study.db'}")
    for state, value in ((TrialState.COMPLETE, 9.0), (TrialState.FAIL, None)):
        elsewhere.add_trial(optuna.trial.create_trial(state=state, value=value))
    elsewhere.ask()
    elsewhere.enqueue_trial({"training.learning_rate": 5e-3})
    with caplog.at_level(logging.WARNING):
        stored = StoredStudy(tmp_path, SPACE)
    assert "another program has added them: trial 3, 4, 5, 6" in caplog.text
    search = StudySearch(stored, SPACE)
    assert missing(stored.study, SPACE) == SPACE.trials - 3
    while run_one(search, str(len(stored.study.get_trials()))):
        pass
    assert missing(stored.study, SPACE) == 0
    own = [trial for trial in stored.study.get_trials() if "settings" in trial.user_attrs]
    assert len(own) == SPACE.trials
    assert best_trial(stored.study).number in {trial.number for trial in own}
    scheduler(stored.study, SPACE)
    write_trials(stored.study, SPACE, tmp_path / "trials.parquet")
    table = pq.read_table(tmp_path / "trials.parquet")
    assert table["trial"].to_pylist() == [trial.number for trial in own]
    copy = read_study(tmp_path / "study.db", "zdna")
    assert copy is not None
    assert len(copy.get_trials(states=(TrialState.COMPLETE,))) == SPACE.trials


@pytest.mark.parametrize("left", ["trials/0002", "trials.parquet"])
def test_a_new_study_is_not_begun_where_trials_of_an_earlier_one_are(
    tmp_path: Path, left: str
) -> None:
    check_study_file(tmp_path)
    (tmp_path / left).mkdir(parents=True)
    with pytest.raises(InputError, match=rf"study\.db: is missing, and .*{left.split('/')[0]}"):
        check_study_file(tmp_path)


def test_a_study_that_does_not_know_the_trials_is_refused(tmp_path: Path) -> None:
    search = StudySearch(StoredStudy(tmp_path, SPACE), SPACE)
    for number in range(3):
        run_one(search, str(number))
    (tmp_path / "trials" / "0002").mkdir(parents=True)
    check_study_file(tmp_path)
    (tmp_path / "study.db").unlink()
    run_one(StudySearch(StoredStudy(tmp_path, SPACE), SPACE), "of another search")
    with pytest.raises(InputError, match=r"study\.db: has 1 trial, and .*trials holds number 2"):
        check_study_file(tmp_path)


def test_optuna_opens_the_study_by_its_name(tmp_path: Path) -> None:
    search = StudySearch(StoredStudy(tmp_path, SPACE), SPACE)
    run_one(search, "a")
    loaded = optuna.load_study(study_name="zdna", storage=f"sqlite:///{tmp_path / 'study.db'}")
    assert loaded.best_trial.params["training.learning_rate"] > 0


def test_wall_time_adds_up_over_starts(tmp_path: Path) -> None:
    for _ in range(3):
        stored = StoredStudy(tmp_path, SPACE)
        study = stored.study
        search = StudySearch(stored, SPACE)
        search.suggest("x")
        search.on_trial_result("x", report(0.5, 1))
    assert study.get_trials()[0].user_attrs["seconds"] == pytest.approx(3.0)


def test_asha_compares_with_trials_of_earlier_starts(tmp_path: Path) -> None:
    stored = StoredStudy(tmp_path, SPACE)
    study = stored.study
    search = StudySearch(stored, SPACE)
    for index in range(6):
        name = str(index)
        search.suggest(name)
        for epoch in (1, 2):
            search.on_trial_result(name, report(0.9, epoch))
        search.on_trial_complete(name, report(0.9, 3, finished=True))
    asha = scheduler(study, SPACE)

    class Late:
        trial_id = "late"

    asha.on_trial_add(None, Late())
    assert asha.on_trial_result(None, Late(), report(0.1, 1)) == "CONTINUE"
    assert asha.on_trial_result(None, Late(), report(0.1, 2)) == "STOP"

"""How long a run will take is that of its steps and scores, each as often as there are some."""

from __future__ import annotations

from pathlib import Path

import pytest

from hyena_ray.dataset.reader import PreparedData
from hyena_ray.training import timing as module
from hyena_ray.training.loaders import ArraySource, ProgressSource
from hyena_ray.training.settings import RunSettings
from hyena_ray.training.timing import RunTiming, sample_of, time_run


def settings_of(**changes: object) -> RunSettings:
    small = {
        "data.length": 40,
        "model.d_model": 8,
        "model.n_layer": 1,
        "readout.flank": 8,
        "readout.lookahead": 8,
    }
    return RunSettings.for_task("zdna").updated(small | changes, "test")


def test_a_run_is_every_step_of_every_stage_and_every_window_that_is_scored() -> None:
    settings = settings_of(**{
        "training.stages": "two_stage",
        "training.head_stage_epochs": 3,
        "training.epochs": 2,
        "training.batch_size": 8,
        "training.accumulation": 2,
    })  # fmt: skip
    timing = RunTiming(step=(1.0, 10.0), scored=0.5, timed=0.0)
    # 33 windows are 3 steps of at most 16.
    found = timing.seconds(settings, train=33, validation=4, test=6)
    assert found == 3 * 3 * 1.0 + 2 * 3 * 10.0 + 5 * 4 * 0.5 + 6 * 0.5


def test_steps_are_timed_by_stage_and_on_no_more_windows_than_the_run_has(
    small_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TIMED_SECONDS", 0.0)
    settings = settings_of(**{"training.stages": "two_stage", "data.limit": 50})
    data = PreparedData.open(small_data)
    sample = sample_of(settings, data)
    assert len(sample.train.window_id) == 50
    timing = time_run(settings, sample)
    assert len(timing.step) == 2
    assert min(timing.step) > 0
    # The head alone learns from the same forward pass, and goes back less far.
    assert timing.scored > 0
    assert timing.timed >= sum(timing.step)


def test_rates_that_diverge_are_timed_all_the_same(
    small_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TIMED_SECONDS", 0.0)
    settings = settings_of(**{"training.learning_rate": 1e30, "training.clip_norm": 1e30})
    assert time_run(settings, sample_of(settings, PreparedData.open(small_data))).step[0] > 0


def test_a_counted_source_gives_the_same_batches_and_tells_each_once_it_was_used(
    small_data: Path,
) -> None:
    windows = PreparedData.open(small_data).read(40, "train", 70)
    told: list[int] = []
    plain, counted = ArraySource(windows), ProgressSource(ArraySource(windows), told.append)
    assert counted.count == 70
    before = []
    for ours, theirs in zip(
        counted.batches(32, epoch=1, seed=2), plain.batches(32, epoch=1, seed=2), strict=True
    ):
        before.append(sum(told))
        assert (ours.tokens == theirs.tokens).all()
    assert before == [0, 32, 64]
    assert told == [32, 32, 6]

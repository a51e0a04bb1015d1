"""How long a pretraining will take: its steps, its looks and what comes after them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyena_ray.training import pretrain_timing as timing
from hyena_ray.training.genome_stream import PackedBases, WindowStream
from hyena_ray.training.pretrain_timing import PretrainTiming, sample_of, time_pretraining
from hyena_ray.training.settings import PretrainSettings, StepSettings


def settings_of(**changes: object) -> PretrainSettings:
    """Ten steps of windows of 8 bases, and then ten of 16."""
    small = {"training.lengths": [8, 16], "training.tokens_per_step": 64, "training.steps": 20}
    small |= {"training.short_share": 0.5, "model.d_model": 8, "model.n_layer": 1}
    given = {key.replace("__", "."): value for key, value in changes.items()}
    return PretrainSettings().updated(small | given, "test")


@given(st.integers(1, 40), st.integers(1, 50), st.data())
def test_looks_to_come_are_those_that_a_loop_takes(
    steps: int, every: int, data: st.DataObject
) -> None:
    done = data.draw(st.integers(0, steps))
    looks = [of for of in range(done + 1, steps + 1) if of % every == 0 or of == steps]
    assert StepSettings(steps=steps, evaluate_every=every).remaining_evaluations(done) == len(looks)


@pytest.mark.parametrize(
    ("done", "seconds"), [(0, 10 * 1 + 10 * 7), (5, 5 * 1 + 10 * 7), (15, 5 * 7), (20, 0)]
)
def test_steps_of_each_length_count_as_often_as_they_are_left(done: int, seconds: float) -> None:
    of = PretrainTiming((1.0, 7.0), scored=0.0, counted=0.0, predicted=0.0, timed=0.0)
    assert of.seconds(settings_of(), done=done, bases=9, windows=9, workers=1) == seconds


def test_workers_share_the_looks_and_one_counts_for_the_markov_models() -> None:
    of = PretrainTiming((0.0, 0.0), scored=1.0, counted=2.0, predicted=3.0, timed=0.0)
    settings = settings_of(training__evaluate_every=6)
    found = of.seconds(settings, done=7, bases=5, windows=8, workers=2)
    assert found == 3 * 8 / 2 + 2 * 5 + 3 * 8  # looks after steps 12, 18 and 20


@pytest.mark.parametrize("objective", ["next_base", "masked"])
def test_a_workers_part_of_every_stage_is_timed_and_what_is_held_out(
    objective: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timing, "TIMED_STEPS", 2)
    settings = settings_of(objective=objective, training__tokens_per_pass=48)
    bases = np.random.default_rng(0).integers(0, 4, 400, np.uint8)
    stream = WindowStream(PackedBases.of([(0, bases[:100]), (0, bases)]), settings)
    held_out = {"a": bases[:32].reshape(2, 16), "b": bases[80:160].reshape(5, 16)}
    sample = sample_of(settings, stream, held_out, workers=3)
    assert [of.inputs.shape for of in sample.batches] == [(3, 8), (2, 16)]
    assert (sample.held_out == bases[[*range(32), *range(80, 96)]].reshape(3, 16)).all()
    assert (sample.bases.stretch(0) == bases).all()
    found = time_pretraining(settings, sample)
    assert min(*found.step, found.scored, found.counted, found.predicted) > 0
    nothing = time_pretraining(settings, sample_of(settings, stream, {}, workers=1))
    assert (nothing.scored, nothing.counted, nothing.predicted) == (0, 0, 0)

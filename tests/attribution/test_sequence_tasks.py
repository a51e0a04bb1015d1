"""Attribution of sequences that have one label each."""

from __future__ import annotations

import numpy as np
import pytest

from hyena_ray.attribution.engine import attribute_windows
from hyena_ray.attribution.settings import AttributionSettings
from hyena_ray.dataset.schema import Windows
from hyena_ray.errors import InputError
from hyena_ray.model.build import build_model
from hyena_ray.model.settings import LoraSettings, ModelSettings, Readout
from hyena_ray.model.window import WindowModel
from hyena_ray.tasks import TASKS

LENGTH = 24


def promoter_model() -> WindowModel:
    model = build_model(
        ModelSettings(d_model=16, pooling="mean"),
        Readout(window=LENGTH, flank=0, lookahead=0),
        LoraSettings(),
        TASKS["promoter"],
        seed=0,
    )
    model.threshold = 0.0  # every labelled sequence counts as a true positive
    return model


def draw_sequences(count: int) -> Windows:
    rng = np.random.default_rng(0)
    ids = np.arange(count, dtype=np.int64)
    return Windows(
        window_id=ids,
        contig=np.full(count, "test"),
        start=ids,
        tokens=rng.integers(7, 11, (count, LENGTH), np.uint8),
        labels=(ids[:, None] % 2).astype(np.int8),
        kind=np.ones(count, np.uint8),
    )


def test_a_sequence_is_a_true_positive_as_a_whole_and_its_scores_are_complete() -> None:
    found = attribute_windows(
        promoter_model(),
        draw_sequences(6),
        AttributionSettings(methods=("ig",), steps=64, tolerance=None),
    )
    assert found.true_positive.tolist() == [[bool(row % 2)] * LENGTH for row in range(6)]
    assert found.scores["ig"].shape == (6, LENGTH)
    assert np.isnan(found.scores["ig"][::2]).all()
    assert (found.integrals["ig"].completeness[1::2] < 0.01).all()


def test_sequences_of_another_length_than_the_models_are_refused() -> None:
    longer = draw_sequences(2)
    longer = longer._replace(tokens=np.pad(longer.tokens, ((0, 0), (0, 1)), constant_values=7))
    with pytest.raises(InputError, match=r"25 bases: the model reads windows of 24"):
        attribute_windows(promoter_model(), longer)

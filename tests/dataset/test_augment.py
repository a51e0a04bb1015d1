"""Windows cut short keep their labels, and real bases around them."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from hyena_ray.dataset.tokens import random_crop

WINDOW, FLANK = 20, 4


def numbered(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Windows in which every token tells its row and place, and every label its place."""
    places = np.arange(WINDOW + 2 * FLANK)
    tokens = (32 * np.arange(count)[:, None] + places).astype(np.uint8)
    labels = np.tile(np.arange(WINDOW), (count, 1)).astype(np.int8)
    return tokens, labels


@given(st.integers(1, 7), st.integers(1, WINDOW), st.integers(0, 1000))
def test_a_crop_is_a_stretch_of_each_window_with_its_own_flanks(
    count: int, shortest: int, seed: int
) -> None:
    tokens, labels = numbered(count)
    cut, cut_labels = random_crop(tokens, labels, shortest, np.random.default_rng(seed))
    length = cut_labels.shape[1]
    assert shortest <= length <= WINDOW
    assert cut.shape == (count, length + 2 * FLANK)
    assert (cut.dtype, cut_labels.dtype) == (np.uint8, np.int8)
    for row in range(count):
        first = cut_labels[row, 0]
        assert cut_labels[row].tolist() == list(range(first, first + length))
        assert cut[row].tolist() == tokens[row, first : first + length + 2 * FLANK].tolist()


def test_lengths_differ_between_batches_and_places_within_one() -> None:
    rng = np.random.default_rng(0)
    crops = [random_crop(*numbered(7), 12, rng)[1] for _ in range(60)]
    assert {labels.shape[1] for labels in crops} == set(range(12, WINDOW + 1))
    assert len({int(first) for labels in crops for first in labels[:, 0]}) == WINDOW - 12 + 1
    assert any(len(set(labels[:, 0])) > 3 for labels in crops)


def test_a_shortest_crop_of_the_whole_window_changes_nothing() -> None:
    tokens, labels = numbered(5)
    cut, cut_labels = random_crop(tokens, labels, WINDOW, np.random.default_rng(0))
    assert np.array_equal(cut, tokens)
    assert np.array_equal(cut_labels, labels)

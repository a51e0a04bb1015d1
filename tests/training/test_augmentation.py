"""Augmentation equals a numpy implementation for every worker, and keeps labels on their bases."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hyena_ray.dataset import tokens as numpy_tokens
from hyena_ray.dataset.tokens import COMPLEMENT, random_half
from hyena_ray.errors import InputError
from hyena_ray.model.window import reverse_complement
from hyena_ray.training.augmentation import Augmentation
from hyena_ray.training.loaders import HOST, Batch
from hyena_ray.training.settings import TrainingSettings

WINDOW, FLANK = 20, 4
Arrays = tuple[np.ndarray, np.ndarray]


def random_batch(count: int, seed: int) -> Arrays:
    """Return random tokens, and labels that identify the base they belong to."""
    rng = np.random.default_rng(seed)
    tokens = rng.integers(0, 12, (count, WINDOW + 2 * FLANK)).astype(np.uint8)
    labels = np.arange(count * WINDOW).reshape(count, WINDOW).astype(np.int8)
    return tokens, labels


class InNumpy:
    """The augmentation of one epoch, implemented on whole arrays with numpy."""

    def __init__(self, recipe: TrainingSettings, epoch: int) -> None:
        self.recipe = recipe
        self.strands, self.crops, self.owners = (
            np.random.default_rng([recipe.seed, epoch, number]) for number in (1, 2, 3)
        )

    def __call__(self, tokens: np.ndarray, labels: np.ndarray) -> Arrays:
        if self.recipe.permute_labels:
            labels = np.roll(labels, self.owners.integers(1, max(2, len(labels))), axis=0)
        if self.recipe.shortest_crop is not None:
            length = labels.shape[1]
            cut = int(self.crops.integers(self.recipe.shortest_crop, length + 1))
            offset = self.crops.integers(0, length - cut + 1, size=(len(labels), 1))
            columns = offset + np.arange(tokens.shape[1] - length + cut)
            tokens = np.take_along_axis(tokens, columns, 1)
            labels = np.take_along_axis(labels, columns[:, :cut], 1)
        tokens, labels = tokens.copy(), labels.copy()
        if self.recipe.reverse_complement:
            rows = random_half(len(tokens), self.strands)
            tokens[rows] = numpy_tokens.reverse_complement(tokens[rows])
            labels[rows] = labels[rows, ::-1]
        return tokens, labels


def change(augmentation: Augmentation, arrays: Arrays, own: slice = slice(None)) -> Arrays:
    batch = Batch.of(*arrays)
    changes = augmentation.draw(len(batch), batch.window)
    made = changes.make(batch.tokens(HOST, own), batch.labels(HOST), own)
    return made[0].numpy(), made[1].numpy()


@given(
    st.integers(1, 9),
    st.none() | st.integers(1, WINDOW),
    st.booleans(),
    st.booleans(),
    st.integers(1, 4),
    st.integers(0, 1000),
)
def test_every_worker_gets_its_own_rows_of_the_numpy_result(
    count: int, shortest: int | None, turned: bool, permuted: bool, workers: int, seed: int
) -> None:
    recipe = TrainingSettings(
        shortest_crop=shortest, reverse_complement=turned, permute_labels=permuted, seed=seed
    )
    expected = InNumpy(recipe, 3)
    ranks = [Augmentation(recipe, 3) for _ in range(workers)]
    for number in range(3):
        arrays = random_batch(count, number)
        tokens, labels = expected(*arrays)
        for rank, augmentation in enumerate(ranks):
            made = change(augmentation, arrays, slice(rank, None, workers))
            np.testing.assert_array_equal(made[0], tokens[rank::workers])
            np.testing.assert_array_equal(made[1], labels)
            assert (made[0].dtype, made[1].dtype) == (np.uint8, np.int8)


def test_the_complement_of_every_token_is_that_of_the_table() -> None:
    tokens = torch.arange(16, dtype=torch.uint8)
    assert reverse_complement(tokens).numpy().tolist() == COMPLEMENT[::-1].tolist()


@given(st.integers(0, 9), st.integers(0, 99))
def test_half_of_a_batch_is_reverse_complemented_with_its_labels(rows: int, seed: int) -> None:
    tokens, labels = random_batch(rows, seed)
    new_tokens, new_labels = change(Augmentation(TrainingSettings(seed=seed), 0), (tokens, labels))
    reversed_rows = 0
    for row in range(rows):
        is_reversed = new_labels[row].tolist() == labels[row, ::-1].tolist()
        assert is_reversed or new_labels[row].tolist() == labels[row].tolist()
        reversed_rows += is_reversed
        expected = numpy_tokens.reverse_complement(tokens[row]) if is_reversed else tokens[row]
        np.testing.assert_array_equal(new_tokens[row], expected)
    assert reversed_rows in (rows // 2, (rows + 1) // 2)


def numbered(count: int) -> Arrays:
    """Return windows whose tokens encode row and position, and whose labels the position."""
    positions = np.arange(WINDOW + 2 * FLANK)
    tokens = (32 * np.arange(count)[:, None] + positions).astype(np.uint8)
    labels = np.tile(np.arange(WINDOW), (count, 1)).astype(np.int8)
    return tokens, labels


def crops(count: int, shortest: int, seed: int, batches: int = 1) -> Iterator[Arrays]:
    """Yield crops of numbered windows, batch by batch."""
    recipe = TrainingSettings(shortest_crop=shortest, reverse_complement=False, seed=seed)
    augmentation = Augmentation(recipe, 0)
    for _ in range(batches):
        yield change(augmentation, numbered(count))


@given(st.integers(1, 7), st.integers(1, WINDOW), st.integers(0, 1000))
def test_a_crop_is_a_stretch_of_each_window_with_its_own_flanks(
    count: int, shortest: int, seed: int
) -> None:
    tokens, _ = numbered(count)
    ((cut, cut_labels),) = crops(count, shortest, seed)
    length = cut_labels.shape[1]
    assert shortest <= length <= WINDOW
    assert cut.shape == (count, length + 2 * FLANK)
    for row in range(count):
        first = cut_labels[row, 0]
        assert cut_labels[row].tolist() == list(range(first, first + length))
        assert cut[row].tolist() == tokens[row, first : first + length + 2 * FLANK].tolist()


def test_crops_differ_in_length_between_batches_and_in_position_within_one() -> None:
    cut = [labels for _, labels in crops(7, 12, 0, batches=60)]
    assert {labels.shape[1] for labels in cut} == set(range(12, WINDOW + 1))
    assert len({int(first) for labels in cut for first in labels[:, 0]}) == WINDOW - 12 + 1
    assert any(len(set(labels[:, 0])) > 3 for labels in cut)


def test_a_shortest_crop_of_the_whole_window_changes_nothing() -> None:
    ((cut, cut_labels),) = crops(5, WINDOW, 0)
    tokens, labels = numbered(5)
    assert np.array_equal(cut, tokens)
    assert np.array_equal(cut_labels, labels)


def epoch_of(epoch: int, **changes: Any) -> list[Arrays]:
    augmentation = Augmentation(TrainingSettings(**changes), epoch)
    return [change(augmentation, random_batch(4, number)) for number in range(3)]


def test_augmentation_depends_on_seed_and_epoch_alone() -> None:
    for one, other in zip(
        epoch_of(3, shortest_crop=10), epoch_of(3, shortest_crop=10), strict=True
    ):
        assert np.array_equal(one[0], other[0])
        assert np.array_equal(one[1], other[1])
    lengths = [
        tuple(labels.shape[1] for _, labels in epoch_of(epoch, shortest_crop=10))
        for epoch in range(4)
    ]
    assert len(set(lengths)) == 4


def test_with_permuted_labels_every_window_has_those_of_another_of_its_batch() -> None:
    permuted = TrainingSettings(reverse_complement=False, permute_labels=True)
    rows = np.arange(8, dtype=np.int8)[:, None]
    for epoch in range(20):
        tokens, labels = change(Augmentation(permuted, epoch), (rows.astype(np.uint8), rows))
        assert (tokens == rows).all()
        assert sorted(labels[:, 0]) == list(range(8))
        assert (labels != rows).all()


def test_a_window_alone_cannot_have_anothers_labels() -> None:
    with pytest.raises(InputError, match="permute_labels needs a batch_size above 1"):
        TrainingSettings.parse({"permute_labels": True, "batch_size": 1}, "file")


def test_crops_leave_the_choice_of_strands_as_it_was() -> None:
    for one, other in zip(epoch_of(0), epoch_of(0, shortest_crop=WINDOW), strict=True):
        assert np.array_equal(one[0], other[0])

"""Tokens, the opposite strand, and windows cut short that keep labels and real bases around."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from hyena_ray.dataset.tokens import (
    COMPLEMENT,
    TOKEN_IDS,
    codes_to_tokens,
    decode,
    encode,
    random_crop,
    reverse_complement,
    reverse_half,
    tokens_to_codes,
)

TOKENS = hnp.arrays(np.uint8, hnp.array_shapes(min_dims=1, max_dims=3), elements=st.integers(0, 11))
WINDOW, FLANK = 20, 4


@given(st.text("ACGTN"))
def test_decoded_letters_are_those_encoded(sequence: str) -> None:
    assert decode(encode(sequence)) == sequence
    np.testing.assert_array_equal(encode(sequence.lower()), encode(sequence))
    np.testing.assert_array_equal(
        codes_to_tokens(tokens_to_codes(encode(sequence))), encode(sequence)
    )


def test_ids_are_those_of_the_published_tokenizer() -> None:
    assert encode("ACGTNR-é").tolist() == [7, 8, 9, 10, 11, 11, 11, 11]
    assert [TOKEN_IDS[letter] for letter in "ACGTN"] == [7, 8, 9, 10, 11]
    assert list(TOKEN_IDS.values()) == list(range(12))


def test_the_opposite_strand_is_read_backwards() -> None:
    assert decode(reverse_complement(encode("AACGTN"))) == "NACGTT"


@given(TOKENS)
def test_the_reverse_complement_of_the_reverse_complement_is_the_sequence(
    tokens: np.ndarray,
) -> None:
    np.testing.assert_array_equal(reverse_complement(reverse_complement(tokens)), tokens)
    np.testing.assert_array_equal(COMPLEMENT[COMPLEMENT], np.arange(16))


@given(st.integers(0, 9), st.integers(0, 3), st.integers(1, 9), st.integers(0, 99))
def test_half_of_a_batch_is_reverse_complemented_with_its_labels(
    rows: int, flank: int, length: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    tokens = rng.integers(7, 12, (rows, length + 2 * flank)).astype(np.uint8)
    # A label that says which base it belongs to, so that a shift by one would show.
    labels = np.arange(rows * length, dtype=np.int8).reshape(rows, length)
    before = tokens.copy(), labels.copy()
    new_tokens, new_labels = reverse_half(tokens, labels, np.random.default_rng(seed))
    reversed_rows = 0
    for row in range(rows):
        is_reversed = new_labels[row].tolist() == labels[row, ::-1].tolist()
        same = new_labels[row].tolist() == labels[row].tolist()
        assert is_reversed or same
        if length > 1:
            reversed_rows += is_reversed
            expected = reverse_complement(tokens[row]) if is_reversed else tokens[row]
            np.testing.assert_array_equal(new_tokens[row], expected)
    if length > 1:
        assert reversed_rows in (rows // 2, (rows + 1) // 2)
    np.testing.assert_array_equal(tokens, before[0])
    np.testing.assert_array_equal(labels, before[1])


def numbered(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return windows whose tokens encode row and position, and whose labels the position."""
    positions = np.arange(WINDOW + 2 * FLANK)
    tokens = (32 * np.arange(count)[:, None] + positions).astype(np.uint8)
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
    assert cut.dtype == np.uint8
    assert cut_labels.dtype == np.int8
    for row in range(count):
        first = cut_labels[row, 0]
        assert cut_labels[row].tolist() == list(range(first, first + length))
        assert cut[row].tolist() == tokens[row, first : first + length + 2 * FLANK].tolist()


def test_crops_differ_in_length_between_batches_and_in_position_within_one() -> None:
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

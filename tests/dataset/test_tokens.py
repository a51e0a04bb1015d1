"""Tokens and the other strand."""

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
    reverse_complement,
    reverse_half,
    tokens_to_codes,
)

TOKENS = hnp.arrays(np.uint8, hnp.array_shapes(min_dims=1, max_dims=3), elements=st.integers(0, 11))


@given(st.text("ACGTN"))
def test_letters_come_back(sequence: str) -> None:
    assert decode(encode(sequence)) == sequence
    np.testing.assert_array_equal(encode(sequence.lower()), encode(sequence))
    np.testing.assert_array_equal(
        codes_to_tokens(tokens_to_codes(encode(sequence))), encode(sequence)
    )


def test_ids_are_those_of_the_published_tokenizer() -> None:
    assert encode("ACGTNR-é").tolist() == [7, 8, 9, 10, 11, 11, 11, 11]
    assert [TOKEN_IDS[letter] for letter in "ACGTN"] == [7, 8, 9, 10, 11]
    assert list(TOKEN_IDS.values()) == list(range(12))


def test_the_other_strand_is_read_backwards() -> None:
    assert decode(reverse_complement(encode("AACGTN"))) == "NACGTT"


@given(TOKENS)
def test_the_other_strand_of_the_other_strand_is_the_first(tokens: np.ndarray) -> None:
    np.testing.assert_array_equal(reverse_complement(reverse_complement(tokens)), tokens)
    np.testing.assert_array_equal(COMPLEMENT[COMPLEMENT], np.arange(16))


@given(st.integers(0, 9), st.integers(0, 3), st.integers(1, 9), st.integers(0, 99))
def test_half_of_a_batch_is_turned_with_its_labels(
    rows: int, flank: int, length: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    tokens = rng.integers(7, 12, (rows, length + 2 * flank)).astype(np.uint8)
    # A label that says which base it belongs to, so that a shift by one would show.
    labels = np.arange(rows * length, dtype=np.int8).reshape(rows, length)
    before = tokens.copy(), labels.copy()
    new_tokens, new_labels = reverse_half(tokens, labels, np.random.default_rng(seed))
    turned = 0
    for row in range(rows):
        is_turned = new_labels[row].tolist() == labels[row, ::-1].tolist()
        same = new_labels[row].tolist() == labels[row].tolist()
        assert is_turned or same
        if length > 1:
            turned += is_turned
            expected = reverse_complement(tokens[row]) if is_turned else tokens[row]
            np.testing.assert_array_equal(new_tokens[row], expected)
    if length > 1:
        assert turned in (rows // 2, (rows + 1) // 2)
    np.testing.assert_array_equal(tokens, before[0])
    np.testing.assert_array_equal(labels, before[1])

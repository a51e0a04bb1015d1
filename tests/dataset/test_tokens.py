"""Tokens are those of the published tokenizer, and reverse complements are those of DNA."""

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
    tokens_to_codes,
)

TOKENS = hnp.arrays(np.uint8, hnp.array_shapes(min_dims=1, max_dims=3), elements=st.integers(0, 11))


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

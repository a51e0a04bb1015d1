"""Tokens."""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray

from hyena_ray.errors import InputError
from hyena_ray.genome.contigs import N_CODE

TOKEN_IDS: dict[str, int] = {
    "[CLS]": 0,
    "[SEP]": 1,
    "[BOS]": 2,
    "[MASK]": 3,
    "[PAD]": 4,
    "[RESERVED]": 5,
    "[UNK]": 6,
    "A": 7,
    "C": 8,
    "G": 9,
    "T": 10,
    "N": 11,
}
FIRST_BASE = TOKEN_IDS["A"]
"""A base's token is its code plus this."""
N_TOKEN = FIRST_BASE + N_CODE
IGNORED = -100
"""Label of a base that no loss and no metric counts."""

COMPLEMENT = np.arange(16, dtype=np.uint8)
"""(16,) uint8, token to the token of the opposite strand; special tokens and N are their own."""
COMPLEMENT[[7, 8, 9, 10]] = 10, 9, 8, 7

_FOREIGN = re.compile("[^ACGTNacgtn]")
_LETTERS = np.frombuffer(b"ACGTN", np.uint8)
_TOKENS = np.full(256, N_TOKEN, np.uint8)
for _code, _letter in enumerate(b"ACGT"):
    _TOKENS[_letter] = _TOKENS[_letter | 32] = FIRST_BASE + _code


def codes_to_tokens(codes: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Turn base codes (0 to 4, any shape) into token ids."""
    return codes + np.uint8(FIRST_BASE)


def tokens_to_codes(tokens: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Turn token ids of bases (7 to 11, any shape) into base codes."""
    return tokens - np.uint8(FIRST_BASE)


def encode(sequence: str) -> NDArray[np.uint8]:
    """(length,) token ids of letters; lower case is sequence, anything but A C G T becomes N."""
    return _TOKENS[np.frombuffer(sequence.encode("ascii", "replace"), np.uint8)]


def validate_letters(sequence: str, place: str) -> None:
    """Refuse letters other than A C G T N, of either case.

    Raises:
        InputError: names `place`, and where in the sequence the first such letter stands.
    """
    if foreign := _FOREIGN.search(sequence):
        raise InputError(
            place,
            repr(foreign.group()),
            f"letter {foreign.start() + 1} of the sequence is not one of A C G T N",
            "give DNA; RNA, proteins and gaps cannot be read",
        )


def decode(tokens: NDArray[np.uint8]) -> str:
    """Letters of (length,) token ids of bases, upper case."""
    return _LETTERS[tokens_to_codes(tokens)].tobytes().decode("ascii")


def reverse_complement(tokens: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The other strand of (..., length) token ids, read in its own direction."""
    return COMPLEMENT[tokens[..., ::-1]]


def random_half(count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Which rows of a batch of `count` are turned: half of them, or one more when `count` is odd
    and a coin says so."""
    half = (count + int(rng.integers(2))) // 2
    return rng.permutation(count)[:half]


def reverse_half(
    tokens: NDArray[np.uint8], labels: NDArray[np.int8], rng: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.int8]]:
    """Replace a random half of a batch by the other strand.

    Args:
        tokens: (B, length + 2 * flank) token ids.
        labels: (B, length) one label per base; the flanks are equally long, so they stay aligned.
        rng: see `random_half`.

    Returns:
        Copies of both.
    """
    rows = random_half(len(tokens), rng)
    tokens, labels = tokens.copy(), labels.copy()
    tokens[rows] = reverse_complement(tokens[rows])
    labels[rows] = labels[rows, ::-1]
    return tokens, labels


def random_crop(
    tokens: NDArray[np.uint8], labels: NDArray[np.int8], shortest: int, rng: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.int8]]:
    """Cut a batch to one random length, every window at a random place of its own.

    What is cut off a window's side becomes its flank, so that flanks stay real bases.

    Args:
        tokens: (B, length + 2 * flank) token ids.
        labels: (B, length) one label per base.
        shortest: the new length is drawn from this to `length`.
        rng: draws the length and B offsets.

    Returns:
        (B, new length + 2 * flank) tokens and (B, new length) labels, copies.
    """
    length = labels.shape[1]
    cut = int(rng.integers(shortest, length + 1))
    offset = rng.integers(0, length - cut + 1, size=(len(labels), 1))
    columns = offset + np.arange(tokens.shape[1] - length + cut)
    return (
        np.take_along_axis(tokens, columns, 1),
        np.take_along_axis(labels, columns[:, :cut], 1),
    )

"""Token ids of DNA: what a model sees for each base.

Ids follow HyenaDNA's published tokenizer, so that its checkpoints fit.
"""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray

from hyena_ray.errors import InputError
from hyena_ray.genome.fasta import N_CODE

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


def tokens_of(codes: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Turn base codes (0 to 4, any shape) into token ids."""
    return codes + np.uint8(FIRST_BASE)


def codes_of(tokens: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Turn token ids of bases (7 to 11, any shape) into base codes."""
    return tokens - np.uint8(FIRST_BASE)


def encode(sequence: str) -> NDArray[np.uint8]:
    """(length,) token ids of letters; lower case is sequence, anything but A C G T becomes N."""
    return _TOKENS[np.frombuffer(sequence.encode("ascii", "replace"), np.uint8)]


def refuse_foreign(sequence: str, place: str) -> None:
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
    return _LETTERS[codes_of(tokens)].tobytes().decode("ascii")

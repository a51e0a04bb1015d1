"""Token ids of DNA, the integers that a model reads for each base, and their opposite strand.

Where data have signal tracks, a base is its token id, followed by the level of each track
(`genome.signal_scale`): windows then have shape (n, length, 1 + tracks) instead of (n, length).

Ids follow HyenaDNA's published tokenizer, so that its checkpoints fit: a base's token is its code
(A C G T N = 0 1 2 3 4) plus 7.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hyena_ray.errors import InputError
from hyena_ray.genome.contigs import N_CODE
from hyena_ray.genome.signal_scale import NO_VALUE

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
"""Token ids by name."""
FIRST_BASE = TOKEN_IDS["A"]
"""Token of A; a base's token is its code plus this."""
N_TOKEN = FIRST_BASE + N_CODE
"""Token of every base that is not A, C, G or T."""
IGNORED = -100
"""Label of a base that no loss and no metric counts."""

COMPLEMENT = np.arange(16, dtype=np.uint8)
"""(16,) uint8, token to the token of the opposite strand; special tokens and N are their own."""
COMPLEMENT[[7, 8, 9, 10]] = 10, 9, 8, 7

_INVALID_LETTER = re.compile("[^ACGTNacgtn]")
_LETTERS = np.frombuffer(b"ACGTN", np.uint8)
_LETTER_TOKENS = np.full(256, N_TOKEN, np.uint8)
for _code, _letter in enumerate(b"ACGT"):
    _LETTER_TOKENS[_letter] = _LETTER_TOKENS[_letter | 32] = FIRST_BASE + _code


def codes_to_tokens(codes: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Turn base codes into token ids.

    Args:
        codes: Base codes 0 to 4, any shape, uint8.

    Returns:
        Token ids 7 to 11, same shape, uint8.
    """
    return codes + np.uint8(FIRST_BASE)


def tokens_to_codes(tokens: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Turn token ids of bases into base codes.

    Args:
        tokens: Token ids 7 to 11, any shape, uint8.

    Returns:
        Base codes 0 to 4, same shape, uint8.
    """
    return tokens - np.uint8(FIRST_BASE)


def with_levels(tokens: NDArray[np.uint8], levels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Put token ids and the levels of tracks together.

    Args:
        tokens: Token ids, shape (..., length), uint8.
        levels: Levels of the same bases, shape (..., length, tracks), uint8.

    Returns:
        Shape (..., length, 1 + tracks), uint8; the token ids alone where there is no track.

    Example:
        >>> with_levels(encode("AC"), np.array([[0], [9]], np.uint8)).tolist()
        [[7, 0], [8, 9]]
    """
    if not levels.shape[-1]:
        return tokens
    return np.concatenate((tokens[..., None], levels), axis=-1)


def ids_of(windows: Any) -> Any:
    """Return the token ids of windows, whether their data have tracks or not.

    Args:
        windows: Tokens of windows, an array of NumPy or a tensor, shape (n, length) or
            (n, length, 1 + tracks).

    Returns:
        Shape (n, length), a view.
    """
    return windows if windows.ndim == 2 else windows[..., 0]


def without_levels(windows: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a copy of windows in which no track has a value.

    Args:
        windows: Tokens of windows, shape (n, length) or (n, length, 1 + tracks), uint8.

    Returns:
        The same shape.
    """
    silent = windows.copy()
    if silent.ndim == 3:
        silent[..., 1:] = NO_VALUE
    return silent


def level_of(windows: Any, number: int) -> Any:
    """Return the levels of one track of windows.

    Args:
        windows: Tokens of windows, an array of NumPy or a tensor, shape (n, length, 1 + tracks).
        number: Number of the track, from 0.

    Returns:
        Shape (n, length), a view.

    Raises:
        InputError: The windows have no such track.
    """
    if windows.ndim == 2 or windows.shape[-1] <= 1 + number:
        raise InputError(
            "windows",
            None,
            "lack a track that the model reads",
            "prepare the data with the tracks that the model was trained with",
        )
    return windows[..., 1 + number]


def encode(sequence: str) -> NDArray[np.uint8]:
    """Turn letters into token ids.

    Args:
        sequence: DNA; lower case is sequence, and anything but A C G T becomes N.

    Returns:
        (length,) token ids, uint8.

    Example:
        >>> encode("ACgtR").tolist()
        [7, 8, 9, 10, 11]
    """
    return _LETTER_TOKENS[np.frombuffer(sequence.encode("ascii", "replace"), np.uint8)]


def decode(tokens: NDArray[np.uint8]) -> str:
    """Turn token ids of bases into letters.

    Args:
        tokens: (length,) token ids 7 to 11.

    Returns:
        Upper-case letters A C G T N.
    """
    return _LETTERS[tokens_to_codes(tokens)].tobytes().decode("ascii")


def validate_letters(sequence: str, place: str) -> None:
    """Check that a sequence has no letters but A C G T N, of either case.

    Args:
        sequence: Letters to check.
        place: File and line, or option, for the error.

    Raises:
        InputError: There is another letter; names `place` and the letter's position.
    """
    if invalid := _INVALID_LETTER.search(sequence):
        raise InputError(
            place,
            repr(invalid.group()),
            f"letter {invalid.start() + 1} of the sequence is not one of A C G T N",
            "give DNA; RNA, proteins and gaps cannot be read",
        )


def reverse_complement(tokens: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the opposite strand, read in its own direction.

    Args:
        tokens: (..., length) token ids.

    Returns:
        (..., length) token ids.

    Example:
        >>> decode(reverse_complement(encode("AACGN")))
        'NCGTT'
    """
    return COMPLEMENT[tokens[..., ::-1]]


def random_half(count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Choose the rows of a batch that are reverse-complemented.

    Args:
        count: Rows of the batch.
        rng: Source of the choice.

    Returns:
        Distinct rows: half of them, rounded up or down at random where `count` is odd.
    """
    half = (count + int(rng.integers(2))) // 2
    return rng.permutation(count)[:half]

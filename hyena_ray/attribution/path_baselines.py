"""Reference sequences that attribution starts from, and the random streams that draw them.

Every draw has a stream of its own, seeded by the sequence that it belongs to, so that scores of a
window do not depend on what else is attributed or on the order of the work.
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from hyena_ray.attribution.settings import AttributionSettings
from hyena_ray.dataset.tokens import N_TOKEN, codes_to_tokens, tokens_to_codes

SHUFFLES, NOISE, CURVES, ORDER = range(4)
"""First keys of the random streams, by what they draw."""


def random_stream(seed: int, *key: int) -> np.random.Generator:
    """Return the random stream of a key, which is independent of those of all other keys.

    Args:
        seed: Seed of the attribution.
        key: Numbers that identify the draw.
    """
    return np.random.Generator(np.random.SFC64(np.random.SeedSequence(seed, spawn_key=key)))


def shuffle_stream(seed: int, key: int, number: int) -> np.random.Generator:
    """Return the random stream of one shuffled baseline.

    Args:
        seed: Seed of the attribution.
        key: Key of the sequence; see `sequence_keys`.
        number: Number of the baseline among those of the sequence, from 0.
    """
    return random_stream(seed, SHUFFLES, key, number)


def sequence_keys(tokens: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """Return a number for every sequence, the same for equal ones.

    Args:
        tokens: Token ids, shape (N, L), uint8.

    Returns:
        Keys, shape (N,), uint64.
    """
    digests = (hashlib.blake2b(row.tobytes(), digest_size=8).digest() for row in tokens)
    return np.frombuffer(b"".join(digests), np.uint64)


def make_baselines(
    tokens: NDArray[np.uint8],
    read: slice,
    keys: NDArray[np.uint64],
    settings: AttributionSettings,
) -> list[NDArray[np.uint8]]:
    """Return the tokens of the baselines of windows.

    Args:
        tokens: Token ids of the windows with their flanks, shape (M, L), uint8.
        read: Columns that the model reads as bases; only these are shuffled.
        keys: Keys of what the model reads, shape (M,); see `sequence_keys`.
        settings: `baseline`, `shuffles` and `seed` are read.

    Returns:
        One array of shape (M, L) for each baseline; none for the zero embedding, which has no
        tokens.
    """
    if settings.baseline == "zero":
        return []
    if settings.baseline == "n":
        return [np.full_like(tokens, N_TOKEN)]
    baselines = []
    for number in range(settings.shuffles):
        shuffled = tokens.copy()
        for row, key in zip(shuffled[:, read], keys.tolist(), strict=True):
            stream = shuffle_stream(settings.seed, key, number)
            row[:] = codes_to_tokens(dinucleotide_shuffle(tokens_to_codes(row), stream))
        baselines.append(shuffled)
    return baselines


def dinucleotide_shuffle(
    bases: NDArray[np.uint8], generator: np.random.Generator
) -> NDArray[np.uint8]:
    """Draw uniformly among the sequences with the same dinucleotide counts and the same ends.

    Unknown bases keep their places, and each run of known bases between them is shuffled by itself.

    Args:
        bases: Base codes, shape (L,), uint8; A C G T = 0 1 2 3, anything else is unknown.
        generator: Source of randomness.

    Returns:
        Base codes, shape (L,), uint8.

    Example:
        >>> bases = np.array([0, 1, 0, 2, 0, 3, 0], np.uint8)  # ACAGATA
        >>> shuffled = dinucleotide_shuffle(bases, np.random.default_rng(0))
        >>> pairs = [sorted(zip(x[:-1], x[1:])) for x in (bases.tolist(), shuffled.tolist())]
        >>> pairs[0] == pairs[1], bool((shuffled != bases).any())
        (True, True)

    Reference: Kandel, Matias, Unger & Winkler 1996, Shuffling biological sequences, which draws an
    Euler path by a random tree of last exits; after Altschul & Erickson 1985.
    """
    shuffled = bases.copy()
    edges = np.flatnonzero(np.diff(bases < 4, prepend=False, append=False))
    for first, last in edges.reshape(-1, 2):
        shuffled[first:last] = _euler_path(bases[first:last], generator)
    return shuffled


def _euler_path(bases: NDArray[np.uint8], generator: np.random.Generator) -> NDArray[np.uint8]:
    successors = [bases[1:][bases[:-1] == base] for base in range(4)]
    end = int(bases[-1])
    while True:
        exits = [int(generator.integers(len(after))) if len(after) else -1 for after in successors]
        last_steps = [
            int(after[exit_]) if exit_ >= 0 else end
            for after, exit_ in zip(successors, exits, strict=True)
        ]
        if _all_lead_to(end, last_steps):
            break
    queues: list[list[int]] = []
    for base, (after, exit_) in enumerate(zip(successors, exits, strict=True)):
        if base == end:
            queues.append(generator.permutation(after).tolist())
        elif exit_ < 0:
            queues.append([])
        else:
            others = generator.permutation(np.delete(after, exit_)).tolist()
            queues.append([*others, int(after[exit_])])
    iterators = [iter(queue) for queue in queues]
    path = [int(bases[0])]
    for _ in range(len(bases) - 1):
        path.append(next(iterators[path[-1]]))
    return np.array(path, np.uint8)


def _all_lead_to(end: int, last_steps: list[int]) -> bool:
    """Return whether following the last step of each base leads from every base to `end`."""
    for base in range(4):
        for _ in range(4):
            if base == end:
                break
            base = last_steps[base]
        else:
            if base != end:
                return False
    return True

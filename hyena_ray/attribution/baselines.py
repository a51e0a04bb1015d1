"""Shuffle a sequence so that the number of every dinucleotide stays the same."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def dinucleotide_shuffle(
    bases: NDArray[np.uint8], generator: np.random.Generator
) -> NDArray[np.uint8]:
    """Draw uniformly among the sequences with the same dinucleotides and the same ends.

    Unknown bases stay where they are; every stretch between them is shuffled by itself.

    Args:
        bases: (L,) uint8, A C G T = 0 1 2 3, anything else unknown.

    Returns:
        (L,) uint8.

    Source: Kandel, Matias, Unger & Winkler 1996, Shuffling biological sequences: a shuffle is an
    Euler path, drawn by a random tree of last exits; after Altschul & Erickson 1985.
    """
    shuffled = bases.copy()
    edges = np.flatnonzero(np.diff(bases < 4, prepend=False, append=False))
    for first, last in edges.reshape(-1, 2):
        shuffled[first:last] = _euler_path(bases[first:last], generator)
    return shuffled


def _euler_path(bases: NDArray[np.uint8], generator: np.random.Generator) -> NDArray[np.uint8]:
    follow = [bases[1:][bases[:-1] == base] for base in range(4)]
    end = int(bases[-1])
    while True:
        exits = [
            int(generator.integers(len(next_bases))) if len(next_bases) else -1
            for next_bases in follow
        ]
        if _all_reach(
            end, [int(f[e]) if e >= 0 else end for f, e in zip(follow, exits, strict=True)]
        ):
            break
    queues: list[list[int]] = []
    for base, (next_bases, last) in enumerate(zip(follow, exits, strict=True)):
        if base == end:
            queues.append(generator.permutation(next_bases).tolist())
        elif last < 0:
            queues.append([])
        else:
            others = generator.permutation(np.delete(next_bases, last)).tolist()
            queues.append([*others, int(next_bases[last])])
    iterators = [iter(queue) for queue in queues]
    path = [int(bases[0])]
    for _ in range(len(bases) - 1):
        path.append(next(iterators[path[-1]]))
    return np.array(path, np.uint8)


def _all_reach(end: int, exits: list[int]) -> bool:
    """Whether following the last exits leads from every base to `end`."""
    for base in range(4):
        for _ in range(4):
            if base == end:
                break
            base = exits[base]
        else:
            if base != end:
                return False
    return True

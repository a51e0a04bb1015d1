"""Untrained predictors: programs that score every base of DNA and have no trained parameters.

Z-HUNT scores a stretch of 2n bases by the energy that it takes to turn it into Z-DNA, in its best
pattern of anti and syn bases, against that of random DNA. The energies are those of the package
`zhuntrs`, a port of the authors' program; what is ours is that every distinct stretch is scored
once, and that a base gets the highest score of the windows that hold it. G4Hunter scores runs of G
and C.

The bases that such a predictor calls are tracts: DNA that could take another shape. Most of them
have no label. They are what a model has to tell from labelled tracts, so that negatives, baselines
and scores all refer to the predictors of this file.

Reference: Ho, Ellison, Quigley and Rich 1986; Bedrat, Lacroix and Mergny 2016.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import zhuntrs
from numpy.typing import NDArray

from hyena_ray.errors import InputError
from hyena_ray.genome.contigs import N_CODE
from hyena_ray.genome.intervals import Intervals, gather_windows

CONTEXT = 64
"""Bases on each side of a base that its score depends on, or more, for any of the predictors."""
ROW, ROWS = 1 << 10, 1 << 8
"""Bases of a row in which `called_bases` scores a genome, and rows that are scored at once."""
MOST_DINUCLEOTIDES = 12
"""Longest windows of Z-HUNT: those of 12 dinucleotides cost 14 times as much as those of 6."""
G4HUNTER_WINDOW = 25
"""Bases that G4Hunter averages over."""
LONGEST_RUN = 4
"""Longest run of G that G4Hunter distinguishes from shorter ones."""
_LETTERS = np.frombuffer(b"ACGT", np.uint8)
TABLE_WIDTH = 12
"""Longest windows of Z-HUNT whose scores are kept, in bases: 100 MB for all of 12."""
_PIECE = 1 << 14
"""Fewest bases that are worth a thread of their own."""


class UntrainedPredictor(NamedTuple):
    """A program that scores every base and has no trained parameters."""

    title: str
    """Name of the program."""
    score: Callable[[NDArray[np.uint8]], NDArray[np.float32]]
    """Map from base codes, shape (n, L), to scores of the bases, shape (n, L)."""
    thresholds: tuple[float, ...]
    """Scores from which a base is in a tract, from weak tracts to strong ones."""


def called_bases(
    codes: NDArray[np.uint8],
    pieces: Intervals,
    predictor: UntrainedPredictor,
    on_progress: Callable[[int], None] = lambda bases: None,
) -> NDArray[np.bool_]:
    """Find the bases that are in a tract, at the lowest threshold of a predictor.

    Pieces are cut into rows, of which many are scored at once, so that thousands of small pieces
    take no longer than a large one. Memory is for these rows, and for the result.

    Args:
        codes: Base codes of a contig, shape (length,), uint8; beyond its ends is N.
        pieces: Where tracts are wanted.
        predictor: The untrained predictor.
        on_progress: Called with the number of bases whenever some rows were scored.

    Returns:
        Whether a base is called, shape (length,); False outside of the pieces.

    Example:
        >>> codes = np.array([0] * 30 + 8 * [1, 2] + [3] * 30, np.uint8)
        >>> whole = Intervals(np.array([0]), np.array([76]))
        >>> np.flatnonzero(called_bases(codes, whole, UNTRAINED_PREDICTORS["zdna"]))[[0, -1]]
        array([25, 50])
    """
    called = np.zeros(len(codes), np.bool_)
    number = -(-(pieces.end - pieces.start) // ROW)
    piece = np.repeat(np.arange(len(number)), number)
    start = pieces.start[piece] + ROW * (np.arange(len(piece)) - (number.cumsum() - number)[piece])
    size = np.minimum(pieces.end[piece] - start, ROW)
    for group in range(0, len(start), ROWS):
        rows = slice(group, group + ROWS)
        at = np.arange(size[rows].max())
        near = gather_windows(codes, start[rows] - CONTEXT, len(at) + 2 * CONTEXT, N_CODE)
        scores = predictor.score(near)[:, CONTEXT:-CONTEXT]
        inside = at < size[rows, None]
        called[(start[rows, None] + at)[inside]] = scores[inside] >= predictor.thresholds[0]
        on_progress(int(inside.sum()))
    return called


# Z-HUNT.


def zhunt_scores(
    codes: NDArray[np.uint8], dinucleotides: tuple[int, int] = (6, 6)
) -> NDArray[np.float32]:
    """Score every base by the best Z-HUNT window that holds it.

    As in Z-HUNT, one window starts at each base: of the allowed lengths the one with the highest
    score. Only whole windows of known bases count, and the longest must fit into the row. The score
    of a base is therefore that of a whole contig if the row has `zhunt_reach(dinucleotides)` bases
    on each side of it; nearer to an end, the windows that would extend past it are missing.

    The scores of the two strands differ, as in Z-HUNT: this is the one that is given.

    Args:
        codes: Base codes, shape (n, L), uint8; A C G T = 0 1 2 3, anything else 4. Rows may overlap
            on the genome: a stretch that occurs again costs next to nothing.
        dinucleotides: Fewest and most dinucleotides of a window. The time doubles with every one
            or two dinucleotides more.

    Returns:
        Scores, shape (n, L), float32, not negative; 0 where no window holds a base.

    Raises:
        InputError: The lengths of the windows are not ascending, or above `MOST_DINUCLEOTIDES`.

    Example:
        >>> codes = np.array([6 * [1, 2], 6 * [0, 3]], np.uint8)  # CGCGCGCGCGCG, ATATATATATAT
        >>> (zhunt_scores(codes) > 463).all(1).tolist()
        [True, False]
    """
    shortest, longest = dinucleotides
    width = 2 * longest
    best = np.zeros(codes.shape, np.float32)
    scores, sizes = zhunt_windows(codes, dinucleotides)
    if not scores.size:
        return best
    for size in range(2 * shortest, width + 2, 2):
        own = np.where(sizes == size, scores, np.float32(0))
        # Scores are not negative, so that zeros beyond the ends win nowhere.
        padded = np.pad(own, ((0, 0), (size - 1, width - 1)))
        np.maximum(best, _sliding_maximum(padded, size), out=best)
    return best


def zhunt_reach(dinucleotides: tuple[int, int]) -> int:
    """Return how many bases on each side of a base its Z-HUNT score depends on.

    Args:
        dinucleotides: Fewest and most dinucleotides of a window.

    Example:
        >>> zhunt_reach((6, 6))
        11
    """
    # In Z-HUNT a shorter window too starts only where the longest would fit.
    return 2 * dinucleotides[1] - 1


def zhunt_windows(
    codes: NDArray[np.uint8], dinucleotides: tuple[int, int]
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Score the Z-HUNT window that starts at each base, each distinct stretch once.

    Args:
        codes: Base codes, shape (n, L).
        dinucleotides: Fewest and most dinucleotides of a window.

    Returns:
        Scores and sizes in bases, shape (n, L - 2 * most + 1), or without a column where no window
        fits; 0 for a window with an unknown base.

    Raises:
        InputError: The lengths of the windows are not ascending, or above `MOST_DINUCLEOTIDES`.
    """
    shortest, longest = dinucleotides
    width = 2 * longest
    if not 1 <= shortest <= longest <= MOST_DINUCLEOTIDES:
        raise InputError(
            "dinucleotides",
            f"{shortest} to {longest}",
            f"not ascending within 1 to {MOST_DINUCLEOTIDES}",
            "give the fewest and the most dinucleotides of a window",
        )
    starts = max(0, codes.shape[1] - width + 1)
    if not starts * len(codes):
        none = np.zeros((len(codes), starts))
        return none.astype(np.float32), none.astype(np.uint8)
    stretch = np.zeros((len(codes), starts), np.int64)
    for offset in range(width):
        stretch = 4 * stretch + codes[:, offset : offset + starts]
    unknown = np.pad((codes > 3).cumsum(1), ((0, 0), (1, 0)))
    stretch[unknown[:, width:] > unknown[:, :-width]] = -1
    if width > TABLE_WIDTH:
        return _score_distinct(codes, stretch, shortest, longest)
    table = _table(shortest, longest)
    if (new := (stretch >= 0) & ~table.known[stretch]).any():
        scores, sizes = _score_distinct(codes, np.where(new, stretch, -1), shortest, longest)
        table.add(stretch[new], scores[new], sizes[new])
    # The last entry is that of a window with an unknown base.
    return table.scores[stretch], table.sizes[stretch]


def every_window(dinucleotides: int) -> NDArray[np.float32]:
    """Score every Z-HUNT window of one size, for devices that cannot score the windows they meet.

    Args:
        dinucleotides: Dinucleotides of a window, at most 6. Time and memory are those of 16 windows
            for each of one more.

    Returns:
        Score of the window with each number, shape (16**dinucleotides,): its bases are the digits
        of the number to the base of 4, the first of them the highest.

    Example:
        >>> scores = every_window(2)
        >>> bool(scores[0b01_10_01_10] > scores[0b00_00_00_00])  # CGCG, AAAA
        True

    Reference: Fredricksen and Maiorana 1978. The words of which no rotation is smaller, each
    without its repeats, follow each other to a cycle that holds every window once.
    """
    width = 2 * dinucleotides
    if width > TABLE_WIDTH:
        raise InputError(
            "dinucleotides", dinucleotides, "too many windows for a table", "give at most 6"
        )
    numbers = np.arange(4**width, dtype=np.int64)
    smallest, period = np.ones(len(numbers), np.bool_), np.full(len(numbers), width)
    rotated = numbers
    for shift in range(1, width):
        rotated = rotated // 4 + rotated % 4 * 4 ** (width - 1)
        smallest &= numbers <= rotated
        np.minimum(period, np.where(numbers == rotated, shift, width), out=period)
    words, sizes = numbers[smallest], period[smallest]
    digits = words[:, None] // 4 ** np.arange(width - 1, -1, -1) % 4
    cycle = digits[np.arange(width) < sizes[:, None]].astype(np.uint8)
    cycle = np.concatenate((cycle, cycle[: width - 1]))
    number = np.zeros(len(numbers), np.int64)
    for offset in range(width):
        number = 4 * number + cycle[offset : offset + len(numbers)]
    scores, _ = _predict(_LETTERS[cycle], dinucleotides, dinucleotides)
    table = np.zeros(len(numbers), np.float32)
    table[number] = scores[: len(numbers)]
    return table


class _Table(NamedTuple):
    """Scores of all windows of one length that were met, by the number of their bases.

    A genome has 4**12 different windows of 12 bases, and meets most of them again and again: after
    some tens of millions of bases nothing is left to be scored.
    """

    known: NDArray[np.bool_]
    scores: NDArray[np.float32]
    sizes: NDArray[np.uint8]

    def add(
        self, window: NDArray[np.int64], scores: NDArray[np.float32], sizes: NDArray[np.uint8]
    ) -> None:
        self.scores[window], self.sizes[window] = scores, sizes
        self.known[window] = True  # last: another thread may read


@cache
def _table(shortest: int, longest: int) -> _Table:
    size = 4 ** (2 * longest) + 1
    # Memory is taken only where a window is met.
    return _Table(np.zeros(size, np.bool_), np.zeros(size, np.float32), np.zeros(size, np.uint8))


def _score_distinct(
    codes: NDArray[np.uint8], stretch: NDArray[np.int64], shortest: int, longest: int
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Score windows, each distinct one once.

    Args:
        codes: Base codes, shape (n, L).
        stretch: Numbers of the windows that start at the first bases, shape (n, L - width + 1);
            negative for a window with an unknown base.
        shortest: Fewest dinucleotides of a window.
        longest: Most dinucleotides of a window.

    Returns:
        Scores and sizes in bases, of the shape of `stretch`.
    """
    width = 2 * longest
    distinct, first, inverse = np.unique(stretch, return_index=True, return_inverse=True)
    scored = distinct >= 0
    # What is kept are whole rows or parts of them, one behind the other: the bases of a window that
    # is scored stay neighbours. Windows across a joint are scored too, and not read.
    row, start = np.unravel_index(first[scored], stretch.shape)
    changes = np.zeros((len(codes), codes.shape[1] + 1), np.int32)
    np.add.at(changes, (row, start), 1)
    np.add.at(changes, (row, start + width), -1)
    kept = changes[:, :-1].cumsum(1) > 0
    # An unknown base is never kept: no window that is scored holds one.
    scores, sizes = _predict(_LETTERS[codes[kept]], shortest, longest)
    place = kept.cumsum().reshape(kept.shape)[row, start] - 1
    score_of = np.zeros(len(distinct), np.float32)
    size_of = np.zeros(len(distinct), np.uint8)
    score_of[scored], size_of[scored] = scores[place], sizes[place]
    inverse = inverse.reshape(stretch.shape)
    return score_of[inverse], size_of[inverse]


def _predict(
    letters: NDArray[np.uint8], shortest: int, longest: int
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Return score and size of the window that starts at each letter; 0 past the last window.

    Pieces are scored in several threads, since zhuntrs lets other threads run.
    """
    engine, width = zhuntrs.Engine(shortest, longest), 2 * longest
    scores, sizes = np.zeros(len(letters), np.float32), np.zeros(len(letters), np.uint8)
    threads = max(1, min(_threads(), len(letters) // _PIECE))
    piece = max(1, -(-len(letters) // threads))

    def predict(first: int) -> None:
        prediction = engine.predict(letters[first : first + piece + width - 1].tobytes())
        start = np.array(prediction.start, np.int64)
        scores[first + start] = prediction.zhscore
        sizes[first + start] = np.array(prediction.end, np.int64) - start

    firsts = range(0, len(letters), piece)
    if threads == 1:
        for first in firsts:
            predict(first)
        return scores, sizes
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(predict, firsts))
    return scores, sizes


def _threads() -> int:
    """Return as many threads as torch has; without torch, as OMP_NUM_THREADS or the CPUs allow."""
    torch: Any = sys.modules.get("torch")  # a preparation does not load it
    if torch is not None:
        return int(torch.get_num_threads())
    given = os.environ.get("OMP_NUM_THREADS", "")
    return int(given) if given.isdecimal() else len(os.sched_getaffinity(0))


# G4Hunter.


def g4hunter_scores(codes: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Score runs of G and C as G4Hunter does.

    Bases that reach a threshold are those in G4Hunter's windows at that threshold. Shorter rows are
    one window.

    Args:
        codes: Base codes, shape (n, L), uint8.

    Returns:
        For each base the largest absolute mean over the windows of 25 bases that hold it; shape
        (n, L), float32.

    Example:
        >>> g4hunter_scores(np.array([[2, 2, 2, 2, 2, 2]], np.uint8))
        array([[4., 4., 4., 4., 4., 4.]], dtype=float32)
    """
    size = min(G4HUNTER_WINDOW, codes.shape[1])
    if not size:
        return np.zeros(codes.shape, np.float32)
    # Whole numbers, which are exact whatever the order in which they are added.
    sums = np.pad(g4hunter_values(codes).astype(np.int64).cumsum(1), ((0, 0), (1, 0)))
    means = np.abs(sums[:, size:] - sums[:, :-size]).astype(np.float32) / np.float32(size)
    # Scores are not negative, so that zeros beyond the ends win nowhere.
    return _sliding_maximum(np.pad(means, ((0, 0), (size - 1, size - 1))), size)


def g4hunter_values(codes: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Give each G the length of its run, at most 4, and each C the same below zero.

    Args:
        codes: Base codes, shape (n, L), uint8.

    Returns:
        Shape (n, L), float32.

    Example:
        >>> g4hunter_values(np.array([[2, 2, 0, 1]], np.uint8)).tolist()
        [[2.0, 2.0, 0.0, -1.0]]
    """
    of_g, of_c = (np.minimum(run_lengths(codes == code), LONGEST_RUN) for code in (2, 1))
    return (of_g - of_c).astype(np.float32)


def run_lengths(chosen: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return the length of the run of True that holds each position, else 0.

    Args:
        chosen: Shape (n, L).

    Example:
        >>> run_lengths(np.array([[True, True, False, True]])).tolist()
        [[2, 2, 0, 1]]
    """
    length = chosen.shape[1]
    at = np.arange(length)
    before = np.maximum.accumulate(np.where(chosen, -1, at), axis=1)
    after = np.minimum.accumulate(np.where(chosen, length, at)[:, ::-1], axis=1)[:, ::-1]
    return np.where(chosen, after - before - 1, 0)


def _sliding_maximum(values: NDArray[np.float32], size: int) -> NDArray[np.float32]:
    """Return the maximum of every `size` neighbours in a row, shape (n, L - size + 1)."""
    width = 1
    while 2 * width <= size:
        values = np.maximum(values[:, :-width], values[:, width:])
        width *= 2
    rest = size - width
    return np.maximum(values[:, :-rest], values[:, rest:]) if rest else values


UNTRAINED_PREDICTORS = {
    "zdna": UntrainedPredictor("Z-HUNT", zhunt_scores, (400.0, 1000.0)),
    "g4": UntrainedPredictor("G4Hunter", g4hunter_scores, (1.2, 1.5)),
}
"""Untrained predictor of each task that has one."""

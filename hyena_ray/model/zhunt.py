"""Z-HUNT: how readily DNA turns into Z-DNA, by thermodynamics, and a baseline that reads it.

Z-HUNT scores a stretch of 2n bases by the energy that it takes to turn it, in its best pattern of
anti and syn bases, against that of random DNA. Nothing in it is learnt from genomes. The energies
are those of the package `zhuntrs`, a port of the authors' program; what is ours is that every
distinct stretch is scored once, and that a base gets the highest score of the windows that hold it.

Reference: Ho, Ellison, Quigley and Rich 1986.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
import zhuntrs
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional as F
from torch.nn import init

from hyena_ray.errors import InputError
from hyena_ray.model.fitted_baseline import FittedBaseline, around
from hyena_ray.model.settings import MOST_DINUCLEOTIDES

_LETTERS = np.frombuffer(b"ACGT", np.uint8)
_PIECE = 1 << 14
"""Fewest bases that are worth a thread of their own."""


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
        InputError: The lengths of the windows are not within 1 to `MOST_DINUCLEOTIDES`, ascending.

    Example:
        >>> codes = np.array([6 * [1, 2], 6 * [0, 3]], np.uint8)  # CGCGCGCGCGCG, ATATATATATAT
        >>> (zhunt_scores(codes) > 463).all(1).tolist()
        [True, False]
    """
    shortest, longest = dinucleotides
    if not 1 <= shortest <= longest <= MOST_DINUCLEOTIDES:
        raise InputError(
            "dinucleotides",
            f"{shortest} to {longest}",
            f"not ascending within 1 to {MOST_DINUCLEOTIDES}",
            "give the fewest and the most dinucleotides of a window",
        )
    width = 2 * longest
    best = np.zeros(codes.shape, np.float32)
    if codes.shape[0] == 0 or codes.shape[1] < width:
        return best
    scores, sizes = _score_windows(codes, shortest, longest)
    for size in range(2 * shortest, width + 2, 2):
        own = torch.from_numpy(np.where(sizes == size, scores, np.float32(0)))
        # Scores are not negative, so that zeros beyond the ends win nowhere.
        padded = F.pad(own, (size - 1, width - 1))
        np.maximum(best, F.max_pool1d(padded, size, stride=1).numpy(), out=best)
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


def _score_windows(
    codes: NDArray[np.uint8], shortest: int, longest: int
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Score the window that starts at each base, each distinct stretch once.

    Args:
        codes: Base codes, shape (n, L), L >= 2 * longest.
        shortest: Fewest dinucleotides of a window.
        longest: Most dinucleotides of a window.

    Returns:
        Scores and sizes in bases, shape (n, L - 2 * longest + 1); 0 for a window with an unknown
        base.
    """
    width = 2 * longest
    starts = codes.shape[1] - width + 1
    stretch = np.zeros((len(codes), starts), np.int64)
    for offset in range(width):
        stretch = 4 * stretch + codes[:, offset : offset + starts]
    unknown = np.pad((codes > 3).cumsum(1), ((0, 0), (1, 0)))
    stretch[unknown[:, width:] > unknown[:, :-width]] = -1
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

    Pieces are scored in as many threads as torch has, since zhuntrs lets other threads run.
    """
    engine, width = zhuntrs.Engine(shortest, longest), 2 * longest
    scores, sizes = np.zeros(len(letters), np.float32), np.zeros(len(letters), np.uint8)
    threads = max(1, min(torch.get_num_threads(), len(letters) // _PIECE))
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


class ZHuntModel(FittedBaseline):
    """Probability of class 1 = sigmoid(weight * log(1 + Z-HUNT's score of the base) + bias).

    Weight and bias are fitted to the training bases. They change the order of no two bases, so that
    a threshold in probability is one in Z-HUNT's score.
    """

    score: nn.Linear

    def build(self, config: Any) -> None:
        super().build(config)
        self.score = nn.Linear(1, 1)
        self.apply(self.initialise_module)

    @torch.no_grad()
    def initialise_module(self, module: nn.Module) -> None:
        if isinstance(module, nn.Linear):
            init.ones_(module.weight)
            init.constant_(module.bias, -6.0)  # probability 0.5 at a score of 400

    def choose(self, number: int) -> None:
        """Read windows of the lengths of one candidate.

        Args:
            number: Number of the candidate, from 0, among the configuration's `candidates`.
        """
        self.config.dinucleotides = list(self.config.candidates[number])

    def measure(self, codes: NDArray[np.uint8], bases: slice) -> NDArray[np.float32]:
        """Measure log(1 + Z-HUNT's score) of some bases.

        Args:
            codes: Base codes, shape (B, L).
            bases: Bases to measure; the others are their flanks.

        Returns:
            Shape (B, bases, 1).
        """
        shortest, longest = self.config.dinucleotides
        near, inner = around(codes, bases, zhunt_reach((shortest, longest)))
        return np.log1p(zhunt_scores(near, (shortest, longest))[:, inner, None])

    def fit_score(
        self,
        features: NDArray[np.float32],
        labels: NDArray[np.int8],
        weights: NDArray[np.float32],
        seed: int,
    ) -> None:
        """Fit weight and bias by logistic regression.

        Args:
            features: Features of the training bases, shape (n, 1).
            labels: Their classes, 0 or 1, shape (n,).
            weights: Weight of each base in the loss, shape (n,).
            seed: Not used: the solution is unique.
        """
        from sklearn.linear_model import LogisticRegression

        regression = LogisticRegression(C=1.0, solver="newton-cholesky", max_iter=100)
        regression.fit(features, labels, sample_weight=weights)
        with torch.no_grad():
            self.score.weight.copy_(torch.from_numpy(regression.coef_))
            self.score.bias.copy_(torch.from_numpy(regression.intercept_))

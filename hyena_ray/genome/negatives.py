"""Sample tiles without a labelled base, at a stated ratio to those with one."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


class NegativeSampler:
    """Draw negatives for one split, contig by contig.

    Each contig gives `ratio` negatives for each of its own positives, so that the genome is read
    once and negatives come from where positives do. What a contig cannot give, or a fraction
    leaves over, the next one owes: the ratio holds over the split and not only on average.

    Args:
        ratio: negatives per positive, at least 0.
    """

    def __init__(self, ratio: float) -> None:
        self._ratio = ratio
        self.positives = 0
        self.drawn = 0

    @property
    def owed(self) -> int:
        """Negatives that the positives seen so far ask for and that were not drawn."""
        return round(self._ratio * self.positives) - self.drawn

    def draw(
        self, positives: int, candidates: NDArray[np.int64], rng: np.random.Generator
    ) -> NDArray[np.int64]:
        """Draw one contig's negatives.

        Args:
            positives: positive tiles of the contig in this split.
            candidates: (n,) its negative tiles in this split.

        Returns:
            (m,) some of the candidates, ascending, none twice.
        """
        self.positives += positives
        count = min(self.owed, len(candidates))
        chosen = rng.choice(candidates, count, replace=False, shuffle=False)
        self.drawn += count
        return np.sort(chosen)

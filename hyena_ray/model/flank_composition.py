"""GC content and CpG frequency of a window and its flanks, as an extra input of a classifier.

Whether a tract forms Z-DNA or a quadruplex depends on the sequence within a kilobase: tracts
compete for the same supercoils, and may be in open chromatin or not.  To read a kilobase on each
side of 100 bases costs ten times the work; GC and CpG there cost next to nothing and carry much of
the signal.  The frequencies of all dinucleotides carry no more, and a network learns them by heart
(RESULTS.md).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hyena_ray.dataset.tokens import TOKEN_IDS

PARTS = (1, 4, 16)
"""Divisors of the flank: composition is measured over all of it, a quarter and a sixteenth."""
FEATURES = 2 * len(PARTS)
"""Number of composition features."""
_USUAL_GC, _USUAL_CPG = 0.41, 0.01
"""Fractions in the human genome."""
_SCALE = 8
"""Factor that brings the spread of the features along a genome to about 1."""


def measure_composition(tokens: Tensor, window: int, flank: int) -> Tensor:
    """Measure GC content and CpG frequency of windows and their flanks; equal on both strands.

    Args:
        tokens: Token ids of any integer type, shape (B, window + 2 * stored), stored >= flank.
        window: Bases of a window.
        flank: Bases on each side over which composition is measured.

    Returns:
        Features, shape (B, FEATURES), float32: for each of `PARTS` the fraction of G and C among
        known bases, and the square root of the fraction of CG among pairs of known bases, less
        those of the human genome and times 8; 0 where no base is known.

    Example:
        >>> tokens = torch.tensor([[8, 9, 8, 9]])  # CGCG
        >>> measure_composition(tokens, window=4, flank=0).shape
        torch.Size([1, 6])
    """
    letters = {letter: tokens == TOKEN_IDS[letter] for letter in "ACGT"}
    gc = letters["C"] | letters["G"]
    known = gc | letters["A"] | letters["T"]
    cpg = letters["C"][:, :-1] & letters["G"][:, 1:]
    pairs = known[:, :-1] & known[:, 1:]
    stored = (tokens.shape[1] - window) // 2
    features = []
    for part in PARTS:
        first, last = stored - flank // part, stored + window + flank // part
        for count, total, usual, power in (
            (gc[:, first:last], known[:, first:last], _USUAL_GC, 1.0),
            (cpg[:, first : last - 1], pairs[:, first : last - 1], _USUAL_CPG, 0.5),
        ):
            fraction = count.sum(1) / total.sum(1).clamp_min(1)
            scaled = _SCALE * (fraction**power - usual**power)
            features.append(torch.where(total.any(1), scaled, 0.0))
    return torch.stack(features, 1)


class ZeroInitLinear(nn.Linear):
    """nn.Linear whose initial weights are 0, so that its input has no effect at first."""


class CompositionEmbedding(nn.Module):
    """Map composition to a vector that is added to every token embedding.

    Args:
        width: Channels of a token embedding.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.dense = nn.Linear(FEATURES, width)
        self.out_proj = ZeroInitLinear(width, width)

    def forward(self, composition: Tensor) -> Tensor:
        """Compute the vectors.

        Args:
            composition: Result of `measure_composition`, shape (B, FEATURES).

        Returns:
            Shape (B, 1, width).
        """
        result: Tensor = self.out_proj(F.gelu(self.dense(composition)))[:, None]
        return result

"""What a classifier is told of the surroundings of a window: their GC content and CpG frequency.

Whether a tract forms Z-DNA or a quadruplex depends on what lies within a kilobase: it competes with
other tracts for the same supercoils, and stands in open chromatin or not.  To read a kilobase on
each side for the sake of 100 bases costs ten times the work; GC and CpG there cost next to nothing
and tell much of it.  The shares of all dinucleotides tell no more, and a network learns them by
heart (RESULTS.md).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hyena_ray.dataset.tokens import TOKEN_IDS

PARTS = (1, 4, 16)
"""Told of the whole surroundings, of the nearest quarter and of the nearest sixteenth."""
FEATURES = 2 * len(PARTS)
"""Numbers that a classifier is told."""
_USUAL_GC, _USUAL_CPG = 0.41, 0.01
"""Of the human genome."""
_SCALE = 8
"""Brings their spread along a genome to about 1."""


def composition_of(tokens: Tensor, window: int, surroundings: int) -> Tensor:
    """GC content and CpG frequency of a window with its surroundings; the same on both strands.

    Args:
        tokens: (B, window + 2 * stored) token ids of any integer type, stored >= surroundings.
        window: bases.
        surroundings: bases on each side.

    Returns:
        (B, FEATURES) float32: for each of `PARTS` the share of G and C among known bases, and the
        square root of the share of CG among pairs of known bases, less those of the human genome
        and times 8; 0 where nothing is known.
    """
    letters = {letter: tokens == TOKEN_IDS[letter] for letter in "ACGT"}
    gc = letters["C"] | letters["G"]
    known = gc | letters["A"] | letters["T"]
    cpg = letters["C"][:, :-1] & letters["G"][:, 1:]
    pairs = known[:, :-1] & known[:, 1:]
    stored = (tokens.shape[1] - window) // 2
    found = []
    for part in PARTS:
        first, last = stored - surroundings // part, stored + window + surroundings // part
        for count, total, usual, power in (
            (gc[:, first:last], known[:, first:last], _USUAL_GC, 1.0),
            (cpg[:, first : last - 1], pairs[:, first : last - 1], _USUAL_CPG, 0.5),
        ):
            share = count.sum(1) / total.sum(1).clamp_min(1)
            scaled = _SCALE * (share**power - usual**power)
            found.append(torch.where(total.any(1), scaled, 0.0))
    return torch.stack(found, 1)


class SilentLinear(nn.Linear):
    """nn.Linear that starts at 0, so that what comes before it does not disturb at first."""


class Surroundings(nn.Module):
    """From composition to what is added to every embedding."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.dense = nn.Linear(FEATURES, width)
        self.out_proj = SilentLinear(width, width)

    def forward(self, composition: Tensor) -> Tensor:
        """(B, FEATURES) to (B, 1, width)."""
        result: Tensor = self.out_proj(F.gelu(self.dense(composition)))[:, None]
        return result

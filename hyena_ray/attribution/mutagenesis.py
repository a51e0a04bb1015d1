"""In-silico saturation mutagenesis: the loss of the target when a single base is substituted."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from hyena_ray.attribution.settings import AttributionSettings
from hyena_ray.attribution.targets import Targets
from hyena_ray.dataset.tokens import FIRST_BASE, N_TOKEN, ids_of
from hyena_ray.model.devices import upload


def saturation_mutagenesis(targets: Targets, settings: AttributionSettings) -> Tensor:
    """Score every base by f(x) minus the mean of f with that base substituted.

    Substitutions are each of the other three bases, or N with `ism_substitute="n"`; tracks are
    measured anew, and signal tracks stay as they are. Bases of the flanks, and an N in place of
    an N, score 0.

    Args:
        targets: Targets of M windows.
        settings: `ism_substitute` is read.

    Returns:
        Scores of S strands and T positions, shape (S, M, T), float64.

    Reference: Zhou & Troyanskaya 2015 for the other bases; Zeiler & Fergus 2014 for N.
    """
    return torch.stack(
        [_score_strand(targets, strand, settings) for strand in range(len(targets.inputs))]
    )


def _score_strand(targets: Targets, strand: int, settings: AttributionSettings) -> Tensor:
    tokens, device = targets.strands[strand], targets.device
    substitutes = np.arange(FIRST_BASE, FIRST_BASE + 4)
    if settings.ism_substitute == "n":
        substitutes = np.array([N_TOKEN])
    readout, first = targets.model.readout, targets.model.left
    bases = slice(readout.required_flank, readout.required_flank + readout.window)
    # A target does not depend on bases past its receptive end, but for those of a track before it.
    ends = targets.receptive_ends[strand] + readout.required_flank - readout.flank
    is_read = np.arange(first, first + readout.window) < ends[:, None]
    is_other = ids_of(tokens).cpu().numpy()[:, bases, None] != substitutes
    window, base, number = np.nonzero(is_read[..., None] & is_other)
    at = [upload(column, device) for column in (window, base + first, number)]
    column = upload(base + readout.required_flank, device)
    token = upload(substitutes.astype(np.uint8), device)[at[2]]

    def substituted(points: Tensor) -> Tensor:
        changed = tokens[at[0][points]]
        ids_of(changed).scatter_(1, column[points, None], token[points, None])
        return changed

    whole = targets.token_values(strand, np.arange(len(targets)), lambda points: tokens[points])
    lost = whole[at[0]] - targets.token_values(strand, window, substituted)
    # Each substitution has its own element: an atomic sum on a GPU would not be reproducible.
    losses = lost.new_zeros(len(targets), targets.length, len(substitutes))
    losses[tuple(at)] = lost
    tried = lost.new_zeros(losses.shape)
    tried[tuple(at)] = 1
    return losses.sum(2) / tried.sum(2).clamp_min(1)

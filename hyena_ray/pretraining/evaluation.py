"""Perplexity of held-out windows, contig by contig."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from hyena_ray.dataset.tokens import codes_to_tokens
from hyena_ray.pretraining.objectives import Model, summed_loss
from hyena_ray.pretraining.settings import PretrainSettings
from hyena_ray.pretraining.stream import KEPT, Batch, mask_of, masked, next_bases
from hyena_ray.training.workers import ALONE, Workers

ALL = "all"
"""Name of all held-out windows together, among those of contigs."""
_MASK_SEED = 20_231_127
"""Of the masks of held-out windows: the same ones whatever the run's seed."""

Codes = Mapping[str, NDArray[np.uint8]]
"""(W, L) codes of the held-out windows of each contig."""


class Loss(NamedTuple):
    """Of some bases."""

    total: float
    """Nats."""
    bases: int

    @property
    def perplexity(self) -> float:
        """exp of the mean."""
        return math.exp(self.total / self.bases)


def perplexities(losses: Mapping[str, Loss]) -> dict[str, float]:
    """By contig, and of all bases together."""
    whole = Loss(sum(of.total for of in losses.values()), sum(of.bases for of in losses.values()))
    return {name: of.perplexity for name, of in {**losses, ALL: whole}.items()}


def evaluate(
    model: Model, windows: Codes, settings: PretrainSettings, workers: Workers = ALONE
) -> dict[str, float]:
    """Perplexity by contig and of all; empty where nothing is held out.

    Next base: every base of a window but the first, from those before it in the window. Masked: a
    share of the bases, always the same ones, all of which are seen as [MASK].

    Args:
        model: put into evaluation mode here.
        windows: by contig.
        settings: of the run.
        workers: that share the work; all are told the same.
    """
    if not windows:
        return {}
    model.eval()
    device = next(model.parameters()).device
    batches = [
        (name, batch)
        for number, (name, codes) in enumerate(windows.items())
        for batch in _batches(codes, settings, number)
    ]
    own = []
    with torch.inference_mode():
        for name, batch in workers.share(batches):
            logits = model(torch.from_numpy(batch.inputs).to(device).long())
            loss = summed_loss(logits, torch.from_numpy(batch.targets).to(device))
            own.append((name, Loss(float(loss.double()), batch.weight)))
    losses: dict[str, Loss] = {}
    for name, (total, bases) in workers.merge(own):
        before = losses.get(name, Loss(0.0, 0))
        losses[name] = Loss(before.total + total, before.bases + bases)
    return perplexities(losses)


def _batches(codes: NDArray[np.uint8], settings: PretrainSettings, number: int) -> list[Batch]:
    rows = max(1, settings.training.tokens_per_pass // codes.shape[1])
    found = []
    for first in range(0, len(codes), rows):
        tokens = codes_to_tokens(codes[first : first + rows])
        if settings.objective == "next_base":
            targets = next_bases(tokens)
            found.append(Batch(tokens, targets, len(tokens) * (tokens.shape[1] - 1)))
            continue
        rng = np.random.default_rng([_MASK_SEED, number, first])
        shown = settings.masking.model_copy(update={"masked": 1.0, "random": 0.0})
        seen = mask_of(tokens.shape, shown, rng)
        found.append(masked(tokens, seen, int((seen != KEPT).sum())))
    return found

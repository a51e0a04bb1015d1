"""Rules of thumb from before there was learning: one score, of which a scale and an offset are
fitted so that it goes through the same loop, threshold and metrics as every model.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import initialization as init

from hyena_ray.dataset.tokens import FIRST_BASE
from hyena_ray.errors import InputError
from hyena_ray.model.baselines.base import LetterBaseline
from hyena_ray.model.baselines.configuration import RuleConfig

OTHER = 4
"""Code of whatever is no base."""
WINDOW = 25
"""Bases that G4Hunter averages over, and that GC content is taken from."""

# Alternating purine and pyrimidine, CG before CA/TG before AT; everything else breaks the run.
# Chosen among two dozen by F1 on the training contigs of hg19 (chr13, chr14, chrX).
_STEPS = torch.full((5, 5), -6.0, dtype=torch.float64)
_STEPS[[1, 2], [2, 1]] = 3.0  # CG GC
_STEPS[[1, 0, 3, 2], [0, 1, 2, 3]] = 1.0  # CA AC TG GT
_STEPS[[0, 3], [3, 0]] = -2.0  # AT TA
_STEPS[OTHER, :] = _STEPS[:, OTHER] = -1e4


class Rule(NamedTuple):
    """A rule: larger scores speak for class 1."""

    score: Callable[[Tensor], Tensor]
    """(B, L) int64 base codes, `OTHER` for no base, to (B, L) float32 scores of the bases."""
    whole: Callable[[Tensor], Tensor]
    """The same to (B,), scores of sequences."""
    centre: float
    """A score between the classes; with `unit` only to start the fit close to its end."""
    unit: float
    """A difference in score that matters."""


def alternation(codes: Tensor) -> Tensor:
    """For each base the best sum of step weights over the segments that hold it, at least 0."""
    sums = F.pad(_STEPS.to(codes.device)[codes[:, :-1], codes[:, 1:]].cumsum(1), (1, 0))
    # The difference in float64, since runs of N make the sums large.
    return (sums.flip(1).cummax(1).values.flip(1) - sums.cummin(1).values).float()


def g4hunter(codes: Tensor) -> Tensor:
    """For each base the largest absolute mean over the 25 bp windows that hold it.

    Every G counts the length of its run, at most 4, every C the same below zero. Bases that reach
    a threshold are those in G4Hunter's windows at that threshold. Shorter inputs are one window.
    Source: Bedrat, Lacroix and Mergny 2016.
    """
    values = _run_lengths(codes == 2).clamp(max=4) - _run_lengths(codes == 1).clamp(max=4)
    size = min(WINDOW, codes.shape[1])
    means = F.avg_pool1d(values.float(), size, stride=1).abs()
    # Scores are not negative, so that zeros beyond the ends win nowhere.
    return F.max_pool1d(F.pad(means, (size - 1, size - 1)), size, stride=1)


def gc_content(codes: Tensor) -> Tensor:
    """Share of G and C among the bases within 12 of each base."""
    ones = torch.ones(1, 1, WINDOW, device=codes.device)
    strong, known = (
        F.conv1d(chosen.float()[:, None], ones, padding=WINDOW // 2)[:, 0]
        for chosen in ((codes == 1) | (codes == 2), codes != OTHER)
    )
    return strong / known.clamp_min(1)


def _gc_of_sequence(codes: Tensor) -> Tensor:
    known = (codes != OTHER).sum(1)
    return ((codes == 1) | (codes == 2)).sum(1) / known.clamp_min(1)


def _run_lengths(chosen: Tensor) -> Tensor:
    """(B, L) bool to (B, L) int64: length of the run of True that holds a position, else 0."""
    length = chosen.shape[1]
    positions = torch.arange(length, device=chosen.device)
    before = torch.where(chosen, -1, positions).cummax(1).values
    after = torch.where(chosen, length, positions).flip(1).cummin(1).values.flip(1)
    return torch.where(chosen, after - before - 1, 0)


RULES: dict[str, Rule] = {
    "alternation": Rule(alternation, lambda codes: alternation(codes).amax(1), 13.0, 4.0),
    "g4hunter": Rule(g4hunter, lambda codes: g4hunter(codes).amax(1), 1.4, 0.3),
    "gc_content": Rule(gc_content, _gc_of_sequence, 0.55, 0.1),
}
RULE_OF_TASK = {"zdna": "alternation", "g4": "g4hunter", "promoter": "gc_content"}
"""The rule that a task is held against."""


class RuleClassifier(LetterBaseline):
    """Probability of class 1 = sigmoid(scale * (score - centre) / unit + offset)."""

    config_class = RuleConfig

    def __init__(self, config: RuleConfig) -> None:
        super().__init__(config)
        if config.rule not in RULES:
            raise InputError("config: rule", config.rule, "unknown", f"use {', '.join(RULES)}")
        if config.num_labels != 2:
            raise InputError("config: num_labels", config.num_labels, "a rule has two", "set 2")
        self.score = nn.Linear(1, 1)
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.Linear):
            init.ones_(module.weight)
            init.zeros_(module.bias)

    def _logits(self, input_ids: Tensor) -> Tensor:
        codes = input_ids.long() - FIRST_BASE
        codes = torch.where((codes >= 0) & (codes < OTHER), codes, OTHER)
        rule = RULES[self.config.rule]
        scores = rule.whole(codes) if self.config.pooling else rule.score(codes)
        for_one = self.score(((scores - rule.centre) / rule.unit)[..., None]).float()
        return torch.cat([torch.zeros_like(for_one), for_one], dim=-1)

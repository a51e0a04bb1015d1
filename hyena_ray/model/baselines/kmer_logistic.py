"""Logistic regression on counts of k-mers, around each base or over the sequence."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hyena_ray.dataset.tokens import FIRST_BASE
from hyena_ray.model.baselines.base import LetterBaseline
from hyena_ray.model.baselines.configuration import KmerLogisticConfig


class KmerWeights(nn.Module):
    """(4**k, C) weights of the counts, and biases; 0 at the start, as is usual for regressions."""

    def __init__(self, k: int, num_labels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(4**k, num_labels))
        self.bias = nn.Parameter(torch.zeros(num_labels))


class KmerLogisticClassifier(LetterBaseline):
    """logits = bias + sum over k-mers of count * weight; k-mers with anything but A C G T count
    nowhere.

    The counts are never written out: adding up the weights of the k-mers that lie around a base
    is the same.
    """

    config_class = KmerLogisticConfig

    def __init__(self, config: KmerLogisticConfig) -> None:
        super().__init__(config)
        self.score = KmerWeights(config.k, config.num_labels)
        self.post_init()

    def _logits(self, input_ids: Tensor) -> Tensor:
        # k-mers that stand over an end of the input are none either.
        k, radius = self.config.k, self.config.radius
        margin = k - 1 if self.config.pooling else radius
        ranks = kmer_ranks(F.pad(input_ids, (margin, margin), value=FIRST_BASE - 1), k)
        # A last row of zeros, for what is no k-mer.
        weights = F.embedding(ranks, F.pad(self.score.weight, (0, 0, 0, 1)))
        if self.config.pooling:
            return (weights.sum(1) + self.score.bias).float()
        return (weights.unfold(1, 2 * radius + 2 - k, 1).sum(-1) + self.score.bias).float()


def kmer_ranks(input_ids: Tensor, k: int) -> Tensor:
    """(B, L) ids to (B, L - k + 1) int64 ranks among the 4**k k-mers in lexicographic order, by
    first base; 4**k where one of the tokens is no base."""
    codes = (input_ids.long() - FIRST_BASE).unfold(1, k, 1)
    powers = 4 ** torch.arange(k - 1, -1, -1, device=codes.device)
    bases = ((codes >= 0) & (codes < 4)).all(-1)
    return torch.where(bases, (codes * powers).sum(-1), 4**k)

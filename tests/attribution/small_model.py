"""Small models of the shape that attribution works on, and windows to attribute."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from hyena_ray.dataset.schema import Windows
from hyena_ray.dataset.tokens import COMPLEMENT
from hyena_ray.model.window import Readout

WINDOW, FLANK = 20, 6


class SmallModel(nn.Module):
    """A WindowModel of two convolutions that see both sides; exact enough for tight bounds."""

    def __init__(self, strands: str = "both", seed: int = 0) -> None:
        super().__init__()
        self.readout = Readout(window=WINDOW, flank=FLANK, lookahead=0, strands=strands)
        self.threshold = 0.5
        self.left = FLANK
        torch.manual_seed(seed)
        self.embedding = nn.Embedding(16, 6)
        self.first = nn.Conv1d(6, 12, 5, padding=2)
        self.norm = nn.LayerNorm(12)
        self.second = nn.Conv1d(12, 2, 5, padding=2)
        self.backward_passes: list[int] = []

    def forward(self, tokens):
        return self.strand_logits(self.embed(tokens.long()), 0)

    def predict(self, tokens):
        logits = [
            self.strand_logits(self.embed(ids), strand)
            for strand, ids in enumerate(self.strand_tokens(tokens))
        ]
        return torch.stack(logits).mean(0)

    def strand_tokens(self, tokens):
        stored = (tokens.shape[1] - WINDOW) // 2
        tokens = tokens[:, stored - FLANK : stored + WINDOW + FLANK].long()
        if self.readout.strands == "forward":
            return [tokens]
        return [tokens, torch.from_numpy(COMPLEMENT).long()[tokens].flip(1)]

    def composition(self, tokens):
        return None

    def embed(self, ids):
        return self.embedding(ids)

    def strand_logits(self, embeddings, strand, composition=None):
        if embeddings.requires_grad:
            self.backward_passes.append(len(embeddings))
        hidden = torch.tanh(self.first(embeddings.transpose(1, 2))).transpose(1, 2)
        logits = self.second(self.norm(hidden).transpose(1, 2)).transpose(1, 2)
        return self.to_window(logits, strand)

    def to_window(self, per_position, strand):
        inner = per_position[:, FLANK : FLANK + WINDOW]
        return inner.flip(1) if strand else inner


def draw_windows(count: int, length: int = WINDOW, flank: int = FLANK, seed: int = 0) -> Windows:
    """Random bases, some of them N; every third window has no label."""
    rng = np.random.default_rng(seed)
    tokens = rng.choice(
        np.arange(7, 12, dtype=np.uint8), (count, length + 2 * flank), p=[0.24] * 4 + [0.04]
    )
    labels = (rng.random((count, length)) < 0.7).astype(np.int8)
    labels[::3] = 0
    labels[:, 0] = -100
    return Windows(
        window_id=np.arange(count, dtype=np.int64) * 7 + 3,
        contig=np.full(count, "chr1"),
        start=np.arange(count, dtype=np.int64) * length,
        tokens=tokens,
        labels=labels,
    )


@pytest.fixture
def small_model() -> SmallModel:
    return SmallModel()


@pytest.fixture
def windows() -> Windows:
    return draw_windows(12)

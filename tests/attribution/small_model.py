"""Small models of the shape that attribution works on, and windows to attribute."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Literal

import numpy as np
import pytest
import torch
from torch import nn

from hyena_ray.dataset.schema import Windows
from hyena_ray.dataset.tokens import COMPLEMENT
from hyena_ray.model.beta_calibration import BetaCalibration
from hyena_ray.model.build import build_model
from hyena_ray.model.configuration import ClassifierFields
from hyena_ray.model.convolution import ALL
from hyena_ray.model.settings import LoraSettings, ModelSettings, Readout
from hyena_ray.model.window import StrandInput, WindowModel
from hyena_ray.tasks import TASKS

WINDOW, FLANK = 20, 15


class SmallModel(nn.Module):
    """A WindowModel of two convolutions that see both sides; exact enough for tight bounds."""

    def __init__(self, strands: Literal["forward", "both"] = "both", seed: int = 0) -> None:
        super().__init__()
        self.readout = Readout(window=WINDOW, flank=FLANK, lookahead=0, strands=strands)
        self.threshold = self.tile_threshold = 0.5
        self.calibration, self.min_length, self.merge_gap = BetaCalibration(), 1, 0
        self.left = FLANK
        torch.manual_seed(seed)
        self.embedding = nn.Embedding(16, 6)
        self.classifier = SimpleNamespace(
            config=ClassifierFields(),
            get_input_embeddings=lambda: self.embedding,
            embeddings_of_bases=lambda: self.embedding.weight[7:11],
        )
        self.first = nn.Conv1d(6, 12, 5, padding=2)
        self.norm = nn.LayerNorm(12)
        self.second = nn.Conv1d(12, 2, 5, padding=2)
        self.backward_passes: list[int] = []

    @property
    def members(self):
        return (self,)

    def forward(self, tokens):
        return self.strand_logits(self.embed(tokens.long()), 0)

    def predict(self, tokens):
        logits = [
            self.strand_logits(self.embed(self.strand_input(own).ids), strand)
            for strand, own in enumerate(self.strands(tokens))
        ]
        return torch.stack(logits).mean(0)

    def probability(self, tokens):
        return self.calibration.probability(self.predict(tokens))

    def strands(self, tokens):
        if self.readout.strands == "forward":
            return [tokens]
        return [tokens, torch.from_numpy(COMPLEMENT)[tokens.long()].flip(1)]

    def strand_input(self, tokens):
        length, flank = self.readout.window, self.readout.flank
        stored = (tokens.shape[1] - length) // 2
        return StrandInput(tokens[:, stored - flank : stored + length + flank].long(), None)

    def embed(self, ids, tracks=None):
        return self.embedding(ids)

    def strand_logits(self, embeddings, strand, labels=ALL):
        if embeddings.requires_grad:
            self.backward_passes.append(len(embeddings))
        hidden = torch.tanh(self.first(embeddings.transpose(1, 2))).transpose(1, 2)
        logits = self.second(self.norm(hidden).transpose(1, 2)).transpose(1, 2)
        return self.to_window(logits, strand)[:, labels]

    def receptive_end(self, strand, labels=ALL):
        return self.readout.window + 2 * self.readout.flank

    def to_window(self, per_position, strand):
        flank = self.readout.flank
        inner = per_position[:, flank : flank + self.readout.window]
        return inner.flip(1) if strand else inner


class CpGModel(SmallModel):
    """Calls every base within 3 of a CG, and looks at nothing else."""

    def __init__(self, strands: Literal["forward", "both"] = "both", seed: int = 0) -> None:
        super().__init__(strands, seed)
        one_hot = torch.zeros(16, 6)
        one_hot[7:11, :4] = torch.eye(4)
        self.embedding.weight.data = one_hot

    def strand_logits(self, embeddings, strand, labels=ALL):
        pairs = embeddings[:, :-1, 1] * embeddings[:, 1:, 2]
        near = torch.nn.functional.avg_pool1d(pairs[:, None], 7, 1, 3, count_include_pad=False)
        evidence = torch.nn.functional.pad(7 * near[:, 0], (0, 1))
        logits = torch.stack([0.5 - evidence, evidence], -1)
        return self.to_window(logits, strand)[:, labels]


class TractModel(SmallModel):
    """Calls Z-DNA tracts: bases around which pyrimidines and purines alternate, without TA steps.

    Args:
        window: Bases of a window.
        around: Steps, an even number, that it looks at around each base.
    """

    def __init__(self, window: int, around: int = 10) -> None:
        super().__init__()
        self.readout = Readout(window=window, flank=around, lookahead=0, strands="both")
        self.left = around
        one_hot = torch.zeros(16, 6)
        one_hot[7:11, :4] = torch.eye(4)
        self.embedding.weight.data = one_hot

    def strand_logits(self, embeddings, strand, labels=ALL):
        purine = embeddings[..., 0] + embeddings[..., 2]
        pyrimidine = embeddings[..., 1] + embeddings[..., 3]
        steps = purine[:, :-1] * pyrimidine[:, 1:] + pyrimidine[:, :-1] * purine[:, 1:]
        steps = steps - 2 * embeddings[:, :-1, 3] * embeddings[:, 1:, 0]
        around = self.readout.flank
        near = torch.nn.functional.avg_pool1d(steps[:, None], around + 1, 1, around // 2)
        evidence = torch.nn.functional.pad(20 * (near[:, 0] - 0.8), (0, 1))
        return self.to_window(torch.stack([-evidence, evidence], -1), strand)[:, labels]


def hyenadna(
    strands: Literal["forward", "both"] = "both",
    seed: int = 0,
    flank: int = FLANK,
    tracks: tuple[str, ...] = (),
    head: Literal["linear", "electra", "lookahead"] = "lookahead",
) -> WindowModel:
    """HyenaDNA of random weights, large enough that its logits depend on the sequence."""
    model = build_model(
        ModelSettings(d_model=16, n_layer=2, max_seq_len=66, head=head),
        Readout(
            window=WINDOW,
            flank=flank,
            lookahead=4,
            strands=strands,
            tracks=tracks,
        ),
        LoraSettings(),
        TASKS["zdna"],
        seed=seed,
    )
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        table = model.classifier.get_input_embeddings().weight
        table.copy_(torch.randn(table.shape, generator=generator) * 0.3)
        score = model.classifier.score
        labels = score.out_proj.weight if head == "lookahead" else score.weight
        labels.copy_(torch.randn(labels.shape, generator=generator) * 0.3)
        if model.classifier.tracks is not None:
            out = model.classifier.tracks.out_proj.weight
            out.copy_(torch.randn(out.shape, generator=generator))
    # Weights are random: at 0.5 hardly a base is called.
    model.threshold = 0.3
    return model


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
        kind=np.ones(count, np.uint8),
    )


@pytest.fixture
def small_model() -> SmallModel:
    return SmallModel()


@pytest.fixture
def windows() -> Windows:
    return draw_windows(12)

"""A model that is made by hand: it calls the middle base of every GATCC, and looks at no other."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch

from hyena_ray.model.build import build_model
from hyena_ray.model.saved import save_window_model
from hyena_ray.model.settings import LoraSettings, ModelSettings, Readout
from hyena_ray.model.window import WindowModel
from hyena_ray.tasks import TASKS

WINDOW, FLANK = 10, 2
PATTERN, REVERSED = "GATCC", "GGATC"


def pattern_model(strands: Literal["forward", "both"] = "both") -> WindowModel:
    """Probability 1/2 in the middle of the pattern on either strand where it reads both, else 1 on
    its own; elsewhere 0."""
    model = build_model(
        ModelSettings(architecture="kmer_logistic", k=5, radius=2),
        Readout(window=WINDOW, flank=FLANK, lookahead=0, strands=strands),
        LoraSettings(),
        TASKS["zdna"],
        seed=0,
    )
    rank = sum("ACGT".index(base) * 4 ** (4 - place) for place, base in enumerate(PATTERN))
    score = model.classifier.score
    with torch.no_grad():
        score.bias.copy_(torch.tensor([0.0, -40.0]))
        score.weight[rank, 1] = 80.0
    model.threshold, model.min_length, model.merge_gap = 0.4, 1, 0
    return model.eval()


def save_pattern_model(folder: Path) -> Path:
    save_window_model(pattern_model(), folder)
    return folder

"""The smallest training run on a genome: k-mer logistic regression on 200 windows of 40 bases."""

from __future__ import annotations

from typing import Any

KMER_RUN: dict[str, Any] = {
    "data.length": 40,
    "data.limit": 200,
    "readout.flank": 8,
    "training.epochs": 1,
    "training.learning_rate": 0.05,
    "model.architecture": "kmer_logistic",
    "model.k": 3,
}
"""Its settings by dotted key."""


def set_options(settings: dict[str, Any]) -> list[str]:
    """Return settings as options of a command line."""
    return [f"--set={key}={value}" for key, value in settings.items()]

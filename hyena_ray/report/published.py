"""What the study and others state of each task, to stand beside a result.

The figures are their own: of their data, splits and weights, not of the windows of a run.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Published(NamedTuple):
    """Of one task."""

    preset: str
    """Which run of the study it is: the preset that repeats it."""
    metrics: Mapping[str, float]
    """What the study states of it."""
    others: Mapping[str, float] = {}
    """Of the task's metric: what else was published."""


PUBLISHED = {
    "zdna": Published(
        "zdna/two_stage",
        {"f1": 0.6401, "mcc": 0.6226, "precision": 0.6550, "recall": 0.6257, "accuracy": 0.9664},
        {"DeepZ": 0.40, "GraphZ": 0.124, "Z-DNABERT (512 bp windows)": 0.83},
    ),
    "g4": Published("g4/single_stage", {"f1": 0.5788, "mcc": 0.5443, "accuracy": 0.9172}),
    "promoter": Published(
        "promoter/exp1",
        {"f1": 0.8216, "mcc": 0.6342, "precision": 0.8024, "recall": 0.8416, "accuracy": 0.8167},
        {"DNABERT-3mer": 0.709, "NT-2.5B-multi": 0.703, "DNABERT-2": 0.694, "NT-500M-human": 0.635},
    ),
}
"""Task to what was published."""

"""The manifest of a prediction."""

from __future__ import annotations

from typing import ClassVar

from hyena_ray.genome.called_regions import RegionSettings
from hyena_ray.prediction.expected_precision import ExpectedPrecision, ReachedPrecision
from hyena_ray.prediction.results import PredictionResult
from hyena_ray.runs.record import Record


class PredictionRecord(PredictionResult, Record):
    """Manifest of a complete prediction: its figures, and what they depend on."""

    KIND: ClassVar[str] = "predict"

    genome: str
    """sha256 of the genome's file."""
    model: str
    """sha256 of weights, readout, calibration and threshold."""
    window: int
    """Bases of a window."""
    overlap: int
    """Bases that a window shares with the next one."""
    regions_settings: RegionSettings
    """Settings of the regions."""
    reached: ReachedPrecision | None
    """How the threshold was chosen, where a precision was asked for."""
    expected: ExpectedPrecision | None
    """Precision to expect of the called bases; None where no test of the model says it."""

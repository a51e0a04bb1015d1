"""The manifest of a prediction, and the precision that can be expected of its called bases."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from hyena_ray.prediction.region_calling import PredictionResult
from hyena_ray.prediction.settings import RegionSettings
from hyena_ray.runs.record import Record
from hyena_ray.settings import Settings
from hyena_ray.storage import AnyPath
from hyena_ray.training.train_and_test import EVALUATION


class ExpectedPrecision(Settings):
    """Precision of a model's calls on the held-out contigs that it was scored on."""

    split: str
    """Name of the split that was scored: the test split, or validation where that was not."""
    contigs: tuple[str, ...]
    """Contigs of the split."""
    labels: str
    """Files that the labels there come from, see `Manifest.label_source`."""
    prevalence: float
    """Fraction of labelled bases of these contigs."""
    precision: float
    """Fraction of the called bases with a label there."""
    recall: float
    """Fraction of the labelled bases that are called there."""

    def __str__(self) -> str:
        chose = ", which chose the threshold" if self.split == "val" else ""
        return (
            f"about {self.precision:.2f} at a recall of {self.recall:.2f}, estimated on the "
            f"{self.split} split{chose} ({', '.join(self.contigs)}; {self.prevalence:.3%} of the "
            f"bases have a label of {self.labels})"
        )


def expected_precision(model_folder: AnyPath, threshold: float) -> ExpectedPrecision | None:
    """Read the expected precision from the `evaluation.json` in the folder of a model.

    Args:
        model_folder: Folder of the model.
        threshold: Threshold at which bases are called.

    Returns:
        The precision, by interpolation between the points of the curve; None where the model was
        not scored, labels sequences, or scored no base as high as the threshold.

    Raises:
        InputError: The file is damaged.
    """
    from hyena_ray.training.evaluation import Evaluation

    path = model_folder / EVALUATION
    if not path.is_file():
        return None
    evaluation = Evaluation.read(path)
    curve, metrics = evaluation.curve, evaluation.metrics
    if evaluation.tiles is None or threshold > max(curve.threshold):
        return None
    precision, recall = metrics.precision, metrics.recall
    if threshold != metrics.threshold:
        rising = curve.threshold[::-1]
        precision = float(np.interp(threshold, rising, curve.precision[::-1]))
        recall = float(np.interp(threshold, rising, curve.recall[::-1]))
    return ExpectedPrecision(
        split=evaluation.split,
        contigs=evaluation.contigs,
        labels=evaluation.label_source,
        prevalence=evaluation.prevalence,
        precision=precision,
        recall=recall,
    )


class PredictionRecord(PredictionResult, Record):
    """Manifest of a complete prediction: its figures, and what they depend on."""

    KIND: ClassVar[str] = "predict"

    genome: str
    """sha256 of the genome's file."""
    model: str
    """sha256 of weights, readout and threshold."""
    window: int
    """Bases of a window."""
    overlap: int
    """Bases that a window shares with the next one."""
    regions_settings: RegionSettings
    """Settings of the regions."""
    expected: ExpectedPrecision | None
    """Precision to expect of the called bases; None where no test of the model says it."""

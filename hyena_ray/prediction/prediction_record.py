"""The manifest of a prediction, and the precision that can be expected of its called bases."""

from __future__ import annotations

from typing import ClassVar

from hyena_ray.files import read_json
from hyena_ray.prediction.region_calling import PredictionResult
from hyena_ray.prediction.settings import RegionSettings
from hyena_ray.runs.record import Record
from hyena_ray.settings import Settings
from hyena_ray.storage import AnyPath
from hyena_ray.training.train_and_test import EVALUATION


class ExpectedPrecision(Settings):
    """Precision of a model on its test split: on the windows, and weighted to their genome."""

    windows_prevalence: float
    """Fraction of labelled bases of the windows, where negative windows are a sample."""
    windows_precision: float
    """Precision on the windows."""
    genome_prevalence: float
    """Fraction of labelled bases of the genome that the windows came from."""
    genome_precision: float
    """Precision, weighted to the prevalence of that genome."""

    def __str__(self) -> str:
        return (
            f"about {self.genome_precision:.2f}, by the model's test split: of its windows' bases "
            f"{self.windows_prevalence:.2%} are labelled and precision is "
            f"{self.windows_precision:.2f}, of its genome's {self.genome_prevalence:.2%}"
        )


def expected_precision(model_folder: AnyPath, threshold: float) -> ExpectedPrecision | None:
    """Read the expected precision from the `evaluation.json` next to a model.

    A run that was tested has the file.

    Args:
        model_folder: Folder of the model, in the folder of its run.
        threshold: Threshold at which bases are called.

    Returns:
        The precision, or None where the file says nothing about this threshold.

    Raises:
        InputError: The file is not JSON.
    """
    path = model_folder.absolute().parent / EVALUATION
    if not path.is_file():
        return None
    evaluation = read_json(path)
    try:
        if evaluation["metrics"]["threshold"] != threshold:
            return None
        return ExpectedPrecision(
            windows_prevalence=float(evaluation["prevalence"]),
            windows_precision=float(evaluation["metrics"]["precision"]),
            genome_prevalence=float(evaluation["genome"]["prevalence"]),
            genome_precision=float(evaluation["genome"]["precision"]),
        )
    except (KeyError, TypeError):
        return None  # sequences, no negative windows, or a file of an earlier version


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

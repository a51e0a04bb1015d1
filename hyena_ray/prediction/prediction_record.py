"""The record of a prediction."""

from __future__ import annotations

from typing import ClassVar

from hyena_ray.files import read_json
from hyena_ray.prediction.region_calling import PredictionResult
from hyena_ray.prediction.settings import RegionSettings
from hyena_ray.runs.record import Record
from hyena_ray.settings import Settings
from hyena_ray.storage import AnyPath
from hyena_ray.training.run import EVALUATION


class ExpectedPrecision(Settings):
    """Figures of the test split, on its windows and weighed to the genome that they came from."""

    windows_prevalence: float
    """Share of labelled bases on the windows, where negatives are a sample."""
    windows_precision: float
    genome_prevalence: float
    genome_precision: float

    def __str__(self) -> str:
        return (
            f"about {self.genome_precision:.2f}, by the model's test split: of its windows' bases "
            f"{self.windows_prevalence:.2%} are labelled and precision is "
            f"{self.windows_precision:.2f}, of its genome's {self.genome_prevalence:.2%}"
        )


def expected_precision(model_folder: AnyPath, threshold: float) -> ExpectedPrecision | None:
    """What `evaluation.json` beside the model says of this threshold; None where it says nothing.

    A run that was tested has the file: `train.py --test` and `compare.py` write it.

    Raises:
        InputError: it is not JSON.
    """
    path = model_folder.absolute().parent / EVALUATION
    if not path.is_file():
        return None
    found = read_json(path)
    try:
        if found["metrics"]["threshold"] != threshold:
            return None
        return ExpectedPrecision(
            windows_prevalence=float(found["prevalence"]),
            windows_precision=float(found["metrics"]["precision"]),
            genome_prevalence=float(found["genome"]["prevalence"]),
            genome_precision=float(found["genome"]["precision"]),
        )
    except (KeyError, TypeError):
        return None  # sequences, no negatives, or a file of an earlier version


class PredictionRecord(PredictionResult, Record):
    """What a prediction found, and what it was made of."""

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
    """Precision that is expected in a genome; None where no test of the model says it."""

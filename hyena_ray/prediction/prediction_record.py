"""The record of a prediction."""

from __future__ import annotations

from typing import Literal, Self

from hyena_ray.dataset.manifest import MANIFEST
from hyena_ray.files import read_json
from hyena_ray.prediction.pieces import PredictionPlan
from hyena_ray.prediction.region_calling import PredictionResult
from hyena_ray.prediction.settings import RegionSettings
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


class PredictionRecord(PredictionResult):
    """Of a complete prediction; written last, so that its presence means complete."""

    state: Literal["complete"] = "complete"
    simulated: bool
    plan: str
    """Its key."""
    genome: str
    """sha256 of its file."""
    model: str
    """sha256 of weights, readout and threshold."""
    window: int
    """Bases."""
    overlap: int
    """Bases."""
    regions_settings: RegionSettings
    expected: ExpectedPrecision | None
    """None where no test of the model says it."""

    @classmethod
    def of(
        cls,
        plan: PredictionPlan,
        settings: RegionSettings,
        result: PredictionResult,
        expected: ExpectedPrecision | None,
    ) -> Self:
        """What a plan has led to."""
        return cls(
            **result.model_dump(),
            simulated=plan.simulated,
            plan=plan.key,
            genome=plan.genome,
            model=plan.model,
            window=plan.window,
            overlap=plan.overlap,
            regions_settings=settings,
            expected=expected,
        )

    @classmethod
    def read(cls, folder: AnyPath) -> Self:
        """Read manifest.json.

        Raises:
            InputError: missing or not of this form.
        """
        return cls.parse(read_json(folder / MANIFEST), folder / MANIFEST)

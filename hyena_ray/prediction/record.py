"""The manifest of a prediction: what was found, and what it was made of."""

from __future__ import annotations

from typing import Literal, Self

from hyena_ray.dataset.manifest import MANIFEST
from hyena_ray.files import read_json
from hyena_ray.prediction.expected import Expected
from hyena_ray.prediction.plan import PredictionPlan
from hyena_ray.prediction.regions import RegionSettings
from hyena_ray.prediction.results import PredictionResult
from hyena_ray.storage import AnyPath


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
    expected: Expected | None
    """None where no test of the model says it."""

    @classmethod
    def of(
        cls,
        plan: PredictionPlan,
        settings: RegionSettings,
        result: PredictionResult,
        expected: Expected | None,
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

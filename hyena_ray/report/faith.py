"""The file of jobs/sanity.py, read back."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from hyena_ray.settings import Settings


class CurvesFound(Settings):
    """Of bases that are replaced from the highest score to the lowest."""

    share: tuple[float, ...]
    deletion: tuple[float, ...]
    insertion: tuple[float, ...]
    deletion_area: float
    insertion_area: float


class CheckFound(Settings):
    """What was found of one method."""

    method: str
    windows: int
    curves: CurvesFound
    by_chance: CurvesFound
    random_weights: float
    random_labels: float | None
    planted_auroc: float | None


class Sanity(Settings):
    """All checks of an attribution."""

    simulated: bool
    checks: Annotated[tuple[CheckFound, ...], Field(min_length=1)]

"""Settings of a prediction."""

from __future__ import annotations

from pydantic import Field

from hyena_ray.settings import Settings


class RegionSettings(Settings):
    """What counts as a region."""

    threshold: float = Field(ge=0)
    """Probability from which a base is called."""
    min_length: int = Field(default=1, ge=1)
    """Shorter regions are left out, after joining."""
    merge_gap: int = Field(default=0, ge=0)
    """Runs of called bases are joined where at most so many bases lie between them."""

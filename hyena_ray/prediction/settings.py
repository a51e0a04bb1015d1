"""Settings of the regions that are called on a genome's probabilities.

The command line reads this module to check its options, so it imports neither torch nor numpy.
"""

from __future__ import annotations

from pydantic import Field

from hyena_ray.settings import Settings


class RegionSettings(Settings):
    """How probabilities of single bases become regions.

    Example:
        >>> RegionSettings(threshold=0.5, merge_gap=10).min_length
        1
    """

    threshold: float = Field(ge=0)
    """Lowest probability at which a base is called."""
    min_length: int = Field(default=1, ge=1)
    """Length in bases of the shortest region that is kept, after neighbouring ones were joined."""
    merge_gap: int = Field(default=0, ge=0)
    """Largest number of uncalled bases between two runs of called bases that are joined into one
    region."""

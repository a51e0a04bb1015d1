"""The levels in which the values of a signal track are stored: one byte for each base.

A track is a signal of an experiment, such as DNase or Pol II: most of its values are small, a few
are large, and the unit is its own. Values are compressed by an inverse hyperbolic sine, which is
linear near 0 and logarithmic far from it, and divided into `LEVELS` levels between two bounds. All
numbers of the scale are measured once, on the contigs that models are trained on.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Self

from pydantic import Field, model_validator

from hyena_ray.settings import Settings

if TYPE_CHECKING:  # settings of models are checked without NumPy
    import numpy as np
    from numpy.typing import NDArray

NO_VALUE = 0
"""Level of a base without a value: the file has none there, or the base is beyond a contig."""
LEVELS = 255
"""Levels of values, from 1 on."""
MOST_TRACKS = 16
"""Most tracks of prepared data."""
TRACK_REACH = {"zhunt": 11, "g4hunter": 27, "composition": 512, "surroundings": 8192}
"""Tracks that are measured from the letters and need no file (model/input_tracks.py), with the
bases on each side of a base that its track depends on."""
TRACK_NAME = r"^[a-z][a-z0-9_]{0,63}$"
"""Names that a signal track may have."""
_LARGEST = 200.0
"""Bound of a compressed value: beyond that of the largest by the smallest number of a bigWig."""


class SignalScale(Settings):
    """Scale of one track: which value each of its levels has.

    Example:
        >>> import numpy as np
        >>> scale = SignalScale(
        ...     name="dnase", number=0, spread=2.0, low=0.0, high=3.0, mean=0.5, sd=1.0
        ... )
        >>> scale.encode(np.array([np.nan, -1.0, 0.0, 2.0, 1e9])).tolist()
        [0, 1, 1, 76, 255]
    """

    name: str = Field(pattern=TRACK_NAME)
    """Name of the track."""
    number: int = Field(ge=0, lt=MOST_TRACKS)
    """Its number among the tracks of the data, from 0."""
    spread: float = Field(gt=0, le=3.5e38)
    """Value that is neither small nor large: below it the scale is nearly linear, above it nearly
    logarithmic."""
    low: float = Field(ge=-_LARGEST, le=_LARGEST)
    """Compressed value, asinh(value / spread), of level 1; lower ones have that level too."""
    high: float = Field(ge=-_LARGEST, le=_LARGEST)
    """Compressed value of the last level; higher ones have that level too."""
    mean: float = Field(ge=-_LARGEST, le=_LARGEST)
    """Mean of the compressed values of the training contigs, where there is one."""
    sd: float = Field(gt=0, le=2 * _LARGEST)
    """Their standard deviation."""

    @model_validator(mode="after")
    def _ascends(self) -> Self:
        if not self.low < self.high:
            raise ValueError(f"low {self.low:g} is not below high {self.high:g}")
        return self

    @property
    def step(self) -> float:
        """Difference between the compressed values of two levels that follow each other."""
        return (self.high - self.low) / (LEVELS - 1)

    def compress(self, values: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return the compressed values, cut to the bounds.

        Args:
            values: Values of any shape; NaN where there is none.

        Returns:
            The same shape; NaN stays NaN.
        """
        import numpy as np

        return np.clip(np.arcsinh(values.astype(np.float64) / self.spread), self.low, self.high)

    def encode(self, values: NDArray[np.floating]) -> NDArray[np.uint8]:
        """Return the levels of values.

        Args:
            values: Values of any shape; NaN where there is none.

        Returns:
            Levels of the same shape, uint8: 1 to `LEVELS`, `NO_VALUE` for NaN.
        """
        import numpy as np

        known = ~np.isnan(values)
        compressed = self.compress(np.where(known, values, 0))
        levels = 1 + np.rint((compressed - self.low) / self.step)
        return np.where(known, levels, NO_VALUE).astype(np.uint8)

    def standardise(self, levels: Any) -> Any:
        """Return compressed values of levels in standard deviations from their mean.

        Args:
            levels: Levels of any shape, an array of NumPy or a tensor, of a type with fractions.

        Returns:
            The same shape and type; 0 where there is no value, which is the mean.
        """
        values = levels * (self.step / self.sd) + (self.low - self.step - self.mean) / self.sd
        return values * (levels > NO_VALUE)


def level_columns(scales: Iterable[SignalScale]) -> int:
    """Return how many levels a base needs, so that each track has that of its number.

    Args:
        scales: Scales of the tracks.
    """
    return max((scale.number + 1 for scale in scales), default=0)

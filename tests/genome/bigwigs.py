"""bigWig files of arrays."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from hyena_ray.genome.bigwig import create_bigwig


def write_bigwig(path: Path, values: Mapping[str, ArrayLike]) -> Path:
    """Write the values of every base of some contigs; NaN is none."""
    arrays = {name: np.asarray(given, np.float32) for name, given in values.items()}
    with create_bigwig(path, [(name, len(array)) for name, array in arrays.items()]) as track:
        for name, array in arrays.items():
            track.add_spans([(name, 0, len(array))], array)
    return path

"""A part of many windows that stands for all of them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def even_rows(count: int, limit: int) -> NDArray[np.int64]:
    """(min(count, limit),) ascending rows of `count`, evenly over them.

    Windows lie in the order of the genome: the first ones would be those of one contig.
    """
    kept = min(count, limit)
    return np.arange(kept, dtype=np.int64) * count // max(kept, 1)

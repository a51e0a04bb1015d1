"""A part of many rows is spread over all of them."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from hyena_ray.dataset.reader import sample_evenly


@given(count=st.integers(0, 500), limit=st.integers(1, 600))
def test_even_rows_are_as_many_as_asked_and_as_far_apart_as_can_be(count: int, limit: int) -> None:
    rows = sample_evenly(count, limit)
    assert len(rows) == min(count, limit)
    if len(rows):
        assert rows[0] == 0
        gaps = np.diff(np.append(rows, count))
        assert gaps.min() >= 1
        assert gaps.max() - gaps.min() <= 1

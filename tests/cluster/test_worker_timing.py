"""Work is timed on workers as many at once as will be, and added up as they will share it."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hyena_ray.cluster.resources import Cluster, Resources
from hyena_ray.cluster.timing import makespan, on_workers


@given(st.lists(st.integers(0, 50), max_size=12), st.integers(1, 5))
def test_whoever_is_free_first_takes_the_next(seconds: list[int], concurrent: int) -> None:
    # Second by second.
    left, working, clock = list(seconds), [0] * concurrent, 0
    while left or any(working):
        for worker in range(concurrent):
            while not working[worker] and left:
                working[worker] = left.pop(0)
        working = [max(0, rest - 1) for rest in working]
        clock += any(seconds)
    assert makespan(seconds, concurrent) in (clock, clock - (not any(seconds)))


@pytest.mark.slow
def test_every_item_is_timed_and_few_are_timed_again_to_fill_the_places(cluster: Cluster) -> None:
    timed = on_workers(
        lambda item: (item, torch.get_num_threads()),
        ["one"],
        resources=Resources(cpu=1),
        concurrent=2,
        threads=3,
    )
    assert timed.found == [[("one", 3), ("one", 3)]]
    assert timed.start > 0
    several = on_workers(str.upper, ["a", "b", "c"], resources=Resources(), concurrent=2, threads=1)
    assert several.found == [["A"], ["B"], ["C"]]

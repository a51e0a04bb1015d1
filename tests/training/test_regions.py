"""Regions are found or missed as wholes."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from hyena_ray.dataset.schema import Windows
from hyena_ray.dataset.tokens import IGNORED
from hyena_ray.training.metrics import RegionScores, score_regions


def windows(*rows: tuple[str, int, str]) -> Windows:
    """Of contig, start and labels, such as ("a", 0, "0011x"); x is ignored."""
    values = [[{"x": IGNORED}.get(c, c) for c in labels] for _, _, labels in rows]
    labels = np.array(values, np.int64).astype(np.int8)
    contig, start, _ = zip(*rows, strict=True)
    ids = np.arange(len(rows))
    return Windows(ids, np.array(contig), np.array(start), np.zeros_like(labels, np.uint8), labels)


def scored(data: Windows, *called: str) -> RegionScores:
    """Scores of windows where 1 marks a called base."""
    return score_regions(data, np.array([[float(c) for c in row] for row in called]), 0.5)


def test_half_of_a_region_called_is_found_and_less_is_not() -> None:
    data = windows(("a", 0, "0111100000"), ("a", 50, "0111100000"))
    found = scored(data, "0110000000", "0100000000")
    assert (found.regions, found.found, found.recall) == (2, 1, 0.5)


def test_a_region_that_spans_neighbouring_windows_is_one() -> None:
    data = windows(("a", 0, "00011"), ("a", 5, "11000"))
    found = scored(data, "00011", "00000")
    assert (found.regions, found.found, found.called) == (1, 1, 1)
    assert scored(data, "00010", "00000").found == 0


def test_windows_of_other_contigs_or_apart_are_no_neighbours() -> None:
    assert scored(windows(("a", 0, "00011"), ("b", 5, "11000")), "00000", "00000").regions == 2
    assert scored(windows(("a", 0, "00011"), ("a", 6, "11000")), "00000", "00000").regions == 2
    # The last base of one contig and the first of the next.
    assert scored(windows(("a", 5, "00011"), ("b", 0, "11000")), "00000", "00000").regions == 2


def test_an_ignored_base_parts_two_regions_and_is_never_called() -> None:
    found = scored(windows(("a", 0, "11x11")), "11111")
    assert (found.regions, found.found, found.called, found.false) == (2, 2, 2, 0)


def test_called_runs_that_touch_no_region_are_false() -> None:
    data = windows(("a", 0, "0011000000"))
    found = scored(data, "1011001101")
    assert (found.called, found.false, found.precision) == (4, 3, 0.25)
    # Two runs in one region are both right.
    assert scored(windows(("a", 0, "11111")), "11011").precision == 1


def test_overlapping_windows_count_every_base_once() -> None:
    data = windows(("a", 0, "0011"), ("a", 2, "1100"))
    found = scored(data, "0011", "1100")
    assert (found.regions, found.found, found.called) == (1, 1, 1)


def test_nothing_labelled_and_nothing_called_scores_zero() -> None:
    assert scored(windows(("a", 0, "000")), "000") == RegionScores(0, 0, 0.0, 0, 0, 0.0)


@given(
    st.lists(
        st.tuples(st.integers(0, 6), st.text("01x", min_size=3, max_size=3), st.integers(0, 7)),
        min_size=1,
        max_size=7,
        unique_by=lambda row: row[0],
    )
)
def test_regions_agree_with_a_walk_along_the_genome(rows: list[tuple[int, str, int]]) -> None:
    data = windows(*(("a", 3 * tile, labels) for tile, labels, _ in rows))
    calls = [f"{bits:03b}" for _, _, bits in rows]
    found = scored(data, *calls)
    genome = [["x", False] for _ in range(24)]
    for (tile, labels, _), called in zip(rows, calls, strict=True):
        for i in range(3):
            genome[3 * tile + i] = [labels[i], called[i] == "1"]
    regions, runs = [], []
    for kind, runs_of in (
        (lambda base: base[0] == "1", regions),
        (lambda base: base[0] != "x" and base[1], runs),
    ):
        current: list[list[object]] = []
        for base in [*genome, ["x", False]]:
            if kind(base):
                current.append(base)
            elif current:
                runs_of.append(current)
                current = []
    hits = sum(2 * sum(bool(base[1]) for base in region) >= len(region) for region in regions)
    false = sum(all(base[0] != "1" for base in run) for run in runs)
    assert (found.regions, found.found) == (len(regions), hits)
    assert (found.called, found.false) == (len(runs), false)

"""Regions are found or missed as wholes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyena_ray.dataset.schema import Windows
from hyena_ray.dataset.tokens import IGNORED
from hyena_ray.genome.called_regions import RegionSettings
from hyena_ray.training.metrics import RegionScores, score_regions


def windows(*rows: tuple[str, int, str]) -> Windows:
    """Of contig, start and labels, such as ("a", 0, "0011x"); x is ignored."""
    values = [[{"x": IGNORED}.get(c, c) for c in labels] for _, _, labels in rows]
    labels = np.array(values, np.int64).astype(np.int8)
    contig, start, _ = zip(*rows, strict=True)
    ids = np.arange(len(rows))
    tokens, kinds = np.zeros_like(labels, np.uint8), np.ones(len(ids), np.uint8)
    return Windows(ids, np.array(contig), np.array(start), tokens, labels, kinds)


def scored(data: Windows, *called: str, weight: Sequence[float] | None = None) -> RegionScores:
    """Scores of windows where 1 marks a called base."""
    scores = np.array([[float(c) for c in row] for row in called])
    weights = np.ones(len(called)) if weight is None else np.array(weight, float)
    return score_regions(data, scores, RegionSettings(threshold=0.5), weights)


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


def test_a_run_weighs_as_much_as_the_stretch_in_which_it_begins() -> None:
    data = windows(("a", 0, "0110"), ("a", 4, "0000"), ("a", 20, "0000"))
    found = scored(data, "1101", "1010", "0100", weight=[1, 5, 50])
    # The first stretch has a true run, and one that continues in the second; the others one each.
    assert (found.called, found.false) == (1 + 1 + 5 + 50, 1 + 5 + 50)
    assert found.precision == 1 / 57
    assert found.false_per_mb == pytest.approx(1e6 * 56 / (4 * 56))


def test_nothing_labelled_and_nothing_called_scores_zero() -> None:
    assert scored(windows(("a", 0, "000")), "000") == RegionScores(0, 0, 0.0, 0, 0, 0.0, 0.0)


@given(
    st.lists(
        st.tuples(
            st.integers(0, 6),
            st.text("01x", min_size=3, max_size=3),
            st.integers(0, 7),
            st.integers(1, 9),
        ),
        min_size=1,
        max_size=7,
        unique_by=lambda row: row[0],
    )
)
def test_regions_agree_with_a_walk_along_the_genome(
    rows: list[tuple[int, str, int, int]],
) -> None:
    data = windows(*(("a", 3 * tile, labels) for tile, labels, _, _ in rows))
    calls = [f"{bits:03b}" for _, _, bits, _ in rows]
    found = scored(data, *calls, weight=[weight for *_, weight in rows])
    genome: list[tuple[str, bool, int]] = [("x", False, 0)] * 24
    for (tile, labels, _, weight), called in zip(rows, calls, strict=True):
        for i in range(3):
            genome[3 * tile + i] = (labels[i], called[i] == "1", weight)
    regions, runs = [], []
    for kind, runs_of in (
        (lambda base: base[0] == "1", regions),
        (lambda base: base[0] != "x" and base[1], runs),
    ):
        current: list[tuple[str, bool, int]] = []
        for base in [*genome, ("x", False, 0)]:
            if kind(base):
                current.append(base)
            elif current:
                runs_of.append(current)
                current = []
    hits = sum(2 * sum(bool(base[1]) for base in region) >= len(region) for region in regions)
    called_runs = sum(run[0][2] for run in runs)
    false = sum(run[0][2] for run in runs if all(base[0] != "1" for base in run))
    assert (found.regions, found.found) == (len(regions), hits)
    assert (found.called, found.false) == (called_runs, false)
    every = sum(weight for _, labels, _, weight in rows for label in labels if label != "x")
    assert found.false_per_mb == pytest.approx(1e6 * false / every if every else 0.0)

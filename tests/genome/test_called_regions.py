"""Regions: the same as from the whole contig at once, however it goes by."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from hyena_ray.genome.called_regions import Region, RegionSettings, Stretch, call_regions

Values = list[float]


def by_hand(values: Values, settings: RegionSettings) -> list[Region]:
    """Base after base."""
    groups: list[list[int]] = []
    for place, value in enumerate(values):
        if not value >= settings.threshold:
            continue
        if groups and place - groups[-1][-1] - 1 <= settings.merge_gap:
            groups[-1].append(place)
        else:
            groups.append([place])
    regions = []
    for group in groups:
        start, end = group[0], group[-1] + 1
        if end - start < settings.min_length:
            continue
        known = [value for value in values[start:end] if not np.isnan(value)]
        highest = max(known)
        summit = next(place for place in range(start, end) if values[place] == highest)
        regions.append(Region("c", start, end, sum(known) / len(known), highest, summit))
    return regions


VALUES = st.lists(st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0, float("nan")]), max_size=60)
SETTINGS = st.builds(
    RegionSettings,
    threshold=st.sampled_from([0.0, 0.3, 0.5, 1.0, 1.1]),
    min_length=st.integers(1, 5),
    merge_gap=st.integers(0, 6),
)


@given(VALUES, SETTINGS, st.data())
def test_regions_are_those_of_the_whole_contig_however_it_was_cut(
    values: Values, settings: RegionSettings, data: st.DataObject
) -> None:
    inner = data.draw(st.sets(st.integers(0, len(values))))
    cuts = sorted(inner | {0, len(values)})
    stretches = [
        Stretch("c", first, np.array(values[first:last], np.float32))
        for first, last in itertools.pairwise(cuts)
        # What holds nothing but N is no piece.
        if not np.isnan(values[first:last]).all()
    ]
    assert list(call_regions(stretches, settings)) == by_hand(values, settings)


def test_no_region_goes_from_one_contig_to_the_next() -> None:
    high = np.ones(4, np.float32)
    stretches = [Stretch("a", 6, high), Stretch("b", 0, high), Stretch("b", 4, high)]
    regions = call_regions(stretches, RegionSettings(threshold=0.5, merge_gap=100))
    assert [region[:3] for region in regions] == [("a", 6, 10), ("b", 0, 8)]

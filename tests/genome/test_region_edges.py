"""Regions whose edges were moved are recognised, by how much and at which end; others are not."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from hyena_ray.errors import InputError
from hyena_ray.genome.contigs import open_genome
from hyena_ray.genome.intervals import Intervals
from hyena_ray.genome.region_edges import SAMPLE, TRACT_GAIN, TRACT_SCORE, ShapeCounter
from hyena_ray.genome.region_files import Regions, read_regions
from hyena_ray.genome.region_shape import SHIFTS, RegionShape
from hyena_ray.genome.simulation import MOTIFS, simulate_genome
from hyena_ray.genome.untrained import zhunt_scores

MOVES = (-2, -1, 0, 1, 2)


def shape_of(
    task: str, contigs: dict[str, NDArray[np.uint8]], regions: Regions, most: int | None = None
) -> RegionShape:
    """The shape of regions, of the first `most` of each contig."""
    merged = {name: regions.merged(name, len(codes)) for name, codes in contigs.items()}
    chosen = {name: Intervals(of.start[:most], of.end[:most]) for name, of in merged.items()}
    counter = ShapeCounter(task, sum(len(of.start) for of in chosen.values()))
    for name, codes in contigs.items():
        counter.add(codes, chosen[name])
    return counter.shape()


@pytest.fixture(scope="module", params=sorted(MOTIFS))
def planted(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, dict[str, NDArray[np.uint8]], Regions]:
    """A task, the contigs of a simulated genome, and the regions that were planted for it."""
    made = simulate_genome(
        tmp_path_factory.mktemp(request.param),
        motif=MOTIFS[request.param],
        contigs=2,
        contig_length=30_000,
        tracts=200,
        decoys=100,
    )
    contigs = {contig.name: contig.codes for contig in open_genome(made.genome)}
    return request.param, contigs, read_regions(made.regions)


@pytest.mark.parametrize(("start", "end"), list(itertools.product(MOVES, MOVES)))
def test_the_shift_that_restores_planted_edges_is_named_for_each_end(
    planted: tuple[str, dict[str, NDArray[np.uint8]], Regions], start: int, end: int
) -> None:
    task, contigs, regions = planted
    shape = shape_of(task, contigs, regions.moved(start, end))
    assert shape.shifts == (-start, -end)
    assert bool(shape.shift_text()) == bool(start or end)


@pytest.mark.parametrize("task", ["zdna", "g4"])
def test_regions_without_a_structure_at_their_edges_are_not_called_shifted(task: str) -> None:
    for seed in range(10):
        rng = np.random.default_rng(seed)
        codes = rng.integers(4, size=40_000).astype(np.uint8)
        start = np.arange(400) * 100 + rng.integers(20, size=400)
        counter = ShapeCounter(task, 400)
        counter.add(codes, Intervals(start, start + rng.integers(12, 40, size=400)))
        assert counter.shape().shifts == (0, 0)


def test_a_handful_of_regions_decides_nothing() -> None:
    codes = np.array([0, 0, 1, 2, 1, 2, 1, 2, 2, 2, 2] * 3, np.uint8)
    counter = ShapeCounter("zdna", 3)
    counter.add(codes, Intervals(np.array([2, 13, 24]), np.array([9, 20, 31])))
    assert counter.shape().shifts == (0, 0)


def test_a_task_without_a_structure_has_lengths_and_parity_alone() -> None:
    counter = ShapeCounter("other", 3)
    counter.add(np.zeros(50, np.uint8), Intervals(np.array([0, 20]), np.array([5, 30])))
    counter.add(np.zeros(50, np.uint8), Intervals(np.array([7]), np.array([8])))
    shape = counter.shape()
    assert (shape.regions, shape.odd) == (3, 2)
    assert (shape.shortest, shape.median, shape.longest) == (1, 5, 10)
    assert (shape.profiles, shape.shifts, shape.shift_text()) == ((), (0, 0), "")


def begins(letters: str, at: int, structure: str) -> bool:
    """Whether a structure begins at a base, written out; past its ends a contig is N."""
    padded, at = "N" * 50 + letters + "N" * 50, at + 50
    if "Z-HUNT" in structure:
        best, one, two = (zhunt(padded[first : first + 12]) for first in (at, at - 1, at - 2))
        return best >= TRACT_SCORE and best >= TRACT_GAIN * max(one, two)

    def continues(before: str, base: str) -> bool:
        if "G or C" in structure:
            return before == base and base in "GC"
        return "N" not in before + base and (before in "AG") != (base in "AG")

    least = 3 if "G or C" in structure else 2
    run = padded[at : at + least]
    return not continues(padded[at - 1], run[0]) and all(map(continues, run, run[1:]))


def zhunt(window: str) -> float:
    if "N" in window:
        return 0.0
    codes = np.array([["ACGT".index(letter) for letter in window]], np.uint8)
    return float(zhunt_scores(codes, (6, 6))[0, 0])


BASES = st.text("ACGN", max_size=12)
TRACTS = st.sampled_from(["CG", "GC", "CA", "TG", "GT", "AC", "G", "C"])


@pytest.mark.parametrize("task", ["zdna", "g4"])
@given(before=BASES, unit=TRACTS, copies=st.integers(1, 9), after=BASES, data=st.data())
def test_the_profile_is_that_of_a_loop_over_bases(
    task: str, before: str, unit: str, copies: int, after: str, data: st.DataObject
) -> None:
    letters = before + unit * copies + after
    start = data.draw(st.integers(0, len(letters) - 1))
    end = data.draw(st.integers(start + 1, len(letters)))
    counter = ShapeCounter(task, 1)
    codes = np.array(["ACGTN".index(letter) for letter in letters], np.uint8)
    counter.add(codes, Intervals(np.array([start]), np.array([end])))
    other_strand = letters[::-1].translate(str.maketrans("ACGT", "TGCA"))
    for profile in counter.shape().profiles:
        for number, shift in enumerate(SHIFTS):
            at_start = begins(letters, start + shift, profile.structure)
            assert profile.start[number] == at_start
            at_end = begins(other_strand, len(letters) - end - shift, profile.structure)
            assert profile.end[number] == at_end


@given(seed=st.integers(0, 1000), task=st.sampled_from(["zdna", "g4"]))
def test_on_the_other_strand_start_and_end_change_places(seed: int, task: str) -> None:
    rng = np.random.default_rng(seed)
    codes = rng.integers(5, size=300).astype(np.uint8)
    start = np.sort(rng.choice(270, 8, replace=False))
    end = start + rng.integers(1, 30, size=8)
    given_strand, other = ShapeCounter(task, 8), ShapeCounter(task, 8)
    given_strand.add(codes, Intervals(start, end))
    complement = np.array([3, 2, 1, 0, 4], np.uint8)[codes[::-1]]
    other.add(complement, Intervals(300 - end, 300 - start))
    for first, second in zip(given_strand.shape().profiles, other.shape().profiles, strict=True):
        assert first.start == second.end[::-1]
        assert first.end == second.start[::-1]


@given(parts=st.integers(1, 6))
def test_contigs_add_up(parts: int) -> None:
    rng = np.random.default_rng(1)
    codes = rng.integers(4, size=6_000).astype(np.uint8)
    start = np.arange(20, 6_000 - 60, 50)
    end = start + rng.integers(5, 40, size=len(start))
    whole, cut = (ShapeCounter("zdna", len(start)) for _ in range(2))
    whole.add(codes, Intervals(start, end))
    for chosen in np.array_split(np.arange(len(start)), parts):
        cut.add(codes, Intervals(start[chosen], end[chosen]))
    assert whole.shape() == cut.shape()


def test_edges_are_read_evenly_over_many_regions() -> None:
    codes = np.random.default_rng(0).integers(4, size=60_000).astype(np.uint8)
    start = np.arange(20, 55_000, 50)
    counter = ShapeCounter("g4", len(start))
    for part in np.array_split(start, 7):
        counter.add(codes, Intervals(part, part + 20))
    assert len(start) > 2 * SAMPLE
    assert SAMPLE / 2 < counter.shape().profiled <= SAMPLE


@pytest.fixture(scope="module")
def hg19(shared: Path) -> dict[str, NDArray[np.uint8]]:
    path = shared / "data/hg19_part/genome.fa.gz"
    return {contig.name: contig.codes for contig in open_genome(path)}


@pytest.mark.parametrize(
    ("task", "name", "moved", "shifts"),
    [
        ("zdna", "zdna_kouzine.bed", (0, 0), (0, -1)),
        ("zdna", "zdna_kouzine.bed", (1, 1), (-1, -2)),
        ("zdna", "zdna_kouzine.bed", (-2, 2), (2, -3)),
        ("zdna", "zdna_kouzine_trimmed.bed", (2, -2), (-2, 2)),
        ("zdna", "zdna_kouzine_trimmed.bed", (-1, -1), (1, 1)),
        ("zdna", "zdna_kouzine_trimmed.bed", (0, 0), (0, 0)),
        ("g4", "g4_kouzine.bed", (0, 0), (0, 0)),
        ("g4", "g4_kouzine.bed", (1, 1), (-1, -1)),
        ("g4", "g4_kouzine.bed", (0, -2), (0, 2)),
    ],
)
@pytest.mark.parametrize("most", [60, None])
def test_real_labels_are_called_shifted_where_they_are(
    shared: Path,
    hg19: dict[str, NDArray[np.uint8]],
    task: str,
    name: str,
    moved: tuple[int, int],
    shifts: tuple[int, int],
    most: int | None,
) -> None:
    regions = read_regions(shared / "data/hg19_part" / name).moved(*moved)
    assert shape_of(task, hg19, regions, most).shifts == shifts


def test_edges_are_not_moved_out_of_the_contig_nor_past_each_other(tmp_path: Path) -> None:
    path = tmp_path / "regions.bed"
    path.write_text("a\t5\t9\na\t20\t30\n")
    regions = read_regions(path)
    assert regions.moved(-5, 2).rows["a"].start.tolist() == [0, 15]
    assert regions.moved(-5, 2).rows["a"].end.tolist() == [11, 32]
    for start, end in ((-6, 0), (4, 0), (0, -4)):
        with pytest.raises(InputError, match=r"regions\.bed:1"):
            regions.moved(start, end)
    with pytest.raises(InputError, match="ends past the contig"):
        regions.moved(0, 2).merged("a", 31)

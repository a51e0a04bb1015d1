"""BED: read strictly; labels, coverage and merging against a loop over bases."""

from __future__ import annotations

import gzip
import hashlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hyena_ray.errors import InputError
from hyena_ray.genome.intervals import (
    Intervals,
    count_covered_bases,
    gather_windows,
    label_bases,
    merge_intervals,
    true_runs,
)
from hyena_ray.genome.region_files import read_bed

SIZE = 60
INTERVALS = st.lists(
    st.tuples(st.integers(0, SIZE - 1), st.integers(1, SIZE)).map(
        lambda pair: (pair[0], min(SIZE, pair[0] + pair[1]))
    ),
    max_size=8,
)


def intervals(pairs: list[tuple[int, int]]) -> Intervals:
    if not pairs:
        return Intervals.empty()
    start, end = np.array(sorted(pairs), np.int64).T
    return merge_intervals(start, end)


def brute_labels(pairs: list[tuple[int, int]]) -> list[int]:
    return [int(any(a <= base < b for a, b in pairs)) for base in range(SIZE)]


def bed(tmp_path: Path, content: str | bytes) -> Path:
    path = tmp_path / "x.bed"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@settings(deadline=None)
@given(INTERVALS)
def test_every_label_equals_a_loop_over_bases(pairs: list[tuple[int, int]]) -> None:
    assert label_bases(intervals(pairs), SIZE).tolist() == brute_labels(pairs)


@settings(deadline=None)
@given(INTERVALS, st.integers(1, SIZE + 5), st.integers(1, 4))
def test_coverage_of_tiles_equals_a_loop(
    pairs: list[tuple[int, int]], stride: int, steps: int
) -> None:
    labels, length = brute_labels(pairs), stride * steps
    starts = range(0, SIZE - length + 1, stride)
    start = np.array(starts, np.int64)
    found = count_covered_bases(intervals(pairs), start, start + length).tolist()
    assert found == [sum(labels[start : start + length]) for start in starts]


@settings(deadline=None)
@given(st.permutations(range(6)), INTERVALS)
def test_merged_intervals_are_sorted_disjoint_and_cover_the_same_bases(
    order: list[int], pairs: list[tuple[int, int]]
) -> None:
    shuffled = [pairs[i] for i in order if i < len(pairs)]
    if not shuffled:
        return
    start, end = np.array(shuffled, np.int64).T
    merged = merge_intervals(start, end)
    assert (merged.start < merged.end).all()
    assert (merged.start[1:] > merged.end[:-1]).all()
    assert label_bases(merged, SIZE).tolist() == brute_labels(shuffled)


@settings(deadline=None)
@given(st.lists(st.booleans(), max_size=40))
def test_runs_of_a_mask_give_the_mask_back(mask: list[bool]) -> None:
    runs = true_runs(np.array(mask, bool))
    assert label_bases(runs, len(mask)).tolist() == mask


@settings(deadline=None)
@example([1, 2, 3], [-1, 0, 1], 3)
@given(
    st.lists(st.integers(0, 4), min_size=1, max_size=30),
    st.lists(st.integers(-12, 40), max_size=6),
    st.integers(1, 45),
)
def test_windows_past_the_ends_are_filled(values: list[int], start: list[int], width: int) -> None:
    found = gather_windows(np.array(values, np.uint8), np.array(start, np.int64), width, 9)
    at = dict(enumerate(values))
    assert found.tolist() == [[at.get(s + i, 9) for i in range(width)] for s in start]
    assert found.dtype == np.uint8


@pytest.mark.parametrize(
    "content",
    [
        "chr1\t5\t9\nNA\t0\t1\n01\t2\t3\n",
        "chr1\t5\t9\tname\t0\t+\nNA\t0\t1\t\n01\t2\t3\n",
        "# a\nbrowser position chr1\ntrack name=x\n\nchr1\t5\t9\nNA\t0\t1\n\n01\t2\t3",
        "chr1\t5\t9\r\nNA\t0\t1\r\n01\t2\t3\r\n",
        "\ufeffchr1\t5\t9\nNA\t0\t1\n01\t2\t3\n",
        gzip.compress(b"chr1\t5\t9\nNA\t0\t1\n01\t2\t3\n"),
    ],
)
def test_every_valid_spelling_reads_as_the_same_intervals(
    tmp_path: Path, content: str | bytes
) -> None:
    regions = read_bed(bed(tmp_path, content))
    found = {name: (r.start.tolist(), r.end.tolist()) for name, r in regions.rows.items()}
    assert found == {"chr1": ([5], [9]), "NA": ([0], [1]), "01": ([2], [3])}
    assert regions.sha256 == hashlib.sha256(regions.path.read_bytes()).hexdigest()


def test_contigs_may_be_called_like_a_header_word(tmp_path: Path) -> None:
    assert list(read_bed(bed(tmp_path, "track1\t1\t2\nbrowser_7\t1\t2\n")).rows) == [
        "track1",
        "browser_7",
    ]


BAD: dict[str, tuple[str | bytes, str]] = {
    "empty": ("", "x.bed: the file has no intervals"),
    "empty column": ("a\t\t5\n", "x.bed:1: '': start is not a whole number"),
    "leading zero": ("a\t01\t5\n", "x.bed:1: 01: start is not a whole number"),
    "plus": ("a\t+1\t5\n", "x.bed:1: +1: start is not a whole number"),
    "other digits": ("a\t\u0661\t5\n", "x.bed:1: \u0661: start is not a whole number"),
    "trailing blank": ("a\t1\t5 \n", "x.bed:1: '5 ': end has blanks"),
    "no name": ("\t5\t9\n", "x.bed:1: 5 9: the contig's name is empty"),
    "UTF-16": ("a\t1\t2\n".encode("utf-16"), "x.bed:1: not UTF-8"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_broken_file_is_named_with_its_line(tmp_path: Path, case: str) -> None:
    content, message = BAD[case]
    with pytest.raises(InputError) as refusal:
        read_bed(bed(tmp_path, content))
    text = str(refusal.value)
    assert text.startswith(f"{tmp_path}/{message}")
    assert "\n" not in text
    assert "; " in text


def test_an_end_past_the_contig_is_refused(tmp_path: Path) -> None:
    regions = read_bed(bed(tmp_path, "a\t0\t10\na\t5\t11\n"))
    assert regions.merged("a", 11).end.tolist() == [11]
    with pytest.raises(InputError, match=r"x.bed:2: a:5-11: ends past the contig, which has 10"):
        regions.merged("a", 10)


@pytest.mark.parametrize(
    ("named", "genome", "hint"),
    [
        ("1", ["chr2", "chr1"], "the genome calls it chr1"),
        ("chrX", ["X"], "the genome calls it X"),
        ("01", ["chr1"], "the genome calls it chr1"),
        ("chrM", ["MT"], "the genome calls it MT"),
        ("chr9", ["chr1", "chr2"], "the genome has chr1, chr2"),
    ],
)
def test_an_unknown_contig_is_refused_with_the_likely_name(
    tmp_path: Path, named: str, genome: list[str], hint: str
) -> None:
    regions = read_bed(bed(tmp_path, f"{genome[0]}\t1\t2\n{named}\t1\t2\n"))
    with pytest.raises(
        InputError, match=f"x.bed:2: {named}: the genome has no such contig; {hint}"
    ):
        regions.check_contigs(genome)

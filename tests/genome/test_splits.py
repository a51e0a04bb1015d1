"""Splits and tiles: disjoint, exact in their shares, fixed by the seed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from hyena_ray.errors import InputError
from hyena_ray.genome.contig_batch import ContigBatch
from hyena_ray.genome.contigs import N_CODE, Contig
from hyena_ray.genome.intervals import Intervals
from hyena_ray.genome.splits import parse_split, split_by_contig
from hyena_ray.genome.tiling import (
    NO_SPLIT,
    cut_tiles,
    split_tiles,
)

MASKS = st.lists(st.booleans(), min_size=1, max_size=80)


def intervals(mask: list[bool] | NDArray[np.bool_]) -> Intervals:
    """Return one interval per base: merged or not, coverage is the same."""
    at = np.flatnonzero(mask)
    return Intervals(at, at + 1)


def batch_of(
    masks: list[tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]]], padding: int = 0
) -> ContigBatch:
    """Contigs whose bases are labelled, banned and unknown by masks."""
    return ContigBatch(
        [
            Contig(str(number), np.where(unknown, N_CODE, 0).astype(np.uint8), "")
            for number, (_, _, unknown) in enumerate(masks)
        ],
        [intervals(labels) for labels, _, _ in masks],
        [intervals(banned) for _, banned, _ in masks],
        first=100,
        padding=padding,
    )


@settings(deadline=None)
@given(
    st.lists(st.integers(1, 60), min_size=1, max_size=4),
    st.integers(1, 12),
    st.integers(1, 4),
    st.integers(0, 9),
)
def test_tiles_of_many_contigs_are_judged_as_by_a_loop(
    sizes: list[int], stride: int, steps: int, padding: int
) -> None:
    rng, length = np.random.default_rng(sum(sizes) * 100 + stride), stride * steps
    masks = [
        (rng.random(size) < 0.1, rng.random(size) < 0.02, rng.random(size) < 0.5) for size in sizes
    ]
    tiles = cut_tiles(batch_of(masks, padding), length, stride)
    expected = [
        (
            number,
            start,
            int(labels[start : start + length].sum()),
            bool(unknown[start : start + length].sum() > length / 2),
            bool(banned[start : start + length].any()),
        )
        for number, (labels, banned, unknown) in enumerate(masks)
        for start in range(0, len(labels) - length + 1, stride)
    ]
    columns = (tiles.grid.contig, tiles.grid.start, *tiles[1:])
    assert list(zip(*(column.tolist() for column in columns), strict=True)) == expected
    kept = [index for index, (*_, n, banned) in enumerate(expected) if not (n or banned)]
    assert tiles.kept.tolist() == kept


@given(st.data())
def test_a_tile_has_the_split_of_all_its_bases_or_none(draw: st.DataObject) -> None:
    stretch = draw.draw(st.integers(1, 12))
    sizes = draw.draw(st.lists(st.integers(1, 70), min_size=1, max_size=3))
    length = draw.draw(st.integers(1, stretch))
    none = [(np.zeros(size, bool),) * 3 for size in sizes]
    contigs = batch_of(none)
    stretches = contigs.stretches(stretch)
    count = len(stretches.start)
    split = draw.draw(st.lists(st.integers(-1, 2), min_size=count, max_size=count))
    tiles = contigs.grid(length, 1)
    found = split_tiles(np.array(split, np.int8), stretches, stretch, tiles, length).tolist()
    assert len(found) == sum(max(0, size - length + 1) for size in sizes)
    for contig, first, name in zip(tiles.contig, tiles.start, found, strict=True):
        before = stretches.before[contig]
        touched = {split[before + base // stretch] for base in range(first, first + length)}
        assert name == (touched.pop() if len(touched) == 1 else NO_SPLIT)


@pytest.mark.parametrize(
    ("text", "training", "held_out"),
    [
        ("contig:train=a;val=b;test=c", ("train",), ("val", "test")),
        ("contig:val=b;test=c", (), ("val", "test")),
        ("contig:train=a", ("train",), ()),
        ("stratified:0.6/0.2/0.2", ("train",), ("val", "test")),
        ("kfold:3", ("fold0", "fold1", "fold2"), ("fold0", "fold1", "fold2")),
    ],
)
def test_train_trains_the_others_are_held_out_and_folds_are_both(
    text: str, training: tuple[str, ...], held_out: tuple[str, ...]
) -> None:
    split = parse_split(text)
    assert (split.training, split.held_out) == (training, held_out)


def test_half_n_is_kept_and_one_more_dropped() -> None:
    none = np.zeros(8, bool)
    unknown = np.array([True] * 2 + [False] * 3 + [True] * 3)
    half = cut_tiles(batch_of([(none, none, unknown)]), 4, 4)
    assert half.kept.tolist() == [0]
    assert half.too_many_n.tolist() == [False, True]


def test_contigs_go_whole_to_their_split_and_others_to_none() -> None:
    split = parse_split("contig:train=a,c;val=b")
    positive = np.array([True, False])
    found = {name: split.assign(name, positive, [0]).tolist() for name in "abcd"}
    assert found == {"a": [0, 0], "b": [1, 1], "c": [0, 0], "d": [-1, -1]}
    assert split.names == ("train", "val")
    assert parse_split(split.text) == split
    split.check_contigs("abc")
    with pytest.raises(InputError, match=r"--split: c: unknown contig.*; .* a, b$"):
        split.check_contigs("ab")


@settings(deadline=None)
@given(MASKS, st.sampled_from(["stratified:0.6/0.2/0.2", "kfold:3", "kfold:5"]), st.integers(0, 9))
def test_random_splits_hold_their_fractions_of_each_label(
    mask: list[bool], text: str, seed: int
) -> None:
    split = parse_split(text)
    shares = (0.6, 0.2, 0.2) if text[0] == "s" else (1 / len(split.names),) * len(split.names)
    positive = np.array(mask)
    assigned = split.assign("a", positive, [seed])
    for label in (True, False):
        counts = np.bincount(assigned[positive == label], minlength=len(split.names))
        assert counts.sum() == (positive == label).sum()
        assert (np.abs(counts - np.array(shares) * counts.sum()) < 1.001).all()
    again = split.assign("a", positive, [seed])
    np.testing.assert_array_equal(assigned, again)


def test_many_small_contigs_do_not_starve_a_split() -> None:
    split = parse_split("stratified:0.6/0.2/0.2")
    assigned = [int(split.assign("a", np.array([True]), [seed])[0]) for seed in range(2000)]
    np.testing.assert_allclose(np.bincount(assigned) / 2000, [0.6, 0.2, 0.2], atol=0.04)


def test_folds_are_named_after_their_number() -> None:
    assert parse_split("kfold:3").names == ("fold0", "fold1", "fold2")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "unknown kind of split"),
        ("random:0.5", "unknown kind of split"),
        ("contigs:train=a", r"unknown kind of split, did you mean contig\?; write contig:"),
        ("contig:trian=a;val=b", r"trian: unknown split, did you mean train\?"),
        ("contig:", "'': unknown split; give one of train, val, test"),
        ("contig:train=a;dev=b", "dev: unknown split; give one of train, val, test"),
        ("contig:train=a;../../val=b", "val: unknown split"),
        ("contig:train=a;train=b", "train is given twice"),
        ("contig:train=a,;val=b", "a contig's name is empty"),
        ("contig:train=a;val=a", "a: the contig is named twice"),
        ("contig:train=a,a", "a: the contig is named twice"),
        ("stratified:0.6/0.4", "fractions are three numbers"),
        ("stratified:0.6/0.2/0.3", "fractions are above 0 and add up to 1"),
        ("stratified:0.0/0.5/0.5", "fractions are above 0"),
        ("stratified:-.6/.8/.8", "fractions are three numbers"),
        ("stratified:nan/0.5/0.5", "fractions are three numbers"),
        ("kfold:2", "folds are a number from 3 to 99"),
        ("kfold:five", "folds are a number from 3"),
        ("kfold:1e1", "folds are a number from 3"),
    ],
)
def test_a_split_that_does_not_add_up_is_refused(text: str, problem: str) -> None:
    with pytest.raises(InputError, match=problem) as refusal:
        parse_split(text)
    assert str(refusal.value).startswith("--split: ")


@settings(deadline=None)
@given(st.lists(st.integers(1, 1000), min_size=3, max_size=30))
def test_the_chosen_contig_split_is_whole_and_never_empty(counts: list[int]) -> None:
    labelled = {f"c{i}": count for i, count in enumerate(counts)}
    split = split_by_contig(labelled)
    assert sorted(c for of in split.contigs.values() for c in of) == sorted(labelled)
    assert all(split.contigs.values())
    assert split == split_by_contig(dict(reversed(labelled.items())))
    assert parse_split(split.text) == split


def test_the_chosen_contig_split_comes_near_its_fractions() -> None:
    labelled = {f"c{i:02d}": 250 - 9 * i for i in range(24)}
    split, total = split_by_contig(labelled), sum(labelled.values())
    shares = [sum(labelled[c] for c in of) / total for of in split.contigs.values()]
    np.testing.assert_allclose(shares, [0.6, 0.2, 0.2], atol=0.02)


def test_two_labelled_contigs_cannot_be_split_by_contig() -> None:
    with pytest.raises(InputError, match=r"not 2; give --split stratified:0.6/0.2/0.2"):
        split_by_contig({"a": 1, "b": 9})

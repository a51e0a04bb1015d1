"""Stretches are read in windows of any length, and every base of them is scored once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from hyena_ray.dataset import schema
from hyena_ray.dataset.manifest import Count, KindCount
from hyena_ray.dataset.preparation import prepare
from hyena_ray.dataset.reader import PreparedData, sample_evenly
from hyena_ray.dataset.schema import Windows
from hyena_ray.dataset.stretches import (
    cut_labels,
    cut_windows,
    genome_weights,
    join_windows,
    window_offsets,
)
from hyena_ray.dataset.tokens import IGNORED
from hyena_ray.errors import InputError
from hyena_ray.genome.negatives import KINDS
from tests.dataset.small_genome import Inputs, assert_same_windows

STRETCH, FLANK = 50, 7
NAMES = {"l": "labelled", "r": "random", "t": "tract", "o": "other"}


@st.composite
def lengths(draw: st.DrawFn) -> tuple[int, int]:
    """Draw the length of a stretch, and that of a window that it holds."""
    stretch = draw(st.integers(1, 90))
    return stretch, draw(st.integers(1, stretch))


@given(lengths())
def test_every_base_of_a_stretch_is_scored_exactly_once(sizes: tuple[int, int]) -> None:
    stretch, length = sizes
    times = np.zeros(stretch, int)
    offsets = window_offsets(stretch, length)
    counted = cut_labels(np.zeros((1, stretch), np.int8), length) != IGNORED
    assert counted.shape == (len(offsets), length)
    for offset, bases in zip(offsets, counted, strict=True):
        assert 0 <= offset <= stretch - length
        times[offset : offset + length] += bases
    assert times.tolist() == [1] * stretch


@given(lengths(), st.integers(0, 5), st.integers(1, 4))
def test_what_is_cut_and_joined_is_what_was_cut(
    sizes: tuple[int, int], flank: int, count: int
) -> None:
    stretch, length = sizes
    rng = np.random.default_rng(stretch * 100 + length)
    start = rng.permutation(20)[:count] * stretch
    stretches = Windows(
        window_id=1000 + start,
        contig=rng.choice(["a", "b"], count),
        start=start,
        tokens=rng.integers(0, 12, (count, stretch + 2 * flank), np.uint8),
        labels=rng.choice(np.array([0, 1, IGNORED], np.int8), (count, stretch)),
        kind=rng.integers(0, 5, count).astype(np.uint8),
    )
    windows = cut_windows(stretches, length)
    np.testing.assert_array_equal(join_windows(windows.labels, stretch), stretches.labels)
    bases = windows.tokens[:, flank : flank + length]
    np.testing.assert_array_equal(
        join_windows(bases, stretch), stretches.tokens[:, flank : flank + stretch]
    )
    places = windows.start[:, None] + np.arange(length)
    np.testing.assert_array_equal(
        join_windows(places, stretch), stretches.start[:, None] + np.arange(stretch)
    )
    np.testing.assert_array_equal(windows.window_id, 1000 + windows.start)
    for number in range(len(windows.start)):
        row = number // len(window_offsets(stretch, length))
        assert windows.contig[number] == stretches.contig[row]
        offset = windows.start[number] - stretches.start[row]
        whole = stretches.tokens[row, offset : offset + length + 2 * flank]
        np.testing.assert_array_equal(windows.tokens[number], whole)
    scores = rng.random((len(windows.start), length))
    counted = windows.labels != IGNORED
    assert join_windows(scores, stretch).sum() >= scores[counted].sum() - 1e-9


def test_windows_of_a_stretch_are_side_by_side_but_for_the_last() -> None:
    assert window_offsets(1024, 100).tolist() == [*range(0, 1000, 100), 924]
    assert window_offsets(1024, 1024).tolist() == [0]
    assert window_offsets(7, 3).tolist() == [0, 3, 4]


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    return Inputs(tmp_path_factory.mktemp("stretches"))


@pytest.fixture(scope="module")
def data(inputs: Inputs) -> PreparedData:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(schema, "PART_ROWS", 3)
        patch.setattr(schema, "GROUP_ROWS", 2)
        prepare(inputs.settings(), inputs.folder / "data")
    return PreparedData.open(inputs.folder / "data")


@given(st.data())
def test_all_ways_to_read_a_held_out_split_agree(data: PreparedData, draw: st.DataObject) -> None:
    split = draw.draw(st.sampled_from(["val", "test"]))
    length = draw.draw(st.integers(1, STRETCH))
    stretches = data.read_held_out(split)
    assert len(data.files(STRETCH, split)) > 1
    whole = cut_windows(stretches, length)
    assert_same_windows(data.read(length, split), whole)
    assert data.count(length, split) == len(whole.start)
    np.testing.assert_array_equal(data.window_ids(length, split), whole.window_id)
    assert (np.diff(whole.window_id) > 0).all()
    first = draw.draw(st.integers(0, len(whole.start)))
    last = draw.draw(st.integers(first, len(whole.start)))
    part = data.read_rows(length, split, first, last)
    assert_same_windows(part, whole.rows(slice(first, last)))
    limited = data.read(length, split, limit=last)
    chosen = sample_evenly(len(whole.start), last)
    assert_same_windows(limited, whole.rows(chosen))
    with pytest.raises(IndexError):
        data.read_rows(length, split, first, len(whole.start) + 1)


def test_a_held_out_base_is_the_same_whatever_the_length_of_the_window(
    inputs: Inputs, data: PreparedData
) -> None:
    seen = []
    for length in (1, 13, 20, 49, 50):
        windows = data.read(length, "test")
        counted = windows.labels != IGNORED
        places = (windows.start[:, None] + np.arange(length))[counted]
        bases = windows.tokens[:, FLANK:-FLANK][counted]
        seen.append((places.tolist(), bases.tolist(), windows.labels[counted].tolist()))
    assert all(other == seen[0] for other in seen)


@pytest.mark.parametrize("read", ["count", "files", "read", "window_ids"])
def test_a_window_that_no_stretch_holds_is_refused_in_one_line(
    data: PreparedData, read: str
) -> None:
    with pytest.raises(InputError, match="no stretch of 50 bases holds such a window") as refusal:
        getattr(data, read)(51, "val")
    assert str(refusal.value).startswith(f"{data.folder}: length: 51: ")
    assert "--stretch" in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_windows_that_train_are_of_the_prepared_lengths_alone(data: PreparedData) -> None:
    with pytest.raises(InputError, match="length: 21: was not prepared; there is 20, 33"):
        data.read(21, "train")


def test_a_change_of_a_file_of_stretches_is_refused(inputs: Inputs, tmp_path: Path) -> None:
    prepare(inputs.settings(), tmp_path / "data")
    data = PreparedData.open(tmp_path / "data")
    [file] = data.files(20, "val")
    path = Path(str(file))
    content = path.read_bytes()
    path.write_bytes(content[:100] + bytes([content[100] ^ 1]) + content[101:])
    with pytest.raises(InputError, match="prepare the data again"):
        data.check([20])
    (tmp_path / "data" / "stretches" / "split=val" / path.name).unlink()
    with pytest.raises(InputError, match="the file is missing"):
        PreparedData.open(tmp_path / "data")


def windows(contigs: str, kinds: str) -> Windows:
    """Stretches by contig and kind: l is labelled, r random, t with a tract, o without one."""
    count = len(contigs)
    kind = np.array([KINDS[NAMES[letter]] for letter in kinds], np.uint8)
    labels = np.zeros((count, 3), np.int8)
    labels[:, 1] = kind == KINDS["labelled"]
    ids = np.arange(count)
    tokens = np.zeros((count, 3), np.uint8)
    return Windows(ids, np.array(list(contigs)), ids, tokens, labels, kind)


def counted(contig: str, positive: int, **kinds: tuple[int, int]) -> Count:
    """Counts of a contig, with drawn stretches and candidates of each kind."""
    return Count(
        length=3,
        split="test",
        contig=contig,
        positive=positive,
        negative=sum(drawn for drawn, _ in kinds.values()),
        candidates=sum(candidates for _, candidates in kinds.values()),
        labelled=positive,
        kinds={
            kind: KindCount(drawn=drawn, candidates=candidates)
            for kind, (drawn, candidates) in kinds.items()
        },
    )


def test_a_negative_represents_the_candidates_of_its_contig() -> None:
    weight = genome_weights(
        windows("aaabb", "lrrlr"),
        [counted("a", 1, random=(2, 100)), counted("b", 1, random=(1, 7))],
    )
    assert weight.tolist() == [1, 50, 50, 1, 7]


def test_candidates_of_a_contig_without_negatives_are_shared_out() -> None:
    weight = genome_weights(
        windows("aaab", "lrrl"),
        [counted("a", 1, random=(2, 100)), counted("b", 1, random=(0, 300))],
    )
    assert weight.tolist() == [1, 200, 200, 1]
    assert weight[[1, 2]].sum() == 400


def test_a_negative_represents_its_stratum_alone() -> None:
    weight = genome_weights(
        windows("aaaab", "lttoo"),
        [counted("a", 1, tract=(2, 10), other=(1, 90)), counted("b", 0, other=(1, 8))],
    )
    assert weight.tolist() == [1, 5, 5, 90, 8]


def test_a_stratum_of_which_nothing_was_drawn_is_spread_over_the_others() -> None:
    weight = genome_weights(
        windows("bbb", "loo"),
        [counted("a", 0, tract=(0, 30), other=(0, 6)), counted("b", 1, other=(2, 4))],
    )
    assert weight.tolist() == [1, 20, 20]


def test_stretches_that_all_have_a_label_represent_themselves() -> None:
    assert genome_weights(windows("a", "l"), [counted("a", 1, random=(0, 0))]).tolist() == [1]


@pytest.mark.parametrize("held_out", ["random:0.3", "1", "tract:0.5,other:0.3", "scan"])
@pytest.mark.parametrize("split", ["contig:train=a;val=b,c;test=d", "kfold:3"])
def test_weights_add_up_to_the_stretches_of_the_genome(
    inputs: Inputs, tmp_path: Path, held_out: str, split: str
) -> None:
    chosen = {"scan": True} if held_out == "scan" else {"held_out_negatives": held_out}
    manifest = prepare(inputs.settings(split=split, **chosen), tmp_path / "data")
    data = PreparedData.open(tmp_path / "data")
    for name in manifest.splits:
        if not manifest.scored_in_stretches(name):
            continue
        counts = manifest.counts_of(20, name)
        stretches = data.read_held_out(name)
        weight = genome_weights(stretches, counts)
        assert weight.sum() == pytest.approx(sum(c.positive + c.candidates for c in counts))
        labelled = (stretches.labels == 1).any(1)
        assert (weight[labelled] == 1).all()
        assert (weight >= 1).all()
        if held_out == "scan" and name != "val":
            assert (weight == 1).all()


def test_weighted_negatives_give_the_average_precision_of_the_whole() -> None:
    """Drawn at random, a tenth of the negatives tells on average what all of them would."""
    rng = np.random.default_rng(0)
    positive, negative = rng.normal(3, 1, 400), rng.normal(0, 1, 40_000)
    labels = np.repeat([1, 0], [400, 40_000])
    whole = average_precision_score(labels, np.concatenate([positive, negative]))
    weight = genome_weights(
        windows("a" * 4400, "l" * 400 + "r" * 4000), [counted("a", 400, random=(4000, 40_000))]
    )
    weighted, plain = [], []
    for _ in range(20):
        scores = np.concatenate([positive, rng.choice(negative, 4000, replace=False)])
        weighted.append(average_precision_score(labels[:4400], scores, sample_weight=weight))
        plain.append(average_precision_score(labels[:4400], scores))
    assert np.mean(weighted) == pytest.approx(whole, abs=0.02)
    assert np.mean(plain) > whole + 0.1


def test_strata_are_unbiased_and_less_noisy_than_a_plain_sample_of_equal_size() -> None:
    """Of 3,000 stretches 50 have a label and 600 a tract; all false calls are in these 600."""
    rng = np.random.default_rng(0)
    sizes = {"labelled": 50, "tract": 600, "other": 2350}
    kinds = np.repeat([*sizes], [*sizes.values()])
    level = {"labelled": 2.0, "tract": 0.5, "other": -5.0}
    scores = rng.normal([level[kind] for kind in kinds.tolist()], 1)
    called = scores > 1
    whole = average_precision_score(kinds == "labelled", scores)
    designs: dict[str, dict[str, tuple[str, ...]]] = {
        "strata": {"tract": ("tract",), "other": ("other",)},
        "plain": {"random": ("tract", "other")},
    }
    false: dict[str, list[float]] = {"strata": [], "plain": []}
    precision: dict[str, list[float]] = {"strata": [], "plain": []}
    for seed in range(300):
        draw = np.random.default_rng(seed)
        for design, parts in designs.items():
            rows, letters, counted_kinds = [np.arange(50)], "l" * 50, {}
            for kind, members in parts.items():
                candidates = np.flatnonzero(np.isin(kinds, members))
                number = {"tract": 150, "other": 50, "random": 200}[kind]
                rows.append(draw.choice(candidates, number, replace=False))
                letters += kind[0] * number
                counted_kinds[kind] = (number, len(candidates))
            chosen = np.concatenate(rows)
            stretches = windows("a" * len(chosen), letters)
            weight = genome_weights(stretches, [counted("a", 50, **counted_kinds)])
            negative = kinds[chosen] != "labelled"
            false[design].append(float((weight * called[chosen])[negative].sum()))
            precision[design].append(
                average_precision_score(~negative, scores[chosen], sample_weight=weight)
            )
    truth = int(called[50:].sum())
    for design, found in false.items():
        error = np.std(found) / np.sqrt(len(found))
        assert abs(np.mean(found) - truth) < 4 * error, design
    # Average precision is no linear figure: of a sample it is a little too high.
    bias = {design: np.mean(found) - whole for design, found in precision.items()}
    assert abs(bias["strata"]) < min(0.03, abs(bias["plain"]))
    assert np.std(false["strata"]) < 0.6 * np.std(false["plain"])
    assert np.std(precision["strata"]) < 0.6 * np.std(precision["plain"])

"""A fold's view: every window once, where its fold says, and in order of window ids."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyena_ray.dataset import schema
from hyena_ray.dataset.manifest import DataFile
from hyena_ray.dataset.origin import Origin
from hyena_ray.dataset.preparation import prepare
from hyena_ray.dataset.reader import PreparedData, sample_evenly
from hyena_ray.errors import InputError
from tests.dataset.small_genome import SPLIT, Inputs, assert_same_windows

FOLDS = 4


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> PreparedData:
    inputs = Inputs(tmp_path_factory.mktemp("folds"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(schema, "PART_ROWS", 7)
        patch.setattr(schema, "GROUP_ROWS", 3)
        prepare(inputs.settings(split=f"kfold:{FOLDS}"), inputs.folder / "data")
    return PreparedData.open(inputs.folder / "data")


def ids_by_fold(data: PreparedData, files: Iterable[DataFile]) -> dict[str, list[int]]:
    """Return the ids in files of each fold, read without the package."""
    ids: dict[str, list[int]] = {}
    for file in files:
        column = pq.read_table(data.folder / file.path, columns=["window_id"])["window_id"]
        ids.setdefault(file.split, []).extend(column.to_pylist())
    return ids


@pytest.mark.parametrize("fold", range(FOLDS))
def test_one_fold_tests_the_next_validates_and_all_others_train(
    data: PreparedData, fold: int
) -> None:
    view, manifest = data.for_fold(fold), data.manifest
    assert manifest.stretches is not None
    stretches = ids_by_fold(data, manifest.stretches.files)
    for split, number in (("test", fold), ("val", (fold + 1) % FOLDS)):
        of_fold = stretches[f"fold{number}"]
        assert view.read_held_out(split).window_id.tolist() == of_fold
        # Windows of 20 bases that hold all 50 bases of a stretch.
        expected = [stretch + at for stretch in of_fold for at in (0, 20, 30)]
        assert view.window_ids(20, split).tolist() == expected
        assert view.read(20, split).window_id.tolist() == expected
        assert view.count(20, split) == len(expected)
    training = {n for n in range(FOLDS) if n not in (fold, (fold + 1) % FOLDS)}
    for length in manifest.lengths:
        files = [file for file in manifest.files if file.length == length]
        windows = ids_by_fold(data, files)
        expected = sorted(window for n in training for window in windows[f"fold{n}"])
        assert view.window_ids(length, "train").tolist() == expected
        assert view.read(length, "train").window_id.tolist() == expected
        assert view.count(length, "train") == len(expected)
        paths = {data.folder / file.path for file in files if int(file.split[4:]) in training}
        assert set(view.files(length, "train")) == paths
        assert all(Path(str(path)).exists() for path in paths)


@pytest.mark.parametrize("fold", range(FOLDS))
def test_no_base_that_a_fold_holds_out_trains_its_model(data: PreparedData, fold: int) -> None:
    view = data.for_fold(fold)
    held_out = (view.read_held_out(split).window_id for split in ("val", "test"))
    bases = {start + base for ids in held_out for start in ids.tolist() for base in range(50)}
    for length in data.manifest.lengths:
        train = view.window_ids(length, "train").tolist()
        assert bases.isdisjoint(start + base for start in train for base in range(length))


def test_a_result_of_a_fold_remembers_the_whole_data(data: PreparedData, tmp_path: Path) -> None:
    origin = Origin.from_data(data.for_fold(1))
    assert origin == Origin.from_data(data)
    assert data.manifest.stretches is not None
    stretches = data.manifest.stretches.model_copy(update={"files": ()})
    without = {"files": (), "stretches": stretches, "contents": ()}
    assert origin.manifest == data.manifest.model_copy(update=without)
    origin.write(tmp_path)
    assert Origin.read(tmp_path) == origin


def test_every_stretch_is_tested_once_and_validates_once(data: PreparedData) -> None:
    every = [data.window_ids(50, name) for name in data.manifest.splits]
    for split in ("test", "val"):
        scored = [data.for_fold(fold).window_ids(50, split) for fold in range(FOLDS)]
        assert sorted(np.concatenate(scored)) == sorted(np.concatenate(every))
        assert len(np.unique(np.concatenate(scored))) == sum(map(len, scored))


@given(st.data())
def test_rows_of_a_view_are_those_of_all_its_windows_in_order(
    data: PreparedData, draw: st.DataObject
) -> None:
    view = data.for_fold(draw.draw(st.integers(0, FOLDS - 1)))
    count = view.count(20, "train")
    first = draw.draw(st.integers(0, count))
    last = draw.draw(st.integers(first, count))
    whole = view.read(20, "train")
    part = view.read_rows(20, "train", first, last)
    assert_same_windows(part, whole.rows(slice(first, last)))
    limited = view.read(20, "train", limit=first)
    np.testing.assert_array_equal(limited.start, whole.start[sample_evenly(count, first)])


def test_a_view_counts_what_its_windows_and_stretches_hold(data: PreparedData) -> None:
    view = data.for_fold(1)
    assert view.manifest.splits == ("train", "val", "test")
    rows = {
        "train": view.read(20, "train"),
        "val": view.read_held_out("val"),
        "test": view.read_held_out("test"),
    }
    for split, windows in rows.items():
        counts = view.manifest.counts_of(20, split)
        assert sorted(c.contig for c in counts) == sorted({c.contig for c in counts})
        assert {c.contig for c in counts} >= set(windows.contig.tolist())
        for count in counts:
            labels = windows.labels[windows.contig == count.contig]
            assert count.length == windows.labels.shape[1]
            assert count.labelled == (labels == 1).sum()
            assert count.positive == labels.any(axis=1).sum()
            assert count.positive + count.negative == len(labels)
    of_view, of_all = view.manifest, data.manifest
    assert of_view.stretches is not None
    assert of_all.stretches is not None
    for some, every in (
        (of_view.counts, of_all.counts),
        (of_view.stretches.counts, of_all.stretches.counts),
    ):
        assert sum(c.candidates for c in some) == sum(c.candidates for c in every) > 0


def test_the_manifest_has_the_number_of_folds(data: PreparedData) -> None:
    assert data.manifest.folds == FOLDS
    assert data.for_fold(0).manifest.folds == 0


@pytest.mark.parametrize("fold", [-1, FOLDS, 99])
def test_a_fold_that_is_not_there_is_refused_with_those_that_are(
    data: PreparedData, fold: int
) -> None:
    with pytest.raises(InputError, match=f"fold: {fold}: there is no such fold; .* 0 to 3"):
        data.for_fold(fold)


def test_data_without_folds_are_refused_with_how_to_get_them(tmp_path: Path) -> None:
    inputs = Inputs(tmp_path)
    prepare(inputs.settings(), tmp_path / "data")
    plain = PreparedData.open(tmp_path / "data")
    assert plain.manifest.folds == 0
    with pytest.raises(InputError, match=r"fold: 0: the data were split by contig:.*kfold:5") as no:
        plain.for_fold(0)
    assert SPLIT in str(no.value)

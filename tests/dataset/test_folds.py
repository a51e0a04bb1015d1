"""A fold's view: every window once, where its fold says, and in order of window ids."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyena_ray.dataset import schema
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


@pytest.mark.parametrize("fold", range(FOLDS))
def test_one_fold_tests_the_next_validates_and_all_others_train(
    data: PreparedData, fold: int
) -> None:
    view = data.for_fold(fold)
    of = {name: data.window_ids(20, name).tolist() for name in data.manifest.splits}
    held_out = (fold, (fold + 1) % FOLDS)
    train = [number for number in range(FOLDS) if number not in held_out]
    roles = {"test": [held_out[0]], "val": [held_out[1]], "train": train}
    for split, folds in roles.items():
        expected = sorted(window for number in folds for window in of[f"fold{number}"])
        assert view.window_ids(20, split).tolist() == expected
        assert view.read(20, split).window_id.tolist() == expected
        assert view.count(20, split) == len(expected)
        assert sum(path.exists() for path in view.files(20, split)) == sum(
            len(data.files(20, f"fold{number}")) for number in folds
        )


def test_a_result_of_a_fold_remembers_the_whole_data(data: PreparedData, tmp_path: Path) -> None:
    origin = Origin.from_data(data.for_fold(1))
    assert origin == Origin.from_data(data)
    assert origin.manifest == data.manifest.model_copy(update={"files": ()})
    origin.write(tmp_path)
    assert Origin.read(tmp_path) == origin


def test_every_window_is_tested_once(data: PreparedData) -> None:
    tested = [data.for_fold(fold).window_ids(33, "test") for fold in range(FOLDS)]
    every = [data.window_ids(33, name) for name in data.manifest.splits]
    assert sorted(np.concatenate(tested)) == sorted(np.concatenate(every))
    assert len(np.unique(np.concatenate(tested))) == sum(map(len, tested))


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


def test_a_view_counts_what_its_windows_hold(data: PreparedData) -> None:
    view = data.for_fold(1)
    assert view.manifest.splits == ("train", "val", "test")
    for split in view.manifest.splits:
        windows = view.read(20, split)
        counts = [c for c in view.manifest.counts if (c.length, c.split) == (20, split)]
        assert sorted(c.contig for c in counts) == sorted({c.contig for c in counts})
        for count in counts:
            labels = windows.labels[windows.contig == count.contig]
            assert count.labelled == (labels == 1).sum()
            assert count.positive == labels.any(axis=1).sum()
            assert count.positive + count.negative == len(labels)
    candidates = [sum(c.candidates for c in m.counts) for m in (data.manifest, view.manifest)]
    assert candidates[0] == candidates[1]


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

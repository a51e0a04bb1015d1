"""Overlapping windows train, and no base that validates or tests is in one of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hyena_ray.dataset.preparation import prepare
from hyena_ray.dataset.reader import PreparedData
from hyena_ray.dataset.schema import Windows
from hyena_ray.dataset.tokens import decode
from hyena_ray.errors import InputError
from tests.dataset.small_genome import SPLIT, Inputs

STRATIFIED = "stratified:0.6/0.2/0.2"


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    return Inputs(tmp_path_factory.mktemp("inputs"))


def made(inputs: Inputs, folder: Path, **changes: object) -> PreparedData:
    prepare(inputs.settings(**changes), folder)
    return PreparedData.open(folder)


def bases(windows: Windows, length: int) -> set[tuple[str, int]]:
    places = zip(windows.contig.tolist(), windows.start.tolist(), strict=True)
    return {(contig, start + i) for contig, start in places for i in range(length)}


@settings(deadline=None, max_examples=20)
@given(
    seed=st.integers(0, 1000),
    split=st.sampled_from([SPLIT, STRATIFIED]),
    stride=st.sampled_from([1, 3, 5, 15]),
)
def test_no_base_of_a_val_or_test_window_lies_in_a_train_window(
    tmp_path_factory: pytest.TempPathFactory, seed: int, split: str, stride: int
) -> None:
    folder = tmp_path_factory.mktemp("overlap")
    inputs = Inputs(folder / "in", seed)
    # All negatives: nothing hides in a window that was not drawn.
    data = made(
        inputs,
        folder / "data",
        lengths=[15],
        split=split,
        train_stride=stride,
        negatives=1e6,
    )
    train, val, test = (bases(data.read(15, name), 15) for name in ("train", "val", "test"))
    assert train.isdisjoint(val | test)
    assert val.isdisjoint(test)
    ids = np.concatenate([data.window_ids(15, name) for name in ("train", "val", "test")])
    assert len(np.unique(ids)) == len(ids)


def test_train_windows_at_a_stride_equal_a_loop(inputs: Inputs, tmp_path: Path) -> None:
    data = made(inputs, tmp_path / "data", lengths=[20], train_stride=5, negatives=1e6)
    expected, number = [], 0
    for name, sequence in inputs.contigs.items():
        last = len(sequence) - 20
        blacklist = {p for a, b in inputs.blacklist[name] for p in range(a, b)}
        kept = {
            start
            for start in range(0, last + 1, 5)
            if sequence[start : start + 20].count("N") <= 10
            and blacklist.isdisjoint(range(start, start + 20))
        }
        for start in range(0, last + 1, 5):
            # It has bases of at least one window that the split has without a stride.
            near = any(s in kept for s in range(0, last + 1, 20) if abs(s - start) < 20)
            if name in "ab" and start in kept and near:
                expected.append((number, name, start, sequence[start : start + 20].upper()))
            number += 1
    windows = data.read(20, "train")
    found = zip(
        windows.window_id.tolist(),
        windows.contig.tolist(),
        windows.start.tolist(),
        map(decode, windows.tokens[:, 7:27]),
        strict=True,
    )
    assert list(found) == expected
    assert (windows.start % 20 != 0).mean() > 0.5


@pytest.mark.parametrize("split", [SPLIT, STRATIFIED])
def test_a_stride_leaves_val_and_test_windows_where_they_were(
    inputs: Inputs, tmp_path: Path, split: str
) -> None:
    plain = made(inputs, tmp_path / "plain", lengths=[20], split=split, negatives=1e6)
    strided = made(
        inputs,
        tmp_path / "strided",
        lengths=[20],
        split=split,
        negatives=1e6,
        train_stride=5,
    )
    for name in ("val", "test"):
        before, after = plain.read(20, name), strided.read(20, name)
        assert after.start.tolist() == before.start.tolist()
        assert np.array_equal(after.tokens, before.tokens)
    train = strided.read(20, "train")
    assert bases(plain.read(20, "train"), 20) <= bases(train, 20)
    assert len(train.start) > 1.5 * plain.count(20, "train")


def test_a_stride_of_the_length_changes_nothing(inputs: Inputs, tmp_path: Path) -> None:
    plain = made(inputs, tmp_path / "plain", lengths=[20], split=STRATIFIED)
    strided = made(inputs, tmp_path / "strided", lengths=[20], split=STRATIFIED, train_stride=20)
    assert plain.manifest.files == strided.manifest.files
    assert plain.manifest.counts == strided.manifest.counts


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"split": "kfold:5"}, "--train-stride: 5: with kfold:5 no window only trains"),
        ({"split": "contig:val=a;test=b"}, "no window only trains"),
        ({"lengths": [20, 33]}, "--train-stride: 5: does not divide the length 33"),
        ({"train_stride": 40}, "--train-stride: 40: does not divide the length 20"),
    ],
)
def test_a_stride_that_would_leak_or_not_fit_is_refused(
    inputs: Inputs, tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    values: dict[str, object] = {"lengths": [20], "train_stride": 5}
    with pytest.raises(InputError) as refusal:
        made(inputs, tmp_path / "data", **values | changes)
    assert message in str(refusal.value)
    assert list(tmp_path.iterdir()) == []

"""Windows train, overlapping or not, where no base that validates or tests is in them."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from hyena_ray.dataset import genome_windows
from hyena_ray.dataset.preparation import prepare
from hyena_ray.dataset.reader import PreparedData
from hyena_ray.dataset.schema import Windows
from hyena_ray.dataset.tokens import decode
from hyena_ray.errors import InputError
from hyena_ray.genome.negatives import NegativeSampler
from tests.dataset.small_genome import SPLIT, Inputs, assert_same_windows

STRATIFIED = "stratified:0.6/0.2/0.2"


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    return Inputs(tmp_path_factory.mktemp("inputs"))


def made(inputs: Inputs, folder: Path, **changes: object) -> PreparedData:
    prepare(inputs.settings(**changes), folder)
    return PreparedData.open(folder)


def bases(windows: Windows) -> set[tuple[str, int]]:
    length = windows.labels.shape[1]
    return {(contig, start + i) for contig, start in starts_of(windows) for i in range(length)}


@settings(deadline=None, max_examples=25)
@given(
    seed=st.integers(0, 1000),
    split=st.sampled_from([SPLIT, STRATIFIED, "kfold:3"]),
    stride=st.sampled_from([None, 1, 3, 5, 15]),
    stretch=st.sampled_from([15, 17, 50]),
)
def test_a_window_trains_where_all_stretches_that_it_touches_train(
    tmp_path_factory: pytest.TempPathFactory,
    seed: int,
    split: str,
    stride: int | None,
    stretch: int,
) -> None:
    folder = tmp_path_factory.mktemp("overlap")
    inputs = Inputs(folder / "in", seed)
    changes: dict[str, object] = {"lengths": [15], "split": split, "train_stride": stride}
    with pytest.MonkeyPatch.context() as patch:
        # All negatives: nothing hides in a window or a stretch that was not drawn.
        patch.setattr(
            genome_windows, "NegativeSampler", lambda ratio, bins: NegativeSampler(None, bins)
        )
        try:
            data = made(inputs, folder / "data", **changes, stretch=stretch, blacklist=None)
        except InputError as problem:
            if "bases with a labelled one among them" in str(problem):
                reject()  # in so few bases a split may have no label
            raise
    views = [data.for_fold(fold) for fold in range(3)] if data.manifest.folds else [data]
    for view in views:
        train = bases(view.read(15, "train"))
        held_out = [bases(view.read_held_out(name)) for name in ("val", "test")]
        assert held_out[0].isdisjoint(held_out[1])
        assert train.isdisjoint(held_out[0] | held_out[1])
    # Where windows begin: nowhere else, and wherever no held-out or dropped stretch is touched.
    if not data.manifest.folds:
        other = held_out[0] | held_out[1] | dropped(inputs, stretch)
        starts = starts_of(data.read(15, "train"))
        for name, sequence in inputs.contigs.items():
            if split == SPLIT and name in "cd":
                continue
            for start in range(0, len(sequence) - 14, stride or 15):
                touched = {(name, base) for base in range(start, start + 15)}
                if other.isdisjoint(touched):
                    known = sequence[start : start + 15].count("N") <= 7.5
                    assert ((name, start) in starts) == known


def starts_of(windows: Windows) -> set[tuple[str, int]]:
    return set(zip(windows.contig.tolist(), windows.start.tolist(), strict=True))


def dropped(inputs: Inputs, stretch: int) -> set[tuple[str, int]]:
    """Return the bases of stretches that are mostly N or incomplete: their split is not seen."""
    return {
        (name, base)
        for name, sequence in inputs.contigs.items()
        for start in range(0, len(sequence), stretch)
        for base in range(start, start + stretch)
        if start + stretch > len(sequence)
        or sequence[start : start + stretch].count("N") > stretch / 2
    }


def test_train_windows_at_a_stride_equal_a_loop(inputs: Inputs, tmp_path: Path) -> None:
    data = made(inputs, tmp_path / "data", lengths=[20], train_stride=5, negatives=1e6)
    expected, before = [], 0
    for name, sequence in inputs.contigs.items():
        blacklist = {p for a, b in inputs.blacklist[name] for p in range(a, b)}
        for start in range(0, len(sequence) - 20 + 1, 5):
            kept = sequence[start : start + 20].count("N") <= 10 and blacklist.isdisjoint(
                range(start, start + 20)
            )
            if name in "ab" and kept:
                expected.append((before + start, name, start, sequence[start : start + 20].upper()))
        before += len(sequence)
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
def test_a_stride_leaves_held_out_stretches_as_they_were(
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
        assert_same_windows(strided.read_held_out(name), plain.read_held_out(name))
    train = strided.read(20, "train")
    assert bases(plain.read(20, "train")) <= bases(train)
    assert len(train.start) > 1.5 * plain.count(20, "train")


def test_a_stride_of_the_length_changes_nothing(inputs: Inputs, tmp_path: Path) -> None:
    plain = made(inputs, tmp_path / "plain", lengths=[20], split=STRATIFIED)
    strided = made(inputs, tmp_path / "strided", lengths=[20], split=STRATIFIED, train_stride=20)
    assert plain.manifest.files == strided.manifest.files
    assert plain.manifest.counts == strided.manifest.counts
    assert plain.manifest.stretches == strided.manifest.stretches


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"split": "contig:val=a;test=b"},
            "--train-stride: 5: with contig:val=a;test=b no window trains",
        ),
        ({"lengths": [20, 33]}, "--train-stride: 5: does not divide the length 33"),
        ({"train_stride": 40}, "--train-stride: 40: does not divide the length 20"),
    ],
)
def test_a_stride_that_does_not_fit_is_refused(
    inputs: Inputs, tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    values: dict[str, object] = {"lengths": [20], "train_stride": 5}
    with pytest.raises(InputError) as refusal:
        made(inputs, tmp_path / "data", **values | changes)
    assert message in str(refusal.value)
    assert list(tmp_path.iterdir()) == []

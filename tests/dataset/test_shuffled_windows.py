"""A shuffled order holds each window once, is fixed by its seed, and can be read in any parts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyena_ray.dataset.negative_draws import NegativeDraw
from hyena_ray.dataset.preparation import PrepareSettings, prepare
from hyena_ray.dataset.reader import PreparedData, sample_evenly
from hyena_ray.dataset.shuffled_windows import ShuffledWindows, own_part, own_rows
from hyena_ray.errors import InputError
from hyena_ray.genome.simulation import simulate_genome


def of_groups(sizes: list[int], wanted: int | None = None) -> ShuffledWindows:
    """Windows of one file with row groups of these sizes."""
    count = sum(sizes)
    groups = np.array([(0, number) for number in range(len(sizes))])
    whole = ShuffledWindows(
        files=("a",),
        groups=groups,
        starts=np.cumsum([0, *sizes]),
        by_id=np.arange(count),
        draw=NegativeDraw.of(np.zeros(count, np.uint8), None),
        buffer=10,
    )
    return whole.sample(wanted)


def in_buffers(windows: ShuffledWindows, size: int, epoch: int | None) -> list[np.ndarray]:
    return [
        windows.order(first, first + size, epoch=epoch, seed=3)
        for first in range(0, windows.count, size)
    ]


SIZES = st.lists(st.integers(1, 9), min_size=1, max_size=8)


@given(sizes=SIZES, wanted=st.integers(1, 30), size=st.integers(1, 40))
def test_the_buffers_of_an_epoch_hold_each_wanted_window_once(
    sizes: list[int], wanted: int, size: int
) -> None:
    windows = of_groups(sizes, wanted)
    expected = sample_evenly(sum(sizes), wanted).tolist()
    for epoch in (None, 0, 1):
        buffers = in_buffers(windows, size, epoch)
        assert all(len(buffer) == size for buffer in buffers[:-1])
        rows = np.concatenate(buffers).tolist()
        assert rows == expected if epoch is None else sorted(rows) == expected


@given(sizes=SIZES, size=st.integers(1, 40))
def test_buffers_follow_the_row_groups_in_the_order_of_the_epoch(
    sizes: list[int], size: int
) -> None:
    windows = of_groups(sizes)
    starts = windows.starts
    shuffled = np.random.default_rng([3, 0]).permutation(len(sizes))
    unbuffered = [row for g in shuffled for row in range(starts[g], starts[g + 1])]
    for number, buffer in enumerate(in_buffers(windows, size, 0)):
        assert sorted(buffer) == sorted(unbuffered[number * size : (number + 1) * size])


def test_epochs_and_seeds_have_orders_of_their_own() -> None:
    windows = of_groups([5] * 20)
    orders = [
        tuple(windows.order(0, 100, epoch=epoch, seed=seed)) for epoch in (0, 1) for seed in (0, 1)
    ]
    assert len(set(orders)) == 4
    assert orders[0] == tuple(windows.order(0, 100, epoch=0, seed=0))


@given(count=st.integers(1, 40), batch=st.integers(1, 12), size=st.integers(1, 5))
def test_workers_together_read_each_window_once(count: int, batch: int, size: int) -> None:
    parts = [own_rows(count, batch, rank, size) for rank in range(size)]
    read = np.sort(np.concatenate(parts))
    assert set(read) == set(range(count))
    # Only the first window of a batch is read twice, by workers that have none of their own.
    idle = sum(max(0, size - min(batch, count - first)) for first in range(0, count, batch))
    assert len(read) == count + idle
    for rank, rows in enumerate(parts):
        expected = [
            first + window
            for first in range(0, count, batch)
            for window in range(min(batch, count - first))[
                own_part(min(batch, count - first), rank, size)
            ]
        ]
        assert rows.tolist() == expected


@pytest.fixture(scope="module")
def folds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("folds")
    made = simulate_genome(folder, contig_length=60_000, tracts=400, decoys=200)
    recipe = PrepareSettings(
        task="zdna",
        genome=made.genome,
        regions=made.regions,
        lengths=(40,),
        flank=8,
        split="kfold:3",
    )
    prepare(recipe, folder / "data")
    return folder / "data"


def test_files_that_interleave_are_read_as_the_reader_reads_them(folds: Path) -> None:
    view = PreparedData.open(folds).for_fold(1)
    windows, expected = ShuffledWindows.of(view, 40, "train"), view.read(40, "train")
    tokens, labels = windows.read(windows.order(0, windows.count, epoch=None, seed=0))
    assert np.array_equal(tokens, expected.tokens)
    assert np.array_equal(labels, expected.labels)
    some = np.random.default_rng(0).permutation(windows.count)[:50]
    tokens, labels = windows.read(windows.by_id[some])
    assert np.array_equal(tokens, expected.tokens[some])
    assert np.array_equal(labels, expected.labels[some])


def test_a_bit_that_flips_after_the_check_is_refused(small_data: Path, tmp_path: Path) -> None:
    data = PreparedData.open(small_data)
    windows = ShuffledWindows.of(data, 40, "train")
    damaged = tmp_path / "damaged.parquet"
    content = bytearray(Path(windows.files[0]).read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(content)
    with pytest.raises(InputError, match="damaged"):
        replace(windows, files=(str(damaged), *windows.files[1:])).read(windows.by_id)

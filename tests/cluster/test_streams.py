"""Ray Data gives the windows that were prepared, or refuses them."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hyena_ray.cluster import streams as module
from hyena_ray.cluster.resources import Cluster
from hyena_ray.cluster.streams import StreamSource, read_files, share_data, windows_bytes
from hyena_ray.dataset.preparation import PrepareSettings, prepare
from hyena_ray.dataset.reader import PreparedData, sample_evenly
from hyena_ray.errors import InputError
from hyena_ray.genome.simulation import simulate_genome
from hyena_ray.training.held_out import HeldOut
from hyena_ray.training.loaders import WindowSource
from tests.dataset.small_genome import assert_same_windows

pytestmark = pytest.mark.usefixtures("cluster")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("windows")
    made = simulate_genome(folder, contig_length=30_000, tracts=200, decoys=100)
    settings = PrepareSettings(
        task="zdna",
        genome=made.genome,
        regions=made.regions,
        lengths=(50, 100),
        stretch=120,
        flank=16,
    )
    prepare(settings, folder / "data")
    return folder / "data"


def tokens(source: WindowSource, epoch: int | None = None, seed: int = 0) -> np.ndarray:
    return np.concatenate([b.tokens() for b in source.batches(16, epoch=epoch, seed=seed)])


def rows(array: np.ndarray) -> list[bytes]:
    return sorted(row.tobytes() for row in array)


def test_shared_windows_are_those_of_the_reader(prepared: Path, cluster: Cluster) -> None:
    data = PreparedData.open(prepared)
    shared = share_data(data, [50, 100], cluster)
    assert list(shared.train) == [50, 100]
    for length, handle in shared.train.items():
        expected = data.read(length, "train")
        source = handle.open()
        assert source.count == len(expected.window_id)
        assert np.array_equal(tokens(source), expected.tokens)
        some = expected.tokens[sample_evenly(source.count, 5)]
        assert np.array_equal(tokens(handle.open(limit=5)), some)
        assert np.array_equal(data.read(length, "train", 5).tokens, some)


def test_what_trials_are_scored_on_is_what_the_reader_gives(
    prepared: Path, cluster: Cluster
) -> None:
    data = PreparedData.open(prepared)
    for store in (cluster.object_store, 1e4):
        shared = share_data(data, [50], cluster._replace(object_store=store)).validation.get()
        expected = HeldOut.read(data, "val")
        assert_same_windows(shared.rows, expected.rows)
        np.testing.assert_array_equal(shared.weight, expected.weight)
        assert shared.task == expected.task
        assert np.array_equal(tokens(shared.source(100)), data.read(100, "val").tokens)


def test_the_memory_of_windows_is_that_of_their_arrays(prepared: Path) -> None:
    data = PreparedData.open(prepared)
    held_out = HeldOut.read(data, "val").rows
    arrays = [data.read(50, "train"), data.read(100, "train"), held_out]
    size = sum(column.nbytes for rows in arrays for column in rows if column.dtype.kind != "U")
    assert windows_bytes(data, [50, 100]) == pytest.approx(size, rel=0.25)


def test_what_does_not_fit_the_object_store_is_streamed(
    prepared: Path, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BUFFER_ROWS", 64)
    data = PreparedData.open(prepared)
    handle = share_data(data, [50], cluster._replace(object_store=1e4)).train[50]
    source, expected = handle.open(), data.read(50, "train").tokens
    assert isinstance(source, StreamSource)
    assert np.array_equal(tokens(source), expected)
    first, again, other = tokens(source, 0), tokens(source, 0), tokens(source, 1)
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert not np.array_equal(first, expected)
    assert rows(first) == rows(other) == rows(expected)
    some = expected[sample_evenly(len(expected), 40)]
    assert handle.open(limit=40).count == 40
    assert np.array_equal(tokens(handle.open(limit=40)), some)
    assert rows(tokens(handle.open(limit=40), 0)) == rows(some)


def test_a_flipped_bit_is_refused_by_the_stream(tmp_path: Path) -> None:
    whole, damaged = tmp_path / "whole.parquet", tmp_path / "damaged.parquet"
    array = pa.FixedShapeTensorArray.from_numpy_ndarray(np.full((500, 100), 7, np.uint8))
    pq.write_table(
        pa.table({"tokens": array}),
        whole,
        compression="none",
        use_dictionary=False,
        write_page_checksum=True,
    )
    content = bytearray(whole.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(content)
    assert pq.read_table(damaged).num_rows == 500, "pyarrow alone reads the wrong base silently"
    assert read_files([str(whole)], "whole").count() == 500
    with pytest.raises(Exception, match="CRC checksum"):
        read_files([str(damaged)], "damaged").materialize()


@pytest.mark.parametrize("split", ["train", "val"])
def test_a_damaged_file_is_refused_before_anything_is_shared(
    prepared: Path, tmp_path: Path, cluster: Cluster, split: str
) -> None:
    copy = tmp_path / "data"
    shutil.copytree(prepared, copy)
    path = PreparedData.open(copy).files(50, split)[0]
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match=r"part-.*prepare the data again"):
        share_data(PreparedData.open(copy), [50], cluster)

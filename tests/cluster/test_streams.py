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
from hyena_ray.cluster.streams import StreamSource, read_files, share_windows
from hyena_ray.dataset.preparation import PrepareSettings, prepare
from hyena_ray.dataset.reader import PreparedData, sample_evenly
from hyena_ray.errors import InputError
from hyena_ray.genome.simulation import simulate_genome
from hyena_ray.training.loaders import WindowSource

pytestmark = pytest.mark.usefixtures("cluster")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("windows")
    made = simulate_genome(folder, contig_length=30_000, tracts=200, decoys=100)
    settings = PrepareSettings(
        task="zdna", genome=made.genome, regions=made.regions, lengths=(50, 100), flank=16
    )
    prepare(settings, folder / "data")
    return folder / "data"


def tokens(source: WindowSource, epoch: int | None = None, seed: int = 0) -> np.ndarray:
    return np.concatenate([b.tokens() for b in source.batches(16, epoch=epoch, seed=seed)])


def rows(array: np.ndarray) -> list[bytes]:
    return sorted(row.tobytes() for row in array)


def test_shared_windows_are_those_of_the_reader(prepared: Path, cluster: Cluster) -> None:
    data = PreparedData.open(prepared)
    handles = share_windows(data, [(50, "train"), (100, "val")], cluster)
    for (length, split), handle in handles.items():
        expected = data.read(length, split)
        source = handle.open()
        assert source.count == len(expected.window_id)
        assert np.array_equal(tokens(source), expected.tokens)
        some = expected.tokens[sample_evenly(source.count, 5)]
        assert np.array_equal(tokens(handle.open(limit=5)), some)
        assert np.array_equal(data.read(length, split, 5).tokens, some)


def test_what_does_not_fit_the_object_store_is_streamed(
    prepared: Path, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BUFFER_ROWS", 64)
    data = PreparedData.open(prepared)
    handle = share_windows(data, [(50, "train")], cluster._replace(object_store=1e4))[50, "train"]
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


def test_a_damaged_file_is_refused_before_anything_is_shared(
    prepared: Path, tmp_path: Path, cluster: Cluster
) -> None:
    copy = tmp_path / "data"
    shutil.copytree(prepared, copy)
    path = PreparedData.open(copy).files(50, "train")[0]
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match=r"part-.*prepare the data again"):
        share_windows(PreparedData.open(copy), [(50, "train")], cluster)

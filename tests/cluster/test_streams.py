"""Ray Data gives the windows that were prepared, or refuses them, and feeds train alike."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray
import torch

from hyena_ray.cluster.feeds import StreamedWindows, StreamSource, share_data
from hyena_ray.cluster.streams import read_files
from hyena_ray.dataset import shuffled_windows
from hyena_ray.dataset.reader import PreparedData, sample_evenly
from hyena_ray.dataset.schema import Windows
from hyena_ray.dataset.shuffled_windows import ShuffledWindows, own_part
from hyena_ray.errors import InputError
from hyena_ray.training.data_parallel import Workers
from hyena_ray.training.held_out import HeldOut
from hyena_ray.training.loaders import Batch, DeviceRows, OwnRows, WindowSource, batches_in
from hyena_ray.training.settings import Feed, RunSettings
from hyena_ray.training.supervised import EpochReport, train_run

pytestmark = pytest.mark.usefixtures("cluster")

LENGTH, BUFFER = 40, 256
FEEDS: tuple[Feed, ...] = ("shared", "stream")
SETTINGS = RunSettings().updated(
    {
        "data.length": LENGTH,
        "data.limit": 600,
        "model.d_model": 8,
        "model.n_layer": 1,
        "model.max_seq_len": 64,
        "readout.flank": 8,
        "readout.lookahead": 8,
        "training.batch_size": 30,
        "training.epochs": 2,
        "training.shortest_crop": 30,
    },
    "test",
)


@pytest.fixture(scope="module", autouse=True)
def small_buffers() -> Iterator[None]:
    """Buffers of which an epoch has several."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shuffled_windows, "BUFFER_ROWS", BUFFER)
        yield


@pytest.fixture(scope="module")
def data(small_data: Path) -> PreparedData:
    return PreparedData.open(small_data)


@pytest.fixture(scope="module")
def stream(data: PreparedData) -> StreamedWindows:
    handle = share_data(data, [LENGTH], "stream").train[LENGTH]
    assert isinstance(handle, StreamedWindows)
    return handle


def tokens(source: WindowSource, epoch: int | None = None, seed: int = 0) -> np.ndarray:
    return np.concatenate([b.tokens() for b in source.batches(16, epoch=epoch, seed=seed)])


def rows(array: np.ndarray) -> list[bytes]:
    return sorted(row.tobytes() for row in array)


@pytest.mark.parametrize("feed", FEEDS)
def test_a_feed_yields_each_window_once_in_an_order_fixed_by_seed_and_epoch(
    data: PreparedData, feed: Feed
) -> None:
    handle = share_data(data, [LENGTH], feed).train[LENGTH]
    source, expected = handle.open(), data.read(LENGTH, "train")
    assert source.count == len(expected.window_id) > 2 * BUFFER
    assert np.array_equal(tokens(source), expected.tokens)
    orders = {key: tokens(source, *key) for key in ((0, 0), (1, 0), (0, 1))}
    assert np.array_equal(tokens(handle.open(), 0, 0), orders[0, 0])
    assert len({order.tobytes() for order in orders.values()}) == len(orders)
    for order in orders.values():
        assert rows(order) == rows(expected.tokens)
    some, limited = expected.tokens[sample_evenly(source.count, 300)], handle.open(limit=300)
    assert limited.count == 300
    assert np.array_equal(tokens(limited), some)
    assert rows(tokens(limited, 0)) == rows(some)
    labels = {
        window.tobytes(): row.tobytes()
        for window, row in zip(expected.tokens, expected.labels, strict=True)
    }
    for batch in source.batches(16, epoch=2, seed=0):
        for window, row in zip(batch.tokens().numpy(), batch.labels().numpy(), strict=True):
            assert labels[window.tobytes()] == row.tobytes()


@pytest.mark.parametrize("feed", FEEDS)
def test_what_runs_are_scored_on_is_what_the_reader_gives(data: PreparedData, feed: Feed) -> None:
    shared, expected = share_data(data, [LENGTH], feed).validation.get(), HeldOut.read(data, "val")
    for name in Windows._fields:
        assert np.array_equal(getattr(shared.rows, name), getattr(expected.rows, name))
    assert np.array_equal(shared.weight, expected.weight)
    assert shared.task == expected.task
    assert np.array_equal(tokens(shared.source(40)), data.read(40, "val").tokens)


class InOrder:
    """Windows in memory, in the order of a stream."""

    def __init__(self, data: PreparedData, limit: int | None) -> None:
        self._order = ShuffledWindows.of(data, LENGTH, "train").sample(limit)
        windows = data.read(LENGTH, "train")
        self._tokens = DeviceRows(windows.tokens, resident=True)
        self._labels = DeviceRows(windows.labels, resident=True)
        self.count = self._order.count

    def batches(self, batch_size: int, *, epoch: int | None, seed: int) -> Iterator[Batch]:
        size = max(1, BUFFER // batch_size) * batch_size
        firsts = range(0, self.count, size)
        parts = [self._order.order(i, i + size, epoch=epoch, seed=seed) for i in firsts]
        yield from batches_in(self._tokens, self._labels, np.concatenate(parts), batch_size)


def train(
    source: WindowSource,
    data: PreparedData,
    folder: Path,
    on_epoch: Callable[[EpochReport], None] = lambda report: None,
    workers: Workers | None = None,
) -> dict[str, torch.Tensor]:
    """Return the state of the last epoch's model."""
    train_run(
        SETTINGS,
        source,
        HeldOut.read(data, "val"),
        folder,
        on_epoch,
        workers or Workers(),
        fingerprint="test",
    )
    state: dict[str, Any] = torch.load(folder / "checkpoint.pt", weights_only=True)
    return dict(state["model"])


@pytest.fixture(scope="module")
def streamed(
    data: PreparedData, stream: StreamedWindows, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, torch.Tensor]:
    """Weights after two epochs of a stream, in one process."""
    source = stream.open(SETTINGS.data.limit)
    return train(source, data, tmp_path_factory.mktemp("streamed"))


def test_a_stream_and_shared_windows_in_its_order_train_to_the_same_bits(
    data: PreparedData, streamed: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    shared = train(InOrder(data, SETTINGS.data.limit), data, tmp_path)
    assert shared.keys() == streamed.keys()
    for name, weights in streamed.items():
        assert torch.equal(weights, shared[name]), name


class StoppedError(Exception):
    """The end of a run that is resumed."""


def test_a_resumed_stream_trains_to_the_bits_of_an_uninterrupted_one(
    data: PreparedData,
    stream: StreamedWindows,
    streamed: dict[str, torch.Tensor],
    tmp_path: Path,
) -> None:
    def stop(report: EpochReport) -> None:
        raise StoppedError

    with pytest.raises(StoppedError):
        train(stream.open(SETTINGS.data.limit), data, tmp_path, stop)
    resumed = train(stream.open(SETTINGS.data.limit), data, tmp_path)
    for name, weights in streamed.items():
        assert torch.equal(weights, resumed[name]), name


def as_worker(
    rank: int, size: int, stream: StreamedWindows, data_folder: Path, folder: Path
) -> tuple[dict[str, torch.Tensor], list[list[bytes]]]:
    """Train as one of several workers; return the weights and the own windows of each batch."""
    import torch.distributed as dist

    torch.set_num_threads(1)
    group = f"file://{folder / 'group'}"
    dist.init_process_group("gloo", init_method=group, rank=rank, world_size=size)
    try:
        workers = Workers(rank, size)
        source = stream.open(SETTINGS.data.limit, workers)
        read = [
            [row.tobytes() for row in batch.tokens(part=workers.part(len(batch))).numpy()]
            for batch in source.batches(30, epoch=0, seed=0)
        ]
        data = PreparedData.open(data_folder)
        train(source, data, folder / "run", workers=workers)
        dist.barrier()
        state = torch.load(folder / "run" / "checkpoint.pt", weights_only=True)
        return state["model"], read
    finally:
        dist.destroy_process_group()


@pytest.mark.slow
@pytest.mark.parametrize("size", [2, 3])
def test_a_stream_that_is_split_trains_to_the_weights_of_one_process(
    data: PreparedData,
    stream: StreamedWindows,
    streamed: dict[str, torch.Tensor],
    tmp_path: Path,
    size: int,
) -> None:
    work = ray.remote(num_cpus=0)(as_worker)
    done = ray.get([work.remote(r, size, stream, data.folder, tmp_path) for r in range(size)])
    batches = list(stream.open(SETTINGS.data.limit).batches(30, epoch=0, seed=0))
    for number, batch in enumerate(batches):
        whole = [row.tobytes() for row in batch.tokens().numpy()]
        for rank, (_, read) in enumerate(done):
            assert read[number] == whole[own_part(len(whole), rank, size)]
    weights, _ = done[0]
    for name, expected in streamed.items():
        torch.testing.assert_close(weights[name], expected, rtol=1e-3, atol=1e-5)


def test_a_worker_cannot_read_the_windows_of_another_one() -> None:
    own = OwnRows(np.arange(3)[:, None], np.array([1, 3, 5]))
    device = torch.device("cpu")
    assert own.take(np.array([3, 1]), device).tolist() == [[1], [0]]
    with pytest.raises(IndexError):
        own.take(np.array([2]), device)
    with pytest.raises(IndexError):
        own.take(np.array([6]), device)


def test_a_flipped_bit_is_refused_by_what_gathers_windows(tmp_path: Path) -> None:
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


@pytest.fixture
def copy(small_data: Path, tmp_path: Path) -> Path:
    shutil.copytree(small_data, tmp_path / "data")
    return tmp_path / "data"


@pytest.mark.parametrize("split", ["train", "val"])
@pytest.mark.parametrize("feed", FEEDS)
def test_a_damaged_file_is_refused_before_anything_is_shared(
    copy: Path, feed: Feed, split: str
) -> None:
    path = PreparedData.open(copy).files(LENGTH, split)[0]
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match=r"part-.*prepare the data again"):
        share_data(PreparedData.open(copy), [LENGTH], feed)


def test_a_bit_that_flips_while_a_stream_is_read_stops_it(copy: Path) -> None:
    data = PreparedData.open(copy)
    source = share_data(data, [LENGTH], "stream").train[LENGTH].open()
    assert isinstance(source, StreamSource)
    path = data.files(LENGTH, "train")[0]
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(InputError, match="damaged"):
        tokens(source, 0)

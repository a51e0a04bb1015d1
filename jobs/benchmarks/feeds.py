"""Both feeds of a supervised run: windows that are shared, and windows that are streamed."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import count
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from benchmarks.comparison import Comparison, Run
from benchmarks.model import PLAIN, new_model, random_windows
from hyena_ray.cluster.feeds import StreamSource
from hyena_ray.cluster.start import connect
from hyena_ray.dataset.negative_draws import NegativeDraw
from hyena_ray.dataset.schema import GROUP_ROWS, table_from_windows
from hyena_ray.dataset.shuffled_windows import BUFFER_ROWS, ShuffledWindows
from hyena_ray.model.devices import default_device, finish
from hyena_ray.training.augmentation import Augmentation
from hyena_ray.training.data_parallel import ALONE
from hyena_ray.training.loaders import ArraySource, WindowSource
from hyena_ray.training.schedules import Schedule
from hyena_ray.training.stages import stage_optimizer, training_stages
from hyena_ray.training.supervised import new_trainer, step_batches
from hyena_ray.training.trainer import Optimization

FLANK = 32
"""Bases on each side of a window of 100."""
TRAINED = 2_048
"""Windows of a trained epoch, in two buffers."""
FED = 16 * BUFFER_ROWS
"""Windows of an epoch without training."""


def benchmark_feeds(folder: Path) -> Iterator[Comparison]:
    """Compare an epoch of both feeds, with training and without.

    Ray, and the process that reads, are on the same machine as the training.
    """
    with connect(None):
        yield training(folder / "trained", TRAINED)
        yield feeding(folder / "fed", FED)


def sources(folder: Path, windows: int, buffer: int) -> dict[str, WindowSource]:
    """Return the same random windows by both feeds.

    Args:
        folder: Folder to make.
        windows: Number of windows.
        buffer: Windows of a buffer of the stream.
    """
    folder.mkdir()
    path, held = folder / "part.parquet", random_windows(windows, FLANK)
    table = table_from_windows(held)
    pq.write_table(table, path, row_group_size=GROUP_ROWS, write_page_checksum=True)
    groups = -(-windows // GROUP_ROWS)
    places = ShuffledWindows(
        files=(str(path),),
        groups=np.array([(0, group) for group in range(groups)]),
        starts=np.minimum(np.arange(groups + 1) * GROUP_ROWS, windows),
        by_id=np.arange(windows),
        draw=NegativeDraw.of(held.kind, None),
        buffer=buffer,
    )
    return {
        "ours, streamed": StreamSource(places, "benchmark", ALONE),
        "ours, shared": ArraySource(held),
    }


def training(folder: Path, windows: int) -> Comparison:
    """Compare an epoch of training; the limit trains on one batch over and over.

    Args:
        folder: Folder to make.
        windows: Windows of the epoch.
    """
    model = new_model(FLANK)
    optimizer = stage_optimizer(model, training_stages(PLAIN)[0], PLAIN.weight_decay)
    trainer = new_trainer(model, PLAIN)
    trainer.start_stage(
        Optimization.of(optimizer, Schedule(optimizer, "constant", windows, PLAIN.warmup))
    )
    fed, epochs = sources(folder, windows, windows // 2), count()

    def train(source: WindowSource) -> None:
        for step in step_batches(source, PLAIN, next(epochs), trainer.device):
            trainer.step(step)
        trainer.read_losses()

    def limit() -> None:
        batches = step_batches(fed["ours, shared"], PLAIN, 0, trainer.device)
        first = next(batches)
        for _ in range(-(-windows // PLAIN.batch_size)):
            trainer.step(first)
        trainer.read_losses()

    runs: dict[str, Run] = {who: partial(train, source) for who, source in fed.items()}
    return Comparison(
        f"an epoch of {windows:,} windows of 100 bases, {FLANK} more on each side",
        "windows/s",
        windows,
        {**runs, "limit: the same batch in every step": limit},
        trainer.device,
    )


def feeding(folder: Path, windows: int) -> Comparison:
    """Compare an epoch in which batches are augmented on the device, and nothing is trained.

    The limit reads the Parquet file from its first row to its last.

    Args:
        folder: Folder to make.
        windows: Windows of the epoch.
    """
    device, epochs = default_device(), count()
    recipe = PLAIN.updated({"reverse_complement": True}, "benchmark")

    def feed(source: WindowSource) -> None:
        epoch = next(epochs)
        augmentation = Augmentation(recipe, epoch)
        for batch in source.batches(recipe.batch_size, epoch=epoch, seed=0):
            changes = augmentation.draw(len(batch), batch.window)
            changes.make(batch.tokens(device), batch.labels(device))
        finish(device)

    fed = sources(folder, windows, BUFFER_ROWS)
    runs: dict[str, Run] = {who: partial(feed, source) for who, source in fed.items()}
    path = folder / "part.parquet"
    return Comparison(
        f"an epoch of {windows:,} windows without training",
        "windows/s",
        windows,
        {**runs, "limit: Parquet is read": lambda: pq.read_table(path)},
        device,
    )

"""The learning curve of a run, as TensorBoard reads it: a file that grows with every epoch."""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

# Not its SummaryWriter, whose flush does not wait for its thread, where errors go unheard.
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event
from tensorboardX.summary import hparams, scalar

from hyena_ray.storage import AnyPath, remove_folder

logger = logging.getLogger(__name__)

TENSORBOARD = "tensorboard"
"""Name of the folder with the event file of a run, or with one folder for each trial."""


class LearningCurve:
    """Event file of a run, which grows with every epoch; see `learning_curve`.

    Args:
        folder: Folder of the event file, on a disk or on S3.
        local: Folder on this machine in which the file is written.
        settings: Hyperparameters of the run by name.
    """

    def __init__(self, folder: AnyPath, local: Path, settings: Mapping[str, Any]) -> None:
        self._folder = folder
        self._local = local
        self._settings = {key: _plain(value) for key, value in settings.items()}
        self._writer: EventsWriter | None = None
        self._broken = False

    def add(self, epoch: int, metrics: Mapping[str, float]) -> None:
        """Write the metrics of an epoch; TensorBoard can read them when this returns.

        Args:
            epoch: Number of the epoch, from 1.
            metrics: Values by name; the same names every time.
        """
        if self._broken:
            return
        try:
            self._add(epoch, metrics)
        except OSError as error:
            # A run does not stop for want of its picture.
            self._broken = True
            logger.warning("%s: no more events for TensorBoard (%s)", self._folder, error)

    def close(self) -> None:
        """Close the event file."""
        if self._writer is not None:
            with suppress(OSError):
                self._writer.close()

    def _add(self, epoch: int, metrics: Mapping[str, float]) -> None:
        summaries = [scalar(name, value) for name, value in metrics.items()]
        if self._writer is None:
            self._local.mkdir(parents=True, exist_ok=True)
            self._writer = EventsWriter(str(self._local / "events"))
            if self._settings:
                # TensorBoard's page of hyperparameters shows the metrics that are named here.
                summaries += hparams(self._settings, dict.fromkeys(metrics, 0.0))
        for summary in summaries:
            self._writer.write_event(Event(summary=summary, step=epoch, wall_time=time.time()))
        self._writer.flush()
        if not isinstance(self._folder, Path):
            for file in self._local.iterdir():
                (self._folder / file.name).upload(file)


@contextmanager
def learning_curve(folder: AnyPath, settings: Mapping[str, Any]) -> Iterator[LearningCurve]:
    """Start the event file of a run anew; a resumed run adds its finished epochs again.

    Args:
        folder: Folder of the event file; what is in it is removed.
        settings: Hyperparameters of the run by name.
    """
    remove_folder(folder)
    with tempfile.TemporaryDirectory(prefix="hyena_ray-") as temporary:
        # What belongs on S3 is written here and uploaded anew after every epoch.
        local = folder if isinstance(folder, Path) else Path(temporary)
        curve = LearningCurve(folder, local, settings)
        try:
            yield curve
        finally:
            curve.close()


def _plain(value: Any) -> bool | int | float | str:
    """Return a value as TensorBoard takes hyperparameters."""
    return value if isinstance(value, bool | int | float | str) else str(value)

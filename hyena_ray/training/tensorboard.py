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
"""In a run's folder: its event file, or a folder with one for each trial."""


class LearningCurve:
    """Takes what a run says after every epoch; see `learning_curve`."""

    def __init__(self, folder: AnyPath, here: Path, settings: Mapping[str, Any]) -> None:
        self._folder = folder
        self._here = here
        self._settings = {key: _plain(value) for key, value in settings.items()}
        self._writer: EventsWriter | None = None
        self._broken = False

    def add(self, epoch: int, metrics: Mapping[str, float]) -> None:
        """Write the metrics of an epoch, from 1; they can be looked at when this returns."""
        if self._broken:
            return
        try:
            self._add(epoch, metrics)
        except OSError as error:
            # Nobody's training should end because of a picture of it.
            self._broken = True
            logger.warning("%s: no more events for TensorBoard (%s)", self._folder, error)

    def close(self) -> None:
        """No more epochs."""
        if self._writer is not None:
            with suppress(OSError):
                self._writer.close()

    def _add(self, epoch: int, metrics: Mapping[str, float]) -> None:
        summaries = [scalar(name, value) for name, value in metrics.items()]
        if self._writer is None:
            self._here.mkdir(parents=True, exist_ok=True)
            self._writer = EventsWriter(str(self._here / "events"))
            if self._settings:
                # Their page shows the metrics named here, which are known with the first ones.
                summaries += hparams(self._settings, dict.fromkeys(metrics, 0.0))
        for summary in summaries:
            self._writer.write_event(Event(summary=summary, step=epoch, wall_time=time.time()))
        self._writer.flush()
        if not isinstance(self._folder, Path):
            for file in self._here.iterdir():
                (self._folder / file.name).upload(file)


@contextmanager
def learning_curve(folder: AnyPath, settings: Mapping[str, Any]) -> Iterator[LearningCurve]:
    """Begin the event file of a run anew: one that goes on tells its finished epochs again.

    Args:
        folder: of the run's event file; what is in it is removed.
        settings: the run's hyperparameters, by name.
    """
    remove_folder(folder)
    with tempfile.TemporaryDirectory(prefix="hyena_ray-") as temporary:
        # Of what goes to S3, the file on this machine is sent anew after every epoch.
        here = folder if isinstance(folder, Path) else Path(temporary)
        curve = LearningCurve(folder, here, settings)
        try:
            yield curve
        finally:
            curve.close()


def _plain(value: Any) -> bool | int | float | str:
    """As the hyperparameters of TensorBoard can be."""
    return value if isinstance(value, bool | int | float | str) else str(value)

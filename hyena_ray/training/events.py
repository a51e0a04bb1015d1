"""The learning curve of a run as TensorBoard reads it: event files that grow with every epoch."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tensorboardX import SummaryWriter
from tensorboardX.summary import hparams

from hyena_ray.storage import AnyPath, remove_folder

logger = logging.getLogger(__name__)

TENSORBOARD = "tensorboard"
"""In a run's folder: its event files, or a folder of them for each trial."""


class LearningCurve:
    """Takes what a run says after every epoch; see `learning_curve`."""

    def __init__(self, folder: AnyPath, here: Path, settings: Mapping[str, Any]) -> None:
        self._folder = folder
        self._here = here
        self._settings = {key: _plain(value) for key, value in settings.items()}
        self._writer = SummaryWriter(str(here))
        self._broken = False

    def add(self, epoch: int, metrics: Mapping[str, float]) -> None:
        """Write the metrics of an epoch, from 1; they can be looked at when this returns."""
        if self._broken:
            return
        try:
            if self._settings:
                # Their page shows what `metrics` names, so that it waits for the first ones.
                for summary in hparams(self._settings, dict.fromkeys(metrics, 0.0)):
                    self._writer.file_writer.add_summary(summary)
                self._settings = {}
            for name, value in metrics.items():
                self._writer.add_scalar(name, value, epoch)
            self._writer.flush()
            if not isinstance(self._folder, Path):
                for file in self._here.iterdir():
                    (self._folder / file.name).upload(file)
        except OSError as error:
            # Nobody's training should end because of a picture of it.
            self._broken = True
            logger.warning("%s: no more events for TensorBoard (%s)", self._folder, error)

    def close(self) -> None:
        """No more epochs."""
        self._writer.close()


@contextmanager
def learning_curve(folder: AnyPath, settings: Mapping[str, Any]) -> Iterator[LearningCurve]:
    """Begin the event files of a run anew: one that goes on tells its finished epochs again.

    Args:
        folder: of the run's event files; what is in it is removed.
        settings: the run's hyperparameters, by name.
    """
    remove_folder(folder)
    with tempfile.TemporaryDirectory(prefix="hyena_ray-") as temporary:
        # Of what goes to S3 the files on this machine are sent anew after every epoch.
        here = folder if isinstance(folder, Path) else Path(temporary)
        here.mkdir(parents=True, exist_ok=True)
        curve = LearningCurve(folder, here, settings)
        try:
            yield curve
        finally:
            curve.close()


def _plain(value: Any) -> bool | int | float | str:
    """As the hyperparameters of TensorBoard can be."""
    return value if isinstance(value, bool | int | float | str) else str(value)

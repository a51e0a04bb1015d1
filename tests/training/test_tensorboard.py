"""TensorBoard sees every epoch of a run once, while it runs and after it resumed."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from hyena_ray.storage import AnyPath, S3Path, local_copy
from hyena_ray.training import tensorboard
from hyena_ray.training.tensorboard import learning_curve


def curve_in(folder: AnyPath, name: str = "f1") -> list[tuple[int, float]]:
    with local_copy(folder) as here:
        found = EventAccumulator(str(here))
        found.Reload()
        return [(event.step, event.value) for event in found.Scalars(name)]


@pytest.fixture(params=["disk", "s3"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> AnyPath:
    if request.param == "disk":
        return tmp_path / "tensorboard"
    bucket: S3Path = request.getfixturevalue("bucket")
    return bucket / "tensorboard"


def test_an_epoch_can_be_seen_during_the_run(folder: AnyPath) -> None:
    with learning_curve(folder, {"rate": 0.5, "backbone": None}) as curve:
        curve.add(1, {"f1": 0.25})
        assert curve_in(folder) == [(1, 0.25)]
        curve.add(2, {"f1": 0.5})
        assert curve_in(folder) == [(1, 0.25), (2, 0.5)]


def test_a_resumed_run_has_no_epoch_twice(folder: AnyPath) -> None:
    with learning_curve(folder, {}) as curve:
        curve.add(1, {"f1": 0.25})
        curve.add(2, {"f1": 0.125})
    with learning_curve(folder, {}) as curve:
        for epoch in (1, 2, 3):
            curve.add(epoch, {"f1": epoch / 4})
    assert curve_in(folder) == [(1, 0.25), (2, 0.5), (3, 0.75)]


def test_a_full_disk_ends_the_picture_and_not_the_run(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with (
        caplog.at_level(logging.WARNING, tensorboard.logger.name),
        learning_curve(tmp_path / "tensorboard", {}) as curve,
    ):
        curve.add(1, {"f1": 0.25})
        monkeypatch.setattr(curve._writer, "write_event", full)
        curve.add(2, {"f1": 0.5})
        curve.add(3, {"f1": 0.5})
    assert [record.message for record in caplog.records] == [
        f"{tmp_path / 'tensorboard'}: no more events for TensorBoard "
        "([Errno 28] No space left on device)"
    ]

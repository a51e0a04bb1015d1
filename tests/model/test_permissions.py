"""Weights have the permissions of every other file, and a reader without them is told so."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hyena_ray.errors import InputError
from hyena_ray.model.build import build_model
from hyena_ray.model.pretrained import read_tensors
from hyena_ray.model.saved import load_window_model, save_window_model
from hyena_ray.model.settings import LoraSettings, ModelSettings, Readout
from hyena_ray.tasks import TASKS
from tests.permissions import allowed


@contextmanager
def umask(value: int) -> Iterator[None]:
    before = os.umask(value)
    try:
        yield
    finally:
        os.umask(before)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    with umask(0o027):
        settings, readout = (
            ModelSettings(d_model=16, n_layer=1),
            Readout(window=20, flank=4, lookahead=4),
        )
        built = build_model(
            settings, readout, LoraSettings(enabled=True, rank=2), TASKS["zdna"], seed=0
        )
        save_window_model(built, tmp_path / "model")
    return tmp_path / "model"


def test_every_file_of_a_model_follows_the_umask(model: Path) -> None:
    files = [path for path in model.rglob("*") if path.is_file()]
    modes = {path.relative_to(model): stat.S_IMODE(path.stat().st_mode) for path in files}
    assert {"model.safetensors", "adapter_model.safetensors"} <= {path.name for path in modes}
    assert set(modes.values()) == {0o640}, modes


@pytest.mark.parametrize("suffix", ["safetensors", "pt"])
def test_weights_that_may_not_be_read_are_not_called_damaged(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"weights.{suffix}"
    path.write_bytes(b"anything")
    with allowed(path, 0), pytest.raises(InputError, match="permission denied; ") as refused:
        read_tensors(path)
    assert "damaged" not in str(refused.value)
    with pytest.raises(InputError, match="damaged"):
        read_tensors(path)


def test_a_model_that_may_not_be_read_is_not_called_damaged(model: Path) -> None:
    with allowed(model / "model.safetensors", 0), pytest.raises((InputError, OSError)) as refused:
        load_window_model(model)
    assert "ermission denied" in str(refused.value)
    assert "damaged" not in str(refused.value)

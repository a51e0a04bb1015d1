"""The state of an unfinished run, saved every so often, so that resuming changes no bit."""

from __future__ import annotations

import io
import zipfile
from typing import Any, NamedTuple

import torch

from hyena_ray.errors import InputError
from hyena_ray.files import atomic_file
from hyena_ray.storage import AnyPath

CHECKPOINT = "checkpoint.pt"
"""Name of the state in a run's folder."""


class TrainerState(NamedTuple):
    """State that a `Trainer` resumes from."""

    fingerprint: str
    """Identifies the run that saved it."""
    steps: int
    """Optimiser steps that are done."""
    model: dict[str, Any]
    """Weights and buffers of the last step."""
    optimizer: dict[str, Any]
    """State of the optimiser of the current stage."""
    schedule: dict[str, Any]
    """State of that optimiser's schedule."""
    scaler: dict[str, Any]
    """State of float16's gradient scaler; empty in other precisions."""
    average: dict[str, Any]
    """Moving average of the weights; empty where the last ones are kept."""
    losses: list[float]
    """Loss of every step since the last evaluation."""
    history: list[dict[str, Any]]
    """Records of all evaluations, in order."""


def save_state(path: AnyPath, state: TrainerState) -> None:
    """Write a state atomically.

    Args:
        path: File to write or replace.
        state: What is saved.
    """
    # torch's own writer does not say why it fails, such as on a full disk.
    content = io.BytesIO()
    torch.save(state._asdict(), content)
    with atomic_file(path) as temporary:
        temporary.write_bytes(content.getbuffer())


def load_state(path: AnyPath, fingerprint: str) -> TrainerState | None:
    """Read the state of a run, or None where there is none yet.

    Args:
        path: File written by `save_state`.
        fingerprint: What identifies the run that resumes.

    Raises:
        InputError: The file is damaged, or belongs to another run.
    """
    if not path.exists():
        return None
    try:
        content = io.BytesIO(path.read_bytes())
        with zipfile.ZipFile(content) as archive:  # torch does not compare the checksums in it
            if (damaged := archive.testzip()) is not None:
                raise ValueError(damaged)
        content.seek(0)
        values = torch.load(content, map_location="cpu", weights_only=True)
        state = TrainerState(**values)
    except Exception as error:  # torch raises RuntimeError, EOFError, UnpicklingError, KeyError...
        raise InputError(
            path, None, f"damaged checkpoint ({type(error).__name__})", "delete it and start again"
        ) from None
    if state.fingerprint != fingerprint:
        raise InputError(
            path,
            state.fingerprint[:12],
            f"belongs to other settings than these ({fingerprint[:12]})",
            "resume with the settings of the first start, or give a new folder",
        )
    return state

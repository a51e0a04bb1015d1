"""The state of an unfinished run, saved every so often, so that resuming changes no bit."""

from __future__ import annotations

import io
from typing import Any, NamedTuple, Protocol, TypeVar

import torch

from hyena_ray.errors import InputError
from hyena_ray.files import atomic_file
from hyena_ray.storage import AnyPath

CHECKPOINT = "checkpoint.pt"
"""In a run's folder: its state."""


class State(Protocol):
    """A NamedTuple of what a run needs to go on."""

    @property
    def fingerprint(self) -> str:
        """Of the settings."""
        ...

    def _asdict(self) -> dict[str, Any]: ...


StateType = TypeVar("StateType", bound=State)


class RunState(NamedTuple):
    """What `train_run` needs to go on after `epoch`."""

    fingerprint: str
    """Of the settings; see `RunSettings.fingerprint`."""
    epoch: int
    """Last finished epoch, from 0."""
    model: dict[str, Any]
    optimizer: dict[str, Any]
    schedule: dict[str, Any]
    scaler: dict[str, Any]
    """Of float16's gradients; empty in other precisions."""
    average: dict[str, Any]
    """Of the weights; empty where the last ones are kept."""
    history: list[dict[str, float]]
    """Metrics of every finished epoch."""


def save_state(path: AnyPath, state: State) -> None:
    """Write the state atomically."""
    with atomic_file(path) as temporary:
        torch.save(state._asdict(), temporary)


def load_state(path: AnyPath, fingerprint: str, kind: type[StateType]) -> StateType | None:
    """Read a state of this kind, or None where there is none yet.

    Raises:
        InputError: it is damaged, or belongs to a run with other settings.
    """
    if not path.exists():
        return None
    try:
        values = torch.load(io.BytesIO(path.read_bytes()), map_location="cpu", weights_only=True)
        state = kind(**values)
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

"""The device that a process computes on: its choice, precision, memory and transfers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hyena_ray.errors import InputError
from hyena_ray.model.settings import Precision
from hyena_ray.progress import count_noun

ACTIVATIONS = {
    "float32": torch.float32,
    "tf32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}
"""Dtype of the activations under each precision."""
AMPERE = (8, 0)
"""Compute capability of the first GPUs that support TF32 and bfloat16."""

Result = TypeVar("Result")


class DeviceError(InputError):
    """A device does not support the precision, or has too little memory for the smallest batch."""


def default_device() -> torch.device:
    """Return the first GPU that this process may use, or the CPU where there is none.

    Example:
        >>> default_device().type in ("cuda", "cpu")
        True
    """
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def model_device(model: nn.Module) -> torch.device:
    """Return the device that a model is on.

    Args:
        model: Model with all of its weights on one device.
    """
    return next(model.parameters()).device


def device_name(device: torch.device) -> str:
    """Return the name of a device for people, such as `NVIDIA H200` or `CPU`.

    Args:
        device: A GPU, or the CPU.
    """
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"


def check_precision(precision: Precision, device: torch.device, place: str) -> None:
    """Refuse a precision that a device does not support.

    Args:
        precision: Precision to check.
        device: Device that computes.
        place: Setting that gives the precision, for the message.

    Raises:
        DeviceError: float16 or tf32 without a GPU; tf32 or bfloat16 on a GPU older than Ampere.
    """
    if precision == "float32" or (precision == "bfloat16" and device.type == "cpu"):
        return
    if device.type == "cpu":
        raise DeviceError(
            place, precision, "needs a GPU, and this process has none", "use float32 or bfloat16"
        )
    capability = torch.cuda.get_device_capability(device)
    if precision != "float16" and capability < AMPERE:
        version = ".".join(map(str, capability))
        raise DeviceError(
            place,
            precision,
            f"needs compute capability 8.0, and {device_name(device)} has {version}",
            "use float32 or float16",
        )


@contextmanager
def arithmetic(precision: Precision) -> Iterator[None]:
    """Compute with a precision, and deterministically, inside the block.

    With `tf32`, matrix products and the convolutions and recurrent layers of cuDNN use TF32.
    Otherwise none of them does, although torch enables TF32 for cuDNN by default. cuDNN is limited
    to deterministic algorithms; their cost has not been measured. The dtype of activations is left
    to autocast.

    Args:
        precision: Precision inside the block.
    """
    rounded = precision == "tf32"
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if rounded else "highest")
    try:
        with torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=rounded):
            yield
    finally:
        torch.set_float32_matmul_precision(before)


def upload(array: NDArray[Any], device: torch.device) -> Tensor:
    """Return an array as a tensor on a device, without synchronising with the device.

    The copy to a GPU is made from pinned memory, in stream order. On the CPU the tensor shares the
    memory of the array.

    Args:
        array: Any array.
        device: Device that the tensor is on.
    """
    if not array.flags.writeable:
        # torch warns of read-only arrays, such as those of Ray's object store.
        array = array.copy()
    if device.type != "cuda":
        return torch.from_numpy(array)
    return torch.from_numpy(np.ascontiguousarray(array)).pin_memory().to(device, non_blocking=True)


def download(tensor: Tensor) -> Callable[[], NDArray[Any]]:
    """Start to copy a tensor to the host, and return a function that waits for the array.

    The copy from a GPU is made to pinned memory, in stream order, and waiting for it does not keep
    the processor busy. On the CPU the array shares the memory of the tensor.

    Args:
        tensor: Any tensor that needs no gradient.
    """
    if tensor.device.type != "cuda":
        return tensor.numpy
    pinned = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    pinned.copy_(tensor, non_blocking=True)
    copied = torch.cuda.Event(blocking=True)
    copied.record(torch.cuda.current_stream(tensor.device))

    def wait() -> NDArray[Any]:
        copied.synchronize()
        array: NDArray[Any] = pinned.numpy()
        return array

    return wait


def peak_bytes(device: torch.device) -> int | None:
    """Return the peak memory that this process has allocated on a GPU, in bytes; None on the CPU.

    Args:
        device: A GPU, or the CPU.
    """
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None


def finish(device: torch.device) -> None:
    """Synchronise with a device, for example before a clock is read.

    Args:
        device: A GPU; on the CPU there is nothing to wait for.
    """
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def halving(size: int, attempt: Callable[[int], Result], place: str, noun: str) -> Result:
    """Return `attempt(size)`, halving the size each time that the device runs out of memory.

    Args:
        size: Size of the first attempt, at least 1.
        attempt: Work whose memory grows with the size, and that may be started again.
        place: Setting that gives the size, for the message.
        noun: Unit of the size in the singular, such as `window`.

    Raises:
        DeviceError: The device runs out of memory at size 1.
    """
    while True:
        try:
            return attempt(size)
        except torch.OutOfMemoryError as error:
            if size <= 1:
                raise memory_error(
                    error,
                    place,
                    count_noun(1, noun),
                    "use a GPU with more memory, give each process more of it (--gpu), use shorter "
                    "windows, or --gpu 0 for the CPU",
                ) from None
        # Not in the handler: its traceback still references the tensors of the attempt.
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        size //= 2


def memory_error(error: torch.OutOfMemoryError, place: str, value: str, remedy: str) -> DeviceError:
    """Return the one-line error for work that does not fit into the memory of a GPU.

    Args:
        error: Error of torch.
        place: Setting that determines how much memory is needed, for the message.
        value: Its value, in words.
        remedy: What the user can do.
    """
    needed = str(error).partition(". ")[0]
    return DeviceError(place, value, f"the GPU runs out of memory ({needed})", remedy)

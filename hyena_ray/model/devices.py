"""The device that a process computes on."""

from __future__ import annotations

import torch


def default_device() -> torch.device:
    """Return the first GPU that this process may use, or the CPU where there is none.

    Example:
        >>> default_device().type in ("cuda", "cpu")
        True
    """
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")

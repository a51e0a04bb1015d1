"""Tests of this folder need a CUDA device."""

from __future__ import annotations

import pytest
import torch


@pytest.fixture(autouse=True)
def _cuda_device() -> None:
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")

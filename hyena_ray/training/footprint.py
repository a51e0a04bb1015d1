"""Estimate the GPU memory that a supervised run takes, so that small runs can share a GPU."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain

import torch
from torch import Tensor, nn

from hyena_ray.dataset.tokens import N_TOKEN
from hyena_ray.genome.signal_scale import SignalScale, level_columns
from hyena_ray.training.evaluation import EVALUATION_BATCH
from hyena_ray.training.preflight import build_untrained
from hyena_ray.training.settings import RunSettings

BYTES_PER_WEIGHT = 20
"""A weight, its gradient, both moments of AdamW and the moving average, each in float32."""
ACTIVATIONS = 3
"""Memory of a pass relative to what autograd saves in it: the gradients of the activations, and the
workspaces together with the allocator's fragmentation, take at most as much again each."""


def training_bytes(runs: Iterable[RunSettings], scales: Sequence[SignalScale] = ()) -> float:
    """Return the GPU memory that the largest of some runs takes, without its windows, in bytes.

    Each model is built on the CPU and run on one window and then on two, while the tensors that
    autograd saves are counted.

    Args:
        runs: Settings of the runs.
        scales: Scales of the tracks of the data.

    Raises:
        InputError: The settings or their backbone make no model.
    """
    # Runs with the same model differ only in their batch size: the largest one is kept.
    rising = sorted(runs, key=lambda run: run.training.batch_size)
    different = {repr((run.model, run.readout, run.lora, run.data.length)): run for run in rising}
    return max(_training_bytes(run, scales) for run in different.values())


def _training_bytes(run: RunSettings, scales: Sequence[SignalScale]) -> float:
    model = build_untrained(run, scales).train()
    bases = model.readout.window + 2 * model.readout.required_flank
    # Levels of tracks behind a token need not be such: a pass takes the same memory.
    columns = level_columns(model.readout.scales)
    tokens = torch.full((2, bases, 1 + columns) if columns else (2, bases), N_TOKEN)
    one, two = (saved_bytes(model, tokens[:rows]) for rows in (1, 2))
    training, scoring = (
        one + (rows - 1) * (two - one) for rows in (run.training.batch_size, EVALUATION_BATCH)
    )
    weights = sum(parameter.numel() for parameter in model.parameters())
    # Scoring saves nothing for a backward pass: it takes less than a training pass would save.
    return BYTES_PER_WEIGHT * weights + max(ACTIVATIONS * training, scoring)


def saved_bytes(model: nn.Module, inputs: Tensor) -> int:
    """Return the bytes that autograd saves in a forward pass, without the model's own weights.

    Args:
        model: Any model.
        inputs: Input of the model.
    """
    own = {_address(tensor) for tensor in chain(model.parameters(), model.buffers())}
    saved: dict[int, Tensor] = {}

    def save(tensor: Tensor) -> Tensor:
        saved[_address(tensor)] = tensor  # a reference, or another tensor could get its address
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(save, lambda tensor: tensor):
        model(inputs)
    return sum(saved[each].untyped_storage().nbytes() for each in saved.keys() - own)


def _address(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()

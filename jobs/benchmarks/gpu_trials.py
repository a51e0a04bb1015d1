"""Several small trials on one GPU, concurrently and in sequence."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.synchronize import Barrier
from typing import NamedTuple

import torch

from benchmarks.comparison import Comparison
from benchmarks.gpu_training import FLANK, train_ours, training_work
from benchmarks.limits import Limits
from benchmarks.model import new_model, random_windows
from benchmarks.operations import Work
from hyena_ray.model.devices import finish

PATIENCE = 120.0
"""Longest time in seconds that processes wait for each other to start."""


class Sizes(NamedTuple):
    """Number of trials, and the amount of training in each."""

    trials: int = 4
    """Number of trials, each in a process of its own."""
    batch: int = 32
    """Windows of a step."""
    steps: int = 1_000
    """Steps of a trial: a second or more."""


def of_trials(sizes: Sizes, device: torch.device, limits: Limits) -> Comparison:
    """Compare concurrent trials with the same trials in sequence.

    Each trial trains a tiny-1k. The processes start beforehand, and end when the comparison is
    dropped.

    Args:
        sizes: Number of trials, and the amount of training in each.
        device: Device that the trials share.
        limits: Limits of the device.
    """
    work = training_work(new_model(FLANK), sizes.trials * sizes.batch * sizes.steps)
    context = multiprocessing.get_context("spawn")
    given = (context.Barrier(sizes.trials), sizes, device)
    pool = ProcessPoolExecutor(sizes.trials, context, start, given)
    list(pool.map(abs, range(sizes.trials)))  # returns when all have met at the barrier

    def at_once() -> Work:
        list(pool.map(train, range(sizes.trials)))
        return work

    def in_turn() -> Work:
        for number in range(sizes.trials):
            pool.submit(train, number).result()
        return work

    return Comparison(
        f"{sizes.trials} small trials, batch {sizes.batch}",
        "windows/s",
        work.units,
        {"ours: all at once": at_once, "peer: in sequence": in_turn},
        device,
        limits,
    )


_TRIAL: list[Callable[[], None]] = []
"""The training of this process, as its only element."""


def start(barrier: Barrier, sizes: Sizes, device: torch.device) -> None:
    """Make the model of a process, and wait for the other processes."""
    torch.set_num_threads(1)
    windows = random_windows(sizes.batch * sizes.steps, FLANK)
    run = train_ours(new_model(FLANK).to(device), windows, sizes.batch, "float32")

    def trial() -> None:
        run()
        finish(device)

    _TRIAL.append(trial)
    barrier.wait(PATIENCE)


def train(number: int) -> None:
    """Train the model of this process, and synchronise with the device."""
    [trial] = _TRIAL
    trial()

"""The convolution, and one step of training."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.optim import AdamW
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.comparison import CPU, Comparison, Run
from benchmarks.operations import STEP, flop_per_position
from benchmarks.published import PlainHyenaDNA
from hyena_ray.dataset.schema import Windows
from hyena_ray.model.build import build_model
from hyena_ray.model.convolution import convolve, prepare_filters
from hyena_ray.model.settings import LoraSettings, ModelSettings, Readout
from hyena_ray.model.window import WindowModel
from hyena_ray.tasks import TASKS
from hyena_ray.training.loaders import ArraySource
from hyena_ray.training.losses import class_weights
from hyena_ray.training.schedules import Schedule
from hyena_ray.training.settings import TrainingSettings
from hyena_ray.training.stages import stage_optimizer, training_stages
from hyena_ray.training.supervised import new_trainer, step_batches
from hyena_ray.training.trainer import Optimization

PLAIN = TrainingSettings(reverse_complement=False, schedule="constant", weight_decay=0.0)
"""Settings with which a step does what a plain loop does."""
LABELLED = slice(40, 60)
"""Bases of random windows that have a label."""


def new_model(flank: int = 32, length: int = 100) -> WindowModel:
    """Return the published tiny-1k with random weights, for windows on one strand."""
    readout = Readout(window=length, flank=flank, lookahead=flank, strands="forward")
    settings = ModelSettings(filters="published", max_seq_len=1026, head="linear")
    return build_model(settings, readout, LoraSettings(), TASKS["zdna"], seed=0)


def random_windows(count: int, flank: int = 32, length: int = 100) -> Windows:
    """Return windows of random bases, of which `LABELLED` have a label."""
    rng = np.random.default_rng(0)
    ids = np.arange(count)
    tokens = rng.integers(7, 11, (count, length + 2 * flank), np.uint8)
    labels = np.zeros((count, length), np.int8)
    labels[:, LABELLED] = 1
    return Windows(ids, np.full(count, "c"), ids * length, tokens, labels, np.ones(count, np.uint8))


def peak_products(flop: float, device: torch.device = CPU) -> Run:
    """Return a run of as many products of 1,024 x 1,024 matrices as take `flop` operations."""
    a = torch.randn(1024, 1024, device=device)

    def run() -> None:
        for _ in range(max(1, round(flop / (2 * 1024**3)))):
            a @ a

    return run


def benchmark_convolution(folder: Path) -> list[Comparison]:
    """Compare Toeplitz product and FFT, forward and backward, at tiny-1k's width and 32 windows."""
    found = []
    for length in (64, 128, 164, 256, 512, 1024):
        u = torch.randn(128, length, 32, requires_grad=True)
        filters = torch.randn(128, length, requires_grad=True)

        def run(method: str, u: Tensor = u, filters: Tensor = filters) -> None:
            prepared = prepare_filters(filters, method)  # type: ignore[arg-type]
            torch.autograd.grad(convolve(u, prepared, method).sum(), [u, filters])  # type: ignore[arg-type]

        found.append(
            Comparison(
                f"convolution of {length} bases",
                "windows/s",
                32,
                {method: partial(run, method) for method in ("toeplitz", "fft")},
            )
        )
    return found


def benchmark_training(folder: Path) -> list[Comparison]:
    """Time an epoch of windows of 100 bases, without flanks and with 32 bases on each side."""
    return [training(flank) for flank in (0, 32)]


def training(flank: int) -> Comparison:
    """Compare ours with a plain loop over a model of the published design, in two precisions.

    Both start from the same weights and do the same steps of AdamW on the same windows, each label
    read 2 * flank positions into the input; the limit does only the weights' matrix products, for
    all positions, at peak.
    """
    model, windows = new_model(flank), random_windows(640, flank)
    source = ArraySource(windows)
    plain = PlainHyenaDNA(model.classifier)
    read = slice(2 * flank, 2 * flank + 100)

    def ours(precision: str) -> None:
        recipe = PLAIN.updated({"precision": precision}, "benchmark")
        optimizer = stage_optimizer(model, training_stages(recipe)[0], recipe.weight_decay)
        schedule = Schedule(optimizer, recipe.schedule, source.count, recipe.warmup)
        trainer = new_trainer(model, recipe)
        trainer.start_stage(Optimization.of(optimizer, schedule))
        for batch in step_batches(source, recipe, 0, trainer.device):
            trainer.step(batch)

    def peer(precision: str) -> None:
        optimizer = AdamW(plain.parameters(), lr=PLAIN.learning_rate, weight_decay=0.0)
        tokens, labels = torch.from_numpy(windows.tokens), torch.from_numpy(windows.labels)
        loader = DataLoader(TensorDataset(tokens.long(), labels.long()), 32, shuffle=True)
        for ids, target in loader:
            with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
                logits = plain(ids)[:, read].float()
            loss = F.cross_entropy(logits.flatten(0, 1), target.flatten(), class_weights(PLAIN))
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(plain.parameters(), PLAIN.clip_norm)
            optimizer.step()

    return Comparison(
        f"training, one epoch of windows of 100 bases, {flank} more on each side, in batches of 32",
        "windows/s",
        source.count,
        {
            "ours": lambda: ours("float32"),
            "peer: plain PyTorch, published design": lambda: peer("float32"),
            "limit: matrix product": peak_products(
                source.count * windows.tokens.shape[1] * STEP * flop_per_position(model)
            ),
            "ours, bfloat16": lambda: ours("bfloat16"),
            "peer, bfloat16": lambda: peer("bfloat16"),
        },
    )

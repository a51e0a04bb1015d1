"""Steps of next-base pretraining, and the cost per base in windows of 1 to 32 kb."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F
from torch.optim import AdamW

from benchmarks.comparison import Comparison, Run
from benchmarks.figures import Figures, Rows
from benchmarks.model import peak_products
from benchmarks.operations import STEP, flop_per_position
from benchmarks.published import PlainHyenaDNA, matrix_products
from hyena_ray.model.classifier import HyenaDNAClassifier
from hyena_ray.model.configuration import HyenaConfig
from hyena_ray.model.devices import finish, model_device
from hyena_ray.model.settings import Precision
from hyena_ray.training.genome_stream import PackedBases, WindowStream
from hyena_ray.training.pretraining import NextBase, new_optimizer, new_pretrainer, step_batch
from hyena_ray.training.schedules import Schedule
from hyena_ray.training.settings import PretrainSettings
from hyena_ray.training.trainer import LOOK, Optimization

KB = 1024
TOKENS = 32 * KB
"""Bases of a step, the default of `pretrain`."""
LENGTHS = (1, 2, 4, 8, 16, 32)
"""Lengths of windows in kb."""
GENOME = 1 << 22
"""Number of random bases."""


def benchmark_pretraining(folder: Path) -> list[Comparison | Figures]:
    return [steps(KB, TOKENS), cost_per_base(LENGTHS, TOKENS)]


def settings_of(length: int, tokens: int, precision: Precision = "float32") -> PretrainSettings:
    """Return settings with tiny-1k's sizes and published filters, at one length, in one pass."""
    changes: dict[str, Any] = {
        "model.filters": "published",
        "training.lengths": [length],
        "training.tokens_per_step": tokens,
        "training.tokens_per_pass": tokens,
        "training.precision": precision,
    }
    return PretrainSettings().updated(changes, "benchmark")


def ours(length: int, tokens: int, precision: Precision = "float32") -> tuple[Run, NextBase]:
    """Return a step of our trainer, which also cuts windows from packed bases, and its model.

    The step runs on the GPU if there is one.
    """
    settings = settings_of(length, tokens, precision)
    codes = np.random.default_rng(0).integers(0, 4, GENOME, np.uint8)
    stream = WindowStream(PackedBases.of([(0, codes)]), settings)
    trainer = new_pretrainer(settings)
    model, recipe = trainer.model, settings.training
    assert isinstance(model, NextBase)
    optimizer = new_optimizer(model, recipe)
    schedule = Schedule(optimizer, "constant", 1, 0.0)
    trainer.start_stage(Optimization(optimizer, schedule, list(model.parameters())))
    number = count()

    def run() -> None:
        trainer.step(step_batch(stream.batch(next(number)), recipe, trainer.device))
        if trainer.steps % LOOK[trainer.device.type] == 0:
            trainer.read_losses()

    return run, model


def plain_of(model: NextBase) -> PlainHyenaDNA:
    """Return the published design with the same weights, which labels a base with the next one."""
    sizes = model.model.config
    config = HyenaConfig(**asdict(sizes) | {"num_labels": sizes.padded_vocab_size})
    with_labels = HyenaDNAClassifier(config)
    with_labels.hyena.load_state_dict(model.model.hyena.state_dict())
    with_labels.score.load_state_dict(model.model.lm_head.state_dict())
    return PlainHyenaDNA(with_labels).to(device_of(model))


def device_of(model: NextBase) -> torch.device:
    """Return the device of a model."""
    return model_device(model)


def peer(
    model: NextBase,
    length: int,
    tokens: int,
    precision: Precision = "float32",
    *,
    compiled: bool = False,
) -> Run:
    """Return the same step as a plain loop over the published design, from the same weights.

    Its windows have been cut and reverse-complemented beforehand, and are on the device.

    Args:
        model: Model of our trainer.
        length: Bases of a window.
        tokens: Bases of a step.
        precision: Arithmetic of the passes.
        compiled: Whether the model is compiled with torch.compile.
    """
    plain = plain_of(model)
    passes = torch.compile(plain, dynamic=False) if compiled else plain
    recipe, device = settings_of(length, tokens).training, plain.device
    optimizer = AdamW(
        plain.parameters(), lr=recipe.learning_rate, weight_decay=0.1, fused=device.type == "cuda"
    )
    ids = torch.randint(7, 11, (tokens // length, length), device=device)

    def run() -> None:
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16"):
            logits = passes(ids)
        loss = F.cross_entropy(logits[:, :-1].flatten(0, 1).float(), ids[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(plain.parameters(), recipe.clip_norm)
        optimizer.step()

    def in_its_precision() -> None:
        with matrix_products(precision):
            run()

    return in_its_precision


def steps(length: int, tokens: int) -> Comparison:
    """Compare ours with the published design and with the weights' matrix products at peak."""
    mine, model = ours(length, tokens)
    rounded, _ = ours(length, tokens, "bfloat16")
    device, flop = device_of(model), tokens * STEP * flop_per_position(model)
    return Comparison(
        f"pretraining, a step of {tokens // length} windows of {length} bases",
        "bases/s",
        tokens,
        {
            "ours": mine,
            "peer: plain PyTorch, published design": peer(model, length, tokens),
            "limit: matrix product": peak_products(flop, device),
            "ours, bfloat16": rounded,
            "peer, bfloat16": peer(model, length, tokens, "bfloat16"),
        },
        device,
    )


def cost_per_base(lengths: tuple[int, ...], tokens: int) -> Figures:
    """Time steps of the same number of bases in fewer and longer windows.

    The cost of an FFT per base grows with the logarithm of its length. The last column is the cost
    relative to the first length, divided by the same ratio of the logarithms.
    """
    runs: dict[int, dict[str, Callable[[], object]]] = {}
    for kb in lengths:
        mine, model = ours(kb * KB, tokens)
        device = device_of(model)
        runs[kb] = {"ours": mine, "peer": peer(model, kb * KB, tokens)}
        for run in runs[kb].values():
            run()

    def measure() -> Rows:
        rows: dict[str, dict[str, float]] = {}
        first: dict[str, float] = {}
        for kb, parties in runs.items():
            cells: dict[str, float] = {}
            for who, run in parties.items():
                finish(device)
                started = time.perf_counter()
                run()
                finish(device)
                cells[f"{who} us/base"] = 1e6 * (time.perf_counter() - started) / tokens
            first = first or cells
            cells["ours over first"] = cells["ours us/base"] / first["ours us/base"]
            logarithm = math.log2(2 * kb * KB) / math.log2(2 * lengths[0] * KB)
            cells["over logarithm"] = cells["ours over first"] / logarithm
            rows[f"{kb} kb"] = cells
        return rows

    return Figures(f"cost of a base, steps of {tokens} bases", measure)

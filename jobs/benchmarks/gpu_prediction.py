"""Prediction of a genome on a GPU, as a whole job, next to the model alone."""

from __future__ import annotations

import atexit
import itertools
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import torch

from benchmarks.comparison import Comparison
from benchmarks.limits import Limits
from benchmarks.operations import FORWARD, Work, pass_cost
from hyena_ray.cluster.start import connect
from hyena_ray.genome.simulation import simulate_genome
from hyena_ray.model.devices import halving, model_device
from hyena_ray.model.filters import frozen_filters
from hyena_ray.model.saved import save_window_model
from hyena_ray.model.window import WindowModel
from hyena_ray.training.supervised import new_model
from hyena_ray.workflows.predict import PredictSettings, execute, validate
from hyena_ray.workflows.presets import load_preset

PRESET = "zdna/best"
"""Preset whose sizes the model has."""
CALLED = 0.9
"""Threshold of the untrained model, whose probabilities are about 0.5: few bases are called, as by
a trained one."""


class Sizes(NamedTuple):
    """How much is predicted."""

    bases: int = 13_000_000
    """Bases of the genome, as many as of chr20 in RESULTS.md."""
    batch: int = 16_384
    """Windows of a pass of the model alone; halved until they fit."""
    passes: int = 8
    """Passes of the model alone."""
    changes: tuple[tuple[str, Any], ...] = ()
    """Settings of the model that are not the preset's."""


def of_prediction(folder: Path, sizes: Sizes, device: torch.device, limits: Limits) -> Comparison:
    """Compare the whole job after Ray's start with the passes of its model.

    The job reads a simulated genome, starts actors with all the resources that it takes by default,
    and writes track and regions. Windows overlap by half.

    Args:
        folder: Folder to work in.
        sizes: How much is predicted.
        device: Device of the model alone.
        limits: Limits of the device.
    """
    settings = load_preset(PRESET).run_settings(gpu=False)
    model = new_model(settings.updated(dict(sizes.changes), "benchmark")).to(device).eval()
    model.threshold = CALLED
    save_window_model(model, folder / "model")
    genome = simulate_genome(
        folder, contigs=1, contig_length=sizes.bases, tracts=1, decoys=1
    ).genome
    numbers = itertools.count()
    cluster = ExitStack()
    cluster.enter_context(connect(None))
    atexit.register(cluster.close)

    def job() -> Work:
        out = folder / f"predicted-{next(numbers)}"
        execute(validate(PredictSettings(model=folder / "model", genome=genome, out=out)))
        return work_of(model, sizes.bases)

    def model_alone() -> Work:
        with torch.inference_mode(), frozen_filters(model):
            return halving(
                sizes.batch, lambda batch: scored(model, batch, sizes.passes), "benchmark", "window"
            )

    return Comparison(
        f"prediction of {sizes.bases / 1e6:.3g} Mb, both strands, windows that overlap by half",
        "Mb/s",
        sizes.bases / 1e6,
        {"ours: the whole job after Ray's start": job, "limit: the model alone": model_alone},
        device,
        limits,
    )


def scored(model: WindowModel, batch: int, passes: int) -> Work:
    """Score random windows that are on the device, and leave the scores there.

    Args:
        model: Model in evaluation mode.
        batch: Windows of a pass.
        passes: Number of passes.
    """
    readout, device = model.readout, model_device(model)
    shape = (batch, readout.window + 2 * readout.required_flank)
    tokens = torch.randint(7, 11, shape, dtype=torch.uint8, device=device)
    for _ in range(passes):
        model.predict(tokens).softmax(-1)
    return work_of(model, batch * passes * readout.window / 2)


def work_of(model: WindowModel, bases: float) -> Work:
    """Return the work, in Mb, of scoring bases on all strands in windows that overlap by half.

    Args:
        model: Model of bases.
        bases: Number of bases.
    """
    strands = 2 if model.readout.strands == "both" else 1
    length = model.left + model.readout.window + model.right
    of_window = pass_cost(model, model.classifier.config, length, FORWARD).times(strands)
    return Work(bases / 1e6, of_window.times(bases / (model.readout.window / 2)))

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

PRESET = "zdna/lookahead_head_tracks"
"""Preset from which the model takes its sizes."""
CALLED = 0.9
"""Threshold of the untrained model. Its probabilities are about 0.5, so few bases are called, as
with a trained model."""


class Sizes(NamedTuple):
    """Amount of work of the prediction."""

    bases: int = 13_000_000
    """Bases of the genome; as many of chr20 are predicted in RESULTS.md."""
    batch: int = 16_384
    """Windows of a pass of the model alone, halved until a pass fits into memory."""
    passes: int = 8
    """Number of passes of the model alone."""
    changes: tuple[tuple[str, Any], ...] = ()
    """Settings of the model that differ from the preset."""


def of_prediction(folder: Path, sizes: Sizes, device: torch.device, limits: Limits) -> Comparison:
    """Compare the whole job, without the start of Ray, with the passes of its model alone.

    The job reads a simulated genome, starts actors with their default resources, and writes track
    and regions. Windows overlap by half.

    Args:
        folder: Folder to work in.
        sizes: Amount of work.
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
        execute(validate(PredictSettings(model=(folder / "model",), genome=genome, out=out)))
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
    """Score random windows on the device, without copying the scores to the host.

    Args:
        model: Model in evaluation mode.
        batch: Windows of a pass.
        passes: Number of passes.
    """
    readout, device = model.readout, model_device(model)
    shape = (batch, readout.window + 2 * readout.required_flank)
    tokens = torch.randint(7, 11, shape, dtype=torch.uint8, device=device)
    for _ in range(passes):
        model.probability(tokens)
    return work_of(model, batch * passes * readout.window / 2)


def work_of(model: WindowModel, bases: float) -> Work:
    """Return the work, in Mb, of scoring bases in windows that overlap by half.

    Args:
        model: Model of bases, on whose strands the cost depends.
        bases: Number of bases.
    """
    strands = 2 if model.readout.strands == "both" else 1
    length = model.left + model.readout.window + model.right
    of_window = pass_cost(model, model.classifier.config, length, FORWARD).times(strands)
    return Work(bases / 1e6, of_window.times(bases / (model.readout.window / 2)))

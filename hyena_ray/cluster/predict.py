"""Prediction on a pool of actors: probabilities and regions of a whole genome under one model."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch

from hyena_ray.cluster.folder import check_output, only_writer
from hyena_ray.cluster.pool import Shards, run_shards
from hyena_ray.cluster.progress import Progress
from hyena_ray.cluster.resources import Cluster, Resources, fit_resources
from hyena_ray.cluster.start import connect
from hyena_ray.dataset.manifest import MANIFEST
from hyena_ray.dataset.sharded import PLAN
from hyena_ray.errors import InputError
from hyena_ray.files import write_json
from hyena_ray.model.saved import load_window_model
from hyena_ray.prediction.pieces import (
    SEQUENCES,
    PredictionPlan,
    count_windows,
    missing_pieces,
    piece_is_complete,
    plan_prediction,
    require_base_labels,
    run_piece,
    write_sequences,
)
from hyena_ray.prediction.prediction_record import (
    ExpectedPrecision,
    PredictionRecord,
    expected_precision,
)
from hyena_ray.prediction.region_calling import BED, TABLE, TRACK, PredictionResult, write_results
from hyena_ray.prediction.settings import RegionSettings
from hyena_ray.progress import counted
from hyena_ray.storage import AnyPath, remove_folder

logger = logging.getLogger(__name__)


class PredictOptions(NamedTuple):
    """What the command line of the prediction job says."""

    model: AnyPath
    """Folder of the model."""
    genome: AnyPath
    out: AnyPath
    contigs: Sequence[str] | None
    """To score; None takes all."""
    threshold: float | None
    """None takes the model's."""
    min_length: int
    merge_gap: int
    overlap: int | None
    """None takes half a window."""
    batch: int
    actors: int | None
    """At once; None takes as many as the cluster holds."""
    resources: Resources
    resume: bool
    overwrite: bool
    address: str | None
    """Ray cluster; see `connect`."""


class Prediction(NamedTuple):
    """What a prediction leaves."""

    result: PredictionResult
    plan: PredictionPlan
    settings: RegionSettings
    expected: ExpectedPrecision | None
    out: AnyPath


def predict(options: PredictOptions) -> Prediction:
    """Do a whole prediction, or what is left of one. `manifest.json` is written last.

    A complete one that is resumed with other settings of regions gets new regions, and no base is
    scored again.

    Raises:
        InputError: bad options or files, a model of sequences, or more actors than the cluster
            holds; nothing was written.
        ShardError, StalledError: what finished is kept, and resuming goes on.
    """
    settings, out, plan = checked(options)
    with connect(options.address) as cluster:
        actors = place_actors(options, plan, cluster)
        with only_writer(out, overwrite=options.overwrite):
            result = predict_on_actors(
                plan,
                options.model,
                options.genome,
                settings,
                out,
                actors=actors,
                resources=options.resources,
            )
            expected = expected_precision(options.model, settings.threshold)
            record = PredictionRecord.from_result(plan, settings, result, expected)
            write_json(out / MANIFEST, record.model_dump(mode="json"))
    return Prediction(result, plan, settings, expected, out)


def written_by(out: AnyPath) -> dict[str, AnyPath]:
    """What a prediction leaves, to where it lies."""
    names = {"track": TRACK, "regions": BED, "table": TABLE, "summary": MANIFEST}
    return {what: out / name for what, name in names.items()}


class Checked(NamedTuple):
    """What passed every check but for the cluster's; nothing was written."""

    settings: RegionSettings
    out: AnyPath
    plan: PredictionPlan


def checked(options: PredictOptions) -> Checked:
    """All checks but the cluster's. Writes nothing.

    Raises:
        InputError: bad options or files.
    """
    model = load_window_model(options.model)
    require_base_labels(model, options.model)
    settings = _regions(options, model.threshold)
    out = check_output(
        options.out,
        None,
        inputs=[options.model, options.genome],
        resume=options.resume,
        overwrite=options.overwrite,
        begun_by=PLAN,
    )
    plan = plan_prediction(
        model,
        options.genome,
        contigs=options.contigs,
        overlap=options.overlap,
        batch=options.batch,
    )
    return Checked(settings, out, plan)


def place_actors(options: PredictOptions, plan: PredictionPlan, cluster: Cluster) -> int:
    """Actors at once.

    Raises:
        InputError: the cluster cannot hold them.
    """
    return fit_resources(
        cluster,
        options.resources,
        wanted=options.actors,
        useful=len(plan.pieces),
        streams=False,
        name="--actors",
    ).concurrent


def predict_on_actors(
    plan: PredictionPlan,
    model_folder: AnyPath,
    genome: AnyPath,
    settings: RegionSettings,
    out: AnyPath,
    *,
    actors: int,
    resources: Resources,
) -> PredictionResult:
    """Score the pieces of a plan that are missing in `out`, and write track and regions anew.

    Args:
        plan: of `plan_prediction`.
        model_folder: the model; every actor loads it itself.
        genome: of the plan.
        settings: of the regions.
        out: takes `shards/`, the track and the regions; on storage that every node sees.
        actors: at once; the result does not depend on it.
        resources: of one actor.

    Raises:
        InputError: another plan in `out`.
        ShardError: a piece failed on every try.
    """
    plan.begin(out)
    (out / MANIFEST).unlink(missing_ok=True)  # of regions that are about to be replaced
    todo = missing_pieces(plan, out)
    logger.info(
        "predicting: %d of %d pieces to do on %s",
        len(todo),
        len(plan.pieces),
        counted(actors, "actor"),
    )
    write_sequences(plan, genome, out)
    # Not the driver's working directory: a worker may have another.
    model_folder = model_folder.absolute()

    def make() -> Callable[[int], object]:
        # One thread whatever the size of the pool: the bits of a score depend on it.
        torch.set_num_threads(1)
        model = load_window_model(model_folder)
        model.to("cuda" if torch.cuda.is_available() else "cpu")
        return lambda index: run_piece(model, plan, index, out)

    shards = Shards(
        name="prediction",
        numbers=todo,
        make=make,
        is_done=lambda index: piece_is_complete(plan, index, out),
        describe=lambda index: plan.pieces[index].label,
        label=lambda index: plan.pieces[index].label,
        unit="pieces",
        windows=lambda index: count_windows(plan, index),
    )
    run_shards(shards, actors=actors, resources=resources)
    with Progress("writing of track and regions"):
        result = write_results(plan, settings, out)
    remove_folder(out / SEQUENCES)
    return result


def _regions(options: PredictOptions, of_model: float) -> RegionSettings:
    threshold = of_model if options.threshold is None else options.threshold
    if options.threshold is not None and not 0 <= threshold <= 1:
        raise InputError("--threshold", threshold, "not a probability", "give 0 to 1")
    for name, value, least in (
        ("--min-length", options.min_length, 1),
        ("--merge-gap", options.merge_gap, 0),
    ):
        if value < least:
            raise InputError(name, value, f"below {least}", f"give {least} or more")
    return RegionSettings(
        threshold=threshold, min_length=options.min_length, merge_gap=options.merge_gap
    )

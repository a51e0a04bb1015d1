"""What a search is made of: its options, the checks before it, and what it leaves."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from hyena_ray.cluster import attribute
from hyena_ray.cluster.folder import check_output, data_plan, default_folder
from hyena_ray.cluster.resources import Cluster, Placement, fit_resources
from hyena_ray.cluster.windows import Key, fits
from hyena_ray.dataset.prepare import prepare
from hyena_ray.dataset.reader import PreparedData
from hyena_ray.dataset.simulated import simulate
from hyena_ray.errors import InputError
from hyena_ray.search.space import SearchSpace
from hyena_ray.search.trackers import Tracker
from hyena_ray.search.trial_fields import STUDY_FILE, TRIALS
from hyena_ray.storage import AnyPath
from hyena_ray.tasks import Task, task_named
from hyena_ray.training.preflight import check_run_fits
from hyena_ray.training.settings import RunSettings
from hyena_ray.training.supervised import new_model

SIMULATION_SEED = 0
MAY_CHANGE = ("trials", "threads")
"""Of what a run is made of, in which a resumed one may differ."""


class TuneOptions(NamedTuple):
    """What the command line of a tuning job says."""

    task: Task
    space: Path
    """YAML; see `SearchSpace`."""
    data: AnyPath | None = None
    """Prepared folder; None simulates a genome and prepares it."""
    out: AnyPath | None = None
    """Run folder; None makes a new one, see `default_folder`."""
    trials: int | None = None
    """In place of the number in the YAML."""
    resume: bool = False
    overwrite: bool = False
    address: str | None = None
    """Ray cluster; see `connect`."""
    trackers: tuple[Tracker, ...] = ()
    """That are told of every trial."""


class Checked(NamedTuple):
    """What passed every check but for the cluster's; nothing was written."""

    space: SearchSpace
    data: PreparedData | None
    """None: to be simulated."""
    out: AnyPath
    draws: list[RunSettings]
    """Settings that trials may have."""


def checked(options: TuneOptions) -> Checked:
    """All checks but the cluster's. Writes nothing.

    Raises:
        InputError: bad options, files or settings.
    """
    space = _space(options)
    data = None if options.data is None else PreparedData.open(options.data)
    draws = space.covering_settings(options.space)
    if data is not None:
        for settings in draws:
            check_run_fits(settings, data, str(options.space), gpu=space.resources.gpu > 0)
    out = _output(options, data)
    if data is not None:
        data.check(space.lengths())
    for settings in {draw.model.backbone: draw for draw in draws}.values():
        # What only shows when the model is made, such as a backbone that is not there.
        new_model(settings)
    return Checked(space, data, out, draws)


def written_by(out: AnyPath, data: PreparedData, methods: Iterable[str]) -> dict[str, AnyPath]:
    """What a run leaves, to where it lies; see `attribute.written_by`."""
    names = {"trials": TRIALS, "study": STUDY_FILE, "model": "model"}
    own = {what: out / name for what, name in names.items()}
    return own | attribute.written_by(out, data, methods)


def made_of(space: SearchSpace, data: PreparedData, placement: Placement) -> dict[str, Any]:
    """What a run is made of; a resumed one may differ in `MAY_CHANGE` alone."""
    return {
        "space": space.model_dump(
            mode="json", exclude_defaults=True, exclude={"trials", "concurrent"}
        ),
        "trials": space.trials,
        "data": data_plan(data),
        "threads": placement.threads,
    }


def simulated_data(space: SearchSpace, folder: AnyPath) -> None:
    """Simulate a genome, or sequences, and prepare `folder` from it. The genome is not kept: the
    manifest of the data tells where both came from."""
    with tempfile.TemporaryDirectory(prefix="hyena_ray-") as sources:
        recipe = simulate(
            task_named(space.task),
            Path(sources),
            SIMULATION_SEED,
            lengths=space.lengths(),
            flank=max(draw.window_readout().required_flank for draw in space.covering_settings()),
        )
        prepare(recipe, folder)


def _space(options: TuneOptions) -> SearchSpace:
    space = SearchSpace.load(options.space)
    if space.task != options.task.name:
        raise InputError(
            f"{options.space}: task",
            space.task,
            f"this job tunes {options.task.name}",
            "give a space of that task",
        )
    if options.trials is None:
        return space
    return space.updated({"trials": options.trials}, "--trials")


def _output(options: TuneOptions, data: PreparedData | None) -> AnyPath:
    if options.out is not None:
        return check_output(
            options.out,
            data,
            inputs=[options.space],
            resume=options.resume,
            overwrite=options.overwrite,
        )
    if options.resume or options.overwrite:
        raise InputError("--out", None, "is missing", "say which run to resume or overwrite")
    return default_folder(options.task.name)


def keys_of(space: SearchSpace) -> list[Key]:
    """The windows that trials may ask for."""
    return [(length, split) for length in space.lengths() for split in ("train", "val")]


def place_trials(space: SearchSpace, data: PreparedData | None, cluster: Cluster) -> Placement:
    """How many trials at once.

    Raises:
        InputError: the cluster cannot hold what the space asks for.
    """
    return fit_resources(
        cluster,
        space.resources,
        wanted=space.concurrent,
        useful=space.trials,
        # A simulated genome is small.
        streams=data is not None and not fits(data, keys_of(space), cluster),
        name="search space: resources",
        workers=space.resources.workers,
    )

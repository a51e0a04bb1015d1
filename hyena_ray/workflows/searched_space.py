"""The space that a command searches: its file, what is fixed and tried first, and what it needs."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from hyena_ray.cluster.resources import READER_CPU, Placement, TrialResources, fit_resources
from hyena_ray.dataset.reader import PreparedData
from hyena_ray.errors import InputError
from hyena_ray.search.space import SearchSpace
from hyena_ray.storage import AnyPath
from hyena_ray.tasks import task_named
from hyena_ray.training.feed_choice import windows_bytes
from hyena_ray.training.settings import Feed, RunSettings
from hyena_ray.workflows.presets import SEARCH_SPACES, load_preset, load_presets
from hyena_ray.workflows.run_options import BACKBONE, TakesRunSettings

if TYPE_CHECKING:
    from hyena_ray.cluster.resources import Cluster

SIMULATION_SEED = 0
"""Seed of the simulated genome."""


def space_file(task: str, file: Path | None, *, simulated: bool) -> Path:
    """Return the file of a search space.

    Args:
        task: Name of the task.
        file: File that was asked for, if any.
        simulated: Whether the data are simulated, for which there is a small space.
    """
    return file or SEARCH_SPACES / f"{'demo_' * simulated}{task}.yaml"


def load_space(
    path: Path,
    task: str,
    options: TakesRunSettings,
    overrides: Mapping[str, Any] = MappingProxyType({}),
) -> SearchSpace:
    """Load a space, fix what the options give, and resolve the points that are tried first.

    Args:
        path: File of the space.
        task: Name of the task.
        options: Options of the command.
        overrides: Other values of the space by dotted key; None stands for what was not given.

    Raises:
        InputError: The space is of another task, or cannot be searched with these options.
    """
    given, preset = options.given(), {}
    if options.preset is not None:
        chosen = load_preset(options.preset)
        if chosen.task != task:
            raise InputError(
                "--preset", options.preset, f"this job tunes {task}", f"give a preset of {task}"
            )
        preset = chosen.settings
    space = SearchSpace.load(
        path,
        preset=preset,
        given=given,
        label=options.option_of,
        adapt=path.parent == SEARCH_SPACES,
    )
    if space.task != task:
        raise InputError(
            f"{path}: task",
            space.task,
            f"this job tunes {task}",
            f"give a space of that task, or run hyena-ray tune {space.task}",
        )
    space = space.with_points(_known_settings(task, {**preset, **given}), path)
    changes = {key: value for key, value in overrides.items() if value is not None}
    return space.updated(changes, path)


def space_by_content(space: SearchSpace) -> dict[str, Any]:
    """Return a search space as a plan stores it, with initial weights named by their content.

    The path of the weights is left out, unless it is searched: Optuna identifies a choice by its
    text.

    Args:
        space: What is searched.

    Returns:
        Plain values, without what does not decide a result.

    Raises:
        InputError: The initial weights are missing.
    """
    from hyena_ray.model.pretrained import weights_by_content

    of_no_effect = {"trials", "concurrent", "resources", "stall_minutes"}
    values = space.model_dump(mode="json", exclude_defaults=True, exclude=of_no_effect)
    models = {(draw.model.backbone, draw.model.revision) for draw in space.covering_settings()}
    digests = {backbone: weights_by_content(backbone, revision) for backbone, revision in models}
    if BACKBONE in space.settings:
        values["settings"][BACKBONE] = digests[space.settings[BACKBONE]]
    elif BACKBONE in space.search:
        values["weights"] = {name: digest for name, digest in digests.items() if name is not None}
    return values


def _known_settings(task: str, fixed: dict[str, object]) -> dict[str, RunSettings]:
    """Return the settings of every preset of a task, by its name, with what the command fixes."""
    return {
        name.partition("/")[2]: preset.run_settings(gpu=False).updated(fixed, name)
        for name, preset in load_presets(task).items()
    }


def simulate_data(space: SearchSpace, folder: AnyPath) -> None:
    """Simulate a genome, or sequences, and prepare them. The genome itself is not kept.

    Args:
        space: Search space, which says how long the windows and their flanks are.
        folder: Folder to make.
    """
    from hyena_ray.dataset.preparation import prepare
    from hyena_ray.dataset.simulated import simulate

    with tempfile.TemporaryDirectory(prefix="hyena_ray-") as sources:
        recipe = simulate(
            task_named(space.task),
            Path(sources),
            SIMULATION_SEED,
            lengths=space.lengths(),
            flank=max(draw.window_readout().required_flank for draw in space.covering_settings()),
        )
        prepare(recipe, folder)


def place_trials(
    space: SearchSpace, data: PreparedData | None, cluster: Cluster, feed: Feed
) -> Placement[TrialResources]:
    """Fit trials into a cluster. By default, small trials share a GPU.

    Args:
        space: Search space, which sets the resources of a trial.
        data: Prepared windows; None for simulated windows, which are few.
        cluster: Cluster that the trials run on.
        feed: How training windows reach the trials; a stream takes CPUs of its own.

    Raises:
        InputError: The cluster cannot hold what the space asks for, or a trial needs a GPU and gets
            none.
    """
    from hyena_ray.training.footprint import training_bytes
    from hyena_ray.training.preflight import check_arithmetic

    lengths, draws = space.lengths(), space.covering_settings()
    windows = 0 if data is None else windows_bytes(data, lengths)
    scales = () if data is None else data.manifest.scales
    placement = fit_resources(
        cluster,
        space.resources,
        wanted=space.concurrent,
        useful=space.trials,
        name="search space: resources (--cpu, --gpu)",
        count_name="search space: concurrent",
        # The workers of a trial read one stream.
        stream_cpu=READER_CPU / space.resources.workers if feed == "stream" else 0.0,
        gpu_bytes=lambda: windows + training_bytes(draws, scales),
    )
    for draw in draws:
        check_arithmetic(draw.training.precision, "search space", gpu=placement.gpu)
    return placement

"""The space that a command searches: its file, what is fixed, and what is tried first."""

from __future__ import annotations

from pathlib import Path

from hyena_ray.errors import InputError
from hyena_ray.search.space import SearchSpace
from hyena_ray.training.settings import RunSettings
from hyena_ray.workflows.presets import SEARCH_SPACES, load_preset, load_presets
from hyena_ray.workflows.run_options import TakesRunSettings


def space_file(task: str, file: Path | None, *, simulated: bool) -> Path:
    """Return the file of a search space.

    Args:
        task: Name of the task.
        file: File that was asked for, if any.
        simulated: Whether the data are simulated, for which there is a small space.
    """
    return file or SEARCH_SPACES / f"{'demo_' * simulated}{task}.yaml"


def load_space(path: Path, task: str, options: TakesRunSettings) -> SearchSpace:
    """Load a space, fix what the options give, and resolve the points that are tried first.

    Args:
        path: File of the space.
        task: Name of the task.
        options: Options of the command.

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
    space = SearchSpace.load(path, preset=preset, given=given, label=options.option_of)
    if space.task != task:
        raise InputError(
            f"{path}: task",
            space.task,
            f"this job tunes {task}",
            f"give a space of that task, or run hyena-ray tune {space.task}",
        )
    return space.with_points(_known_settings(task, {**preset, **given}), path)


def _known_settings(task: str, fixed: dict[str, object]) -> dict[str, RunSettings]:
    """Return the settings of every preset of a task, by its name, with what the command fixes."""
    return {
        name.partition("/")[2]: preset.run_settings(gpu=False).updated(fixed, name)
        for name, preset in load_presets(task).items()
    }

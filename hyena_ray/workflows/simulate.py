"""Write a small simulated genome with its regions, or simulated sequences, to try jobs on."""

from __future__ import annotations

from pathlib import PurePath
from typing import Annotated, NamedTuple

from pydantic import Field

from hyena_ray.files import atomic_folder, new_output
from hyena_ray.outcomes import SIMULATED, Outcome
from hyena_ray.runs.lock import only_maker
from hyena_ray.settings import WRITE, Location, Option
from hyena_ray.storage import AnyPath
from hyena_ray.tasks import TASKS, Task, task_named
from hyena_ray.workflows.workflow import Job, Workflow

INPUTS = ("genome", "regions", "train", "val", "test")
"""Options of prepare that take the files."""


class SimulateSettings(Job):
    """Settings of a simulation."""

    task: str
    """Task that the data is simulated for."""
    seed: int = Field(default=0, ge=0)
    """Seed that fixes every byte."""
    out: Annotated[Location, Option("DIR", WRITE)]
    """Folder to make."""


class Simulation(NamedTuple):
    """A simulation that passed every check."""

    task: Task
    seed: int
    """Seed that fixes every byte."""
    folder: AnyPath
    """Absolute path of the folder to make."""


def validate(settings: SimulateSettings) -> Simulation:
    """Check the task and the folder.

    Args:
        settings: Settings of the simulation.

    Raises:
        InputError: There is no such task, or the folder exists.
    """
    return Simulation(task_named(settings.task, "TASK"), settings.seed, new_output(settings.out))


def execute(simulation: Simulation) -> dict[str, AnyPath]:
    """Write the files, all or none.

    Args:
        simulation: What is simulated, and where to.

    Returns:
        Option of prepare that takes a file, and where the file is.
    """
    from hyena_ray.dataset.simulated import simulate

    task, folder = simulation.task, simulation.folder
    last = "genome.fa" if task.kind == "base" else "test.csv"
    with only_maker(folder), atomic_folder(folder, last=last) as temporary:
        new_output(folder)  # another job may have made it meanwhile
        recipe = simulate(task, temporary, simulation.seed, lengths=task.lengths, flank=task.flank)
        return {
            name: folder / PurePath(path).name
            for name, path in recipe.model_dump(include=set(INPUTS)).items()
            if path is not None
        }


def present(simulation: Simulation, files: dict[str, AnyPath]) -> Outcome:
    """Say how the files are prepared.

    Args:
        simulation: What was simulated.
        files: Option of prepare that takes a file, and where the file is.
    """
    options = " ".join(f"--{name} {path}" for name, path in files.items())
    return Outcome(
        f"{SIMULATED}\ncontinue with hyena-ray prepare {simulation.task.name} {options} --out DIR",
        {"task": simulation.task.name, "seed": simulation.seed},
        files,
        simulated=True,
    )


WORKFLOW = Workflow(
    name="simulate",
    about=__doc__,
    settings=lambda task: SimulateSettings,
    validate=validate,
    execute=execute,
    present=present,
    found="task, seed",
    examples=("simulate zdna --out simulated", "simulate promoter --out simulated --seed 1"),
    tasks=tuple(TASKS),
)

"""Write a small simulated genome with its regions, or simulated sequences, to try jobs on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePath

from hyena_ray.commands import DONE, READ, Outcome, Parser, run_job
from hyena_ray.errors import InputError
from hyena_ray.files import atomic_folder, new_output
from hyena_ray.tasks import TASKS, task_named

EXAMPLES = """\
examples:
  python jobs/simulate.py zdna --out simulated
  python jobs/simulate.py promoter --out simulated --seed 1
"""
INPUTS = ("genome", "regions", "train", "val", "test")
"""Settings of a recipe that are files: of a genome, or of labelled sequences."""


def parser() -> Parser:
    """The command line."""
    options = Parser(prog="simulate.py", description=__doc__, epilog=EXAMPLES, found="task, seed")
    options.group(READ).add_argument(
        "task", metavar="TASK", help=f"one of {', '.join(TASKS)}; required"
    )
    options.group(DONE).add_argument(
        "--seed", metavar="N", type=int, default=0, help="fixes every byte"
    )
    options.add_output("folder to make", required=True)
    return options


def main(arguments: Sequence[str]) -> Outcome:
    """Simulate, and say how the files are prepared."""
    given = parser().parse_args(arguments)
    task = task_named(given.task, "TASK")
    out = new_output(given.out)
    if given.seed < 0:
        raise InputError("--seed", given.seed, "below 0", "raise it")
    from hyena_ray.dataset.simulated import simulate

    last = "genome.fa" if task.kind == "base" else "test.csv"
    with atomic_folder(out, last=last) as temporary:
        recipe = simulate(task, temporary, given.seed, lengths=task.lengths, flank=task.flank)
        inputs = {
            name: out / PurePath(file).name
            for name, file in recipe.model_dump(include=set(INPUTS)).items()
            if file is not None
        }
    options = " ".join(f"--{name} {path}" for name, path in inputs.items())
    return Outcome(
        "simulated: no figure from it says anything about real DNA\n"
        f"go on with python jobs/prepare.py {task.name} {options} --out DIR",
        {"task": task.name, "seed": given.seed},
        inputs,
        simulated=True,
    )


if __name__ == "__main__":
    run_job(main)

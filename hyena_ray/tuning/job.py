"""The command line of the tuning jobs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from hyena_ray.commands import Parser, place
from hyena_ray.tasks import task_named
from hyena_ray.tuning.run import TuneOptions, tune_task
from hyena_ray.tuning.summary import RunSummary
from hyena_ray.tuning.trackers import OPTION, parse_trackers

DESCRIPTION = """\
Search settings with Ray Tune and Optuna, score the best model on the test windows, and list the
k-mers that it relies on. Without --data all of this is done on small simulated DNA.
"""
EXAMPLE = """\
examples:
  python jobs/tune_{task}.py
  python jobs/tune_{task}.py --data prepared --out runs/{task} --trials 24
  ray job submit --working-dir . -- python jobs/tune_{task}.py \\
      --data /shared/prepared --out /shared/run
"""


def tuning_job(task: str, spaces: Path) -> Callable[[Sequence[str]], None]:
    """The main function of `jobs/tune_TASK.py`.

    Args:
        task: name.
        spaces: folder of search spaces: `TASK.yaml` for given data, `demo_TASK.yaml` for simulated.
    """

    def main(arguments: Sequence[str]) -> None:
        options = _options(task, spaces, arguments)
        folder = tune_task(options)
        print(RunSummary.read(folder).text(folder))

    return main


def _options(task: str, spaces: Path, arguments: Sequence[str]) -> TuneOptions:
    parser = Parser(
        prog=f"tune_{task}.py", description=DESCRIPTION, epilog=EXAMPLE.format(task=task)
    )
    parser.add_argument(
        "--data", metavar="DIR", type=place, help="folder that prepare.py wrote; default: simulate"
    )
    parser.add_argument(
        "--out",
        metavar="DIR",
        type=place,
        help="folder of the run; default: a new one under ~/ray_results/hyena_ray/",
    )
    parser.add_argument(
        "--space",
        metavar="YAML",
        type=Path,
        help=f"default: search_spaces/{task}.yaml, or demo_{task}.yaml without --data",
    )
    parser.add_argument("--trials", metavar="N", type=int, help="in place of the space's number")
    parser.add_argument(
        OPTION,
        metavar="KIND=WHERE",
        action="append",
        default=[],
        help="also tell mlflow=URI or wandb=PROJECT of every trial; may be repeated",
    )
    parser.add_existing_output()
    parser.add_address()
    given = parser.parse_args(arguments)
    default = spaces / (f"demo_{task}.yaml" if given.data is None else f"{task}.yaml")
    return TuneOptions(
        task=task_named(task),
        space=given.space or default,
        data=given.data,
        out=given.out,
        trials=given.trials,
        resume=given.resume,
        overwrite=given.overwrite,
        address=given.address,
        trackers=parse_trackers(given.track),
    )

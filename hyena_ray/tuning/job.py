"""The command line of the tuning jobs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from hyena_ray.commands import DONE, WRITTEN, Outcome, Parser
from hyena_ray.tasks import task_named

DESCRIPTION = """\
Search settings with Ray Tune and Optuna, score the best model on the test windows, and list the
k-mers that it relies on. Without --data all of this is done on small simulated DNA.
"""
EXAMPLES = """\
examples:
  python jobs/tune_{task}.py
  python jobs/tune_{task}.py --data prepared --out runs/{task} --trials 24
  python jobs/tune_{task}.py --data prepared --out runs/{task} --dry-run
  ray job submit --working-dir . -- python jobs/tune_{task}.py \\
      --data /shared/prepared --out /shared/run
"""
FOUND = "trials, best_trial, settings, validation, test, kmers, attribution, seconds by step"


def tuning_job(task: str, spaces: Path) -> Callable[[Sequence[str]], Outcome]:
    """The main function of `jobs/tune_TASK.py`.

    Args:
        task: name.
        spaces: folder of search spaces: `TASK.yaml` for given data, `demo_TASK.yaml` for simulated.
    """

    def main(arguments: Sequence[str]) -> Outcome:
        given = parser(task).parse_args(arguments)
        from hyena_ray.dataset.reader import PreparedData
        from hyena_ray.search.trackers import parse_trackers
        from hyena_ray.tuning.dry_tune import plan_tuning
        from hyena_ray.tuning.plan import TuneOptions, written_by
        from hyena_ray.tuning.run import tune_task
        from hyena_ray.tuning.summary import RunSummary

        default = spaces / (f"demo_{task}.yaml" if given.data is None else f"{task}.yaml")
        options = TuneOptions(
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
        if given.dry_run:
            return plan_tuning(options).outcome()
        folder = tune_task(options)
        summary = RunSummary.read(folder)
        keys = ("trials", "best_trial", "settings", "validation", "test", "kmers", "attribution")
        found = {key: getattr(summary, key) for key in (*keys, "seconds")}
        data = PreparedData.open(given.data or folder / "data")
        written = written_by(folder, data, summary.kmers)
        return Outcome(summary.text(), found, written, summary.simulated, folder)

    return main


def parser(task: str) -> Parser:
    """The command line."""
    options = Parser(
        prog=f"tune_{task}.py",
        description=DESCRIPTION,
        epilog=EXAMPLES.format(task=task),
        found=FOUND,
    )
    options.add_data("folder that prepare.py wrote; default: simulate")
    done = options.group(DONE)
    done.add_argument(
        "--space",
        metavar="YAML",
        type=Path,
        help=f"search space; default: search_spaces/{task}.yaml, or demo_{task}.yaml without "
        "--data",
    )
    done.add_argument(
        "--trials", metavar="N", type=int, help="settings to try; default: the space's number"
    )
    options.group(WRITTEN).add_argument(
        "--track",
        metavar="KIND=WHERE",
        action="append",
        default=[],
        help="also tell mlflow=URI or wandb=PROJECT of every trial; may be given again",
    )
    options.add_output("folder of the run; default: a new one under ~/ray_results/hyena_ray/")
    options.add_existing_output()
    options.add_dry_run()
    options.add_address()
    return options

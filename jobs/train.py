"""Train one run on prepared windows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hyena_ray.commands import DONE, READ, Outcome, Parser, run_job
from hyena_ray.report.job import with_report
from hyena_ray.settings import parse_assignments

EXAMPLES = """\
examples:
  python jobs/train.py --data prepared --out run --set training.epochs=8 --test
  python jobs/train.py --data prepared --out run --preset zdna/two_stage --test
  python jobs/train.py --data prepared --out run --preset zdna/best --dry-run
"""
PRESETS = Path(__file__).parent.parent / "search_spaces" / "presets"


def parser() -> Parser:
    """The command line."""
    options = Parser(
        prog="train.py",
        description=__doc__,
        epilog=EXAMPLES,
        found="validation, best_epoch, trainable_share, evaluation",
    )
    options.add_data(required=True)
    options.group(READ).add_argument(
        "--backbone",
        metavar="DIR|ID",
        help="published checkpoint, a folder or a hub id; default: random weights",
    )
    done = options.group(DONE)
    done.add_argument(
        "--preset",
        metavar="TASK/NAME",
        help="settings from search_spaces/presets/; default: the task's",
    )
    done.add_argument(
        "--config", metavar="YAML", type=Path, help="settings in place of these; default: none"
    )
    options.add_settings("one setting in place of all these; may be given again")
    done.add_argument("--test", action="store_true", help="score the test windows at the end")
    options.add_output(
        "new folder; takes model/, config.json, manifest.json, evaluation.json", required=True
    )
    options.add_existing_output()
    options.add_dry_run()
    return options


def main(arguments: Sequence[str]) -> Outcome:
    """Train, or say what training would take."""
    given = parser().parse_args(arguments)
    changes = parse_assignments(given.set, "--set")
    if given.backbone:
        changes["model.backbone"] = given.backbone
    from hyena_ray.tuning.train import TrainOptions, plan_training, train

    options = TrainOptions(
        data=given.data,
        out=given.out,
        folder=PRESETS,
        preset=given.preset,
        config=given.config,
        changes=changes,
        test=given.test,
        resume=given.resume,
        overwrite=given.overwrite,
    )
    if given.dry_run:
        return plan_training(options).outcome()
    record, evaluation, written = train(options)
    shown = " ".join(f"{key} {value:.4f}" for key, value in record.validation.items())
    found = {
        "validation": record.validation,
        "best_epoch": record.best_epoch,
        "trainable_share": record.trainable_share,
        "evaluation": None if evaluation is None else evaluation.as_json(),
    }
    text = [f"validation {shown}", *([] if evaluation is None else [evaluation.table()])]
    folder = given.out.absolute()
    return Outcome("\n".join(text), found, written, record.simulated, folder)


if __name__ == "__main__":
    run_job(with_report(main))

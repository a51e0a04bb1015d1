"""Score a trained model on a split of prepared windows."""

from __future__ import annotations

from collections.abc import Sequence

from hyena_ray.commands import DONE, READ, Outcome, Parser, run_job
from hyena_ray.files import new_output, write_json
from hyena_ray.progress import Progress, State
from hyena_ray.report.job import with_report

EXAMPLES = """\
examples:
  python jobs/evaluate.py --model run/model --data prepared --on test --out scored
  python jobs/evaluate.py --model run/model --data prepared --on val --strands forward
"""
NAME = "evaluation.json"


def parser() -> Parser:
    """The command line."""
    options = Parser(
        prog="evaluate.py",
        description=__doc__,
        epilog=EXAMPLES,
        found="what evaluation.json holds",
    )
    options.add_model()
    options.add_data(required=True)
    options.add_split()
    options.group(READ).add_argument(
        "--fold",
        metavar="N",
        type=int,
        help="of data in folds, the one that the run tested; default: data without folds",
    )
    options.group(DONE).add_argument(
        "--strands",
        choices=["forward", "both"],
        help="read the model otherwise than it was trained; the threshold is chosen anew on val; "
        "default: as it was trained",
    )
    options.add_output(f"new folder; takes {NAME}; default: nothing is written")
    return options


def main(arguments: Sequence[str]) -> Outcome:
    """Score."""
    given = parser().parse_args(arguments)
    import torch

    from hyena_ray.dataset.reader import PreparedData
    from hyena_ray.model.saved import load_window_model
    from hyena_ray.tasks import task_named
    from hyena_ray.training.evaluation import evaluate, evaluate_on_split
    from hyena_ray.training.loaders import ArraySource, ProgressSource
    from hyena_ray.training.losses import class_weights
    from hyena_ray.training.preflight import check_model_fits
    from hyena_ray.training.settings import TrainingSettings

    data, model = PreparedData.open(given.data), load_window_model(given.model)
    model.to("cuda" if torch.cuda.is_available() else "cpu")
    check_model_fits(model, given.model, data)
    if given.fold is not None:
        data = data.for_fold(given.fold)
    out = None if given.out is None else new_output(given.out)
    weights, length, scored = class_weights(TrainingSettings()), model.readout.window, 0

    def tell(windows: int) -> None:
        nonlocal scored
        scored += windows
        progress.update(State(done=scored))

    splits = [given.on] if given.strands is None else ["val", given.on]
    total = sum(data.count(length, split) for split in splits)
    with Progress("scoring", total, "windows", brief=True) as progress:
        if given.strands is not None:
            model.readout = model.readout.updated({"strands": given.strands}, "--strands")
            validation = ProgressSource(ArraySource(data.read(length, "val")), tell)
            metric = task_named(data.manifest.task).metric
            model.threshold = evaluate(model, validation, weights, threshold=metric).threshold
        evaluation = evaluate_on_split(model, data, given.on, weights, tell)
    written = {}
    if out is not None:
        out.mkdir(parents=True)
        write_json(out / NAME, evaluation.as_json())
        written["evaluation"] = out / NAME
    found, simulated = evaluation.as_json(), data.manifest.simulated
    return Outcome(evaluation.table(), found, written, simulated, out)


if __name__ == "__main__":
    run_job(with_report(main))

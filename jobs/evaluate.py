"""Score a trained model on a split of prepared windows."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from hyena_ray.commands import Parser, place, run_job
from hyena_ray.dataset.reader import PreparedData
from hyena_ray.files import new_output, write_json
from hyena_ray.model.saved import load_window_model
from hyena_ray.tasks import task_named
from hyena_ray.training.evaluation import evaluate, evaluate_on_split
from hyena_ray.training.fit import check_model_fits
from hyena_ray.training.settings import TrainingSettings
from hyena_ray.training.sources import ArraySource

EXAMPLE = """example:
  python jobs/evaluate.py --model run/model --data prepared --on test --strands forward
"""


def main(arguments: Sequence[str]) -> None:
    parser = Parser(prog="evaluate.py", description=__doc__, epilog=EXAMPLE)
    parser.add_argument("--model", type=place, required=True, help="folder model/ of a run")
    parser.add_argument("--data", type=place, required=True, help="folder that prepare.py wrote")
    parser.add_argument("--on", default="test", help="split to score")
    parser.add_argument(
        "--fold", metavar="N", type=int, help="of data in folds: the one that the run tested"
    )
    parser.add_argument(
        "--strands",
        choices=["forward", "both"],
        help="read the model otherwise than it was trained; the threshold is chosen anew on val",
    )
    parser.add_argument("--out", type=place, help="new folder; takes evaluation.json")
    options = parser.parse_args(arguments)

    data, model = PreparedData.open(options.data), load_window_model(options.model)
    model.to("cuda" if torch.cuda.is_available() else "cpu")
    check_model_fits(model, options.model, data)
    if options.fold is not None:
        data = data.for_fold(options.fold)
    out = None if options.out is None else new_output(options.out)
    weights = TrainingSettings().class_weights()
    if options.strands is not None:
        model.readout = model.readout.updated({"strands": options.strands}, "--strands")
        validation = ArraySource(data.read(model.readout.window, "val"))
        metric = task_named(data.manifest.task).metric
        model.threshold = evaluate(model, validation, weights, threshold=metric).threshold
    evaluation = evaluate_on_split(model, data, options.on, weights)
    print(evaluation.table())
    if out is not None:
        out.mkdir(parents=True)
        write_json(out / "evaluation.json", evaluation.as_json())


if __name__ == "__main__":
    run_job(main)

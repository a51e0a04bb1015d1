"""Score a trained model on a split of prepared windows."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from hyena_ray.commands import Parser, run_job
from hyena_ray.dataset.reader import PreparedData
from hyena_ray.model.saved import load_window_model
from hyena_ray.training.evaluation import evaluate
from hyena_ray.training.settings import TrainingSettings
from hyena_ray.training.sources import ArraySource

EXAMPLE = """example:
  python jobs/evaluate.py --model run/model --data prepared --on test --strands forward
"""


def main(arguments: Sequence[str]) -> None:
    parser = Parser(prog="evaluate.py", description=__doc__, epilog=EXAMPLE)
    parser.add_argument("--model", type=Path, required=True, help="folder model/ of a run")
    parser.add_argument("--data", type=Path, required=True, help="folder that prepare.py wrote")
    parser.add_argument("--on", default="test", help="split to score")
    parser.add_argument(
        "--strands",
        choices=["forward", "both"],
        help="read the model otherwise than it was trained; the threshold is chosen anew on val",
    )
    options = parser.parse_args(arguments)

    data, model = PreparedData.open(options.data), load_window_model(options.model)
    weights = TrainingSettings().class_weights()
    length = model.readout.window
    if options.strands is not None:
        model.readout = model.readout.updated({"strands": options.strands}, "--strands")
        validation = ArraySource(data.read(length, "val"))
        model.threshold = evaluate(model, validation, weights, threshold=None).threshold
    source = ArraySource(data.read(length, options.on))
    metrics = evaluate(model, source, weights, threshold=model.threshold)
    print(json.dumps({"on": options.on, "simulated": data.manifest.simulated} | metrics._asdict()))


if __name__ == "__main__":
    run_job(main)

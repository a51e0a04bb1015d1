"""Check that an attribution can be believed: faithfulness, models that learnt nothing, planted
k-mers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from hyena_ray.attribution.sanity import check_attribution, table_of
from hyena_ray.attribution.settings import AttributionSettings
from hyena_ray.attribution.targets import POSITIVE
from hyena_ray.cluster.folder import check_output, only_writer
from hyena_ray.commands import Parser, place, run_job
from hyena_ray.dataset.origin import Origin
from hyena_ray.dataset.reader import PreparedData
from hyena_ray.dataset.schema import Windows
from hyena_ray.errors import InputError
from hyena_ray.files import write_json
from hyena_ray.model.saved import load_window_model
from hyena_ray.tasks import task_named
from hyena_ray.training.fit import check_model_fits

EXAMPLE = """\
example:
  python jobs/sanity.py --model run/model --data prepared --out checked --limit 200
"""

NAME = "sanity.json"


def main(arguments: Sequence[str]) -> None:
    parser = Parser(prog="sanity.py", description=__doc__, epilog=EXAMPLE)
    parser.add_argument("--model", type=place, required=True, help="model/ of a run")
    parser.add_argument("--data", type=place, required=True, help="folder that prepare.py wrote")
    parser.add_argument("--out", type=place, required=True, help="new folder; takes sanity.json")
    parser.add_argument("--on", metavar="SPLIT", default="test", help="windows; default: test")
    parser.add_argument(
        "--random-labels",
        metavar="DIR",
        type=place,
        help="model/ of the same run with --set training.permute_labels=true; scores are compared",
    )
    parser.add_argument("--methods", metavar="M,M", default="ig,smoothgrad", help="to be checked")
    parser.add_argument(
        "--limit", type=int, default=200, help="windows with a label, evenly over the split"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace what is in --out")
    given = parser.parse_args(arguments)
    changes = {"methods": given.methods.split(",")}
    settings = AttributionSettings().updated(changes, "command line")
    data = PreparedData.open(given.data)
    model = load_window_model(given.model)
    other = None if given.random_labels is None else load_window_model(given.random_labels)
    if other is not None and other.readout != model.readout:
        raise InputError(
            "--random-labels",
            given.random_labels,
            f"a model that reads windows otherwise than {given.model}",
            "train it with the same settings but for training.permute_labels=true",
        )
    check_model_fits(model, given.model, data)
    out = check_output(
        given.out,
        data,
        inputs=[path for path in (given.model, given.random_labels) if path],
        resume=False,
        overwrite=given.overwrite,
        begun_by=NAME,
    )
    windows = with_labels(data, model.readout.window, given.on, given.limit)

    for each in filter(None, (model, other)):
        each.to("cuda" if torch.cuda.is_available() else "cpu")
    simulated = data.manifest.simulated
    planted = simulated and task_named(data.manifest.task).kind == "base"
    checks = check_attribution(model, windows, settings, planted=planted, of_random_labels=other)
    found = {"simulated": simulated, "checks": [check.as_json() for check in checks]}
    with only_writer(out, overwrite=given.overwrite):
        Origin.of(data).write(out)
        write_json(out / NAME, found)
    print(table_of(checks))


def with_labels(data: PreparedData, length: int, split: str, limit: int) -> Windows:
    """Up to `limit` windows of a split that have a label, evenly spaced."""
    if limit < 1:
        raise InputError("--limit", limit, "below 1", "raise it")
    windows = data.read(length, split)
    rows = np.flatnonzero((windows.labels == POSITIVE).any(axis=1))
    return windows.rows(rows[:: -(-len(rows) // limit)])


if __name__ == "__main__":
    run_job(main)

"""Check that an attribution can be believed: faithfulness, models that learnt nothing, planted
k-mers."""

from __future__ import annotations

from collections.abc import Sequence

from hyena_ray.commands import DONE, READ, Outcome, Parser, place, run_job
from hyena_ray.errors import InputError
from hyena_ray.files import write_json
from hyena_ray.progress import Progress, State
from hyena_ray.report.job import with_report

EXAMPLES = """\
examples:
  python jobs/sanity.py --model run/model --data prepared --out checked --limit 200
  python jobs/sanity.py --model run/model --random-labels permuted/model --data prepared \\
      --out checked --methods ig,ism
"""

NAME = "sanity.json"


def parser() -> Parser:
    """The command line."""
    options = Parser(
        prog="sanity.py", description=__doc__, epilog=EXAMPLES, found="simulated, checks"
    )
    options.add_model()
    options.add_data(required=True)
    options.add_split()
    options.group(READ).add_argument(
        "--random-labels",
        metavar="DIR",
        type=place,
        help="model/ of the same run with --set training.permute_labels=true; scores are compared; "
        "default: none",
    )
    done = options.group(DONE)
    done.add_argument("--methods", metavar="M,M", default="ig,smoothgrad", help="to be checked")
    done.add_argument(
        "--limit",
        metavar="N",
        type=int,
        default=200,
        help="windows with a label, evenly over the split",
    )
    options.add_output(f"new folder; takes {NAME}", required=True)
    options.add_existing_output(resume=False)
    return options


def main(arguments: Sequence[str]) -> Outcome:
    """Check."""
    given = parser().parse_args(arguments)
    if given.limit < 1:
        raise InputError("--limit", given.limit, "below 1", "raise it")
    import torch

    from hyena_ray.attribution.sanity import check_attribution, count_steps, format_checks
    from hyena_ray.attribution.settings import AttributionSettings
    from hyena_ray.attribution.targets import labelled_windows
    from hyena_ray.cluster.folder import check_output, only_writer
    from hyena_ray.dataset.origin import Origin
    from hyena_ray.dataset.reader import PreparedData
    from hyena_ray.model.saved import load_window_model
    from hyena_ray.tasks import task_named
    from hyena_ray.training.preflight import check_model_fits

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
    windows = labelled_windows(data.read(model.readout.window, given.on), given.limit)
    for each in filter(None, (model, other)):
        each.to("cuda" if torch.cuda.is_available() else "cpu")
    simulated = data.manifest.simulated
    planted = simulated and task_named(data.manifest.task).kind == "base"
    steps = 0

    def on_progress(what: str) -> None:
        nonlocal steps
        steps += 1
        progress.update(State(done=steps - 1, at_work=(what,)))

    total = count_steps(settings, random_labels=other is not None)
    with Progress("sanity checks", total, "steps", brief=True) as progress:
        checks = check_attribution(
            model,
            windows,
            settings,
            planted=planted,
            permuted_label_model=other,
            on_progress=on_progress,
        )
        progress.update(State(done=total))
    found = {"simulated": simulated, "checks": [check.as_json() for check in checks]}
    with only_writer(out, overwrite=given.overwrite):
        Origin.of(data).write(out)
        write_json(out / NAME, found)
    return Outcome(format_checks(checks), found, {"checks": out / NAME}, simulated, out)


if __name__ == "__main__":
    run_job(with_report(main))

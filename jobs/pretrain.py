"""Pretrain a HyenaDNA backbone on a genome: python jobs/pretrain.py --help"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hyena_ray.commands import DONE, READ, WHERE, Outcome, Parser, run_job
from hyena_ray.report.job import with_report
from hyena_ray.settings import load_yaml, parse_assignments
from hyena_ray.storage import location

DESCRIPTION = """\
Pretrain a HyenaDNA backbone on a genome, from random weights or from others, and compare its
held-out perplexity with Markov models. DIR/backbone is what --backbone and model.backbone take.
"""
EXAMPLES = """\
examples:
  python jobs/pretrain.py --genome hg19.fa.gz --out pretrained --held-out chr7 --leave-out chr20
  python jobs/pretrain.py --genome hg19.fa.gz --out masked --objective masked \\
      --set training.steps=2000 --set 'training.lengths=[64, 256]' --workers 2 --dry-run
"""
OBJECTIVES = ("next_base", "masked")
"""Those of `PretrainSettings`, which imports torch."""


def parser() -> Parser:
    """The command line."""
    options = Parser(
        prog="pretrain.py",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        found="perplexity by contig, markov by order and contig, train_loss",
    )
    options.add_genome()
    read = options.group(READ)
    read.add_argument(
        "--leave-out",
        metavar="C,C",
        help="contigs of which nothing is looked at, those of tests; default: none",
    )
    read.add_argument(
        "--held-out",
        metavar="C,C",
        help="contigs that are scored and not trained on; default: the last 5 %% of each",
    )
    read.add_argument(
        "--backbone",
        metavar="DIR|ID",
        help="weights to go on from, a folder or a hub id; default: random weights",
    )
    done = options.group(DONE)
    done.add_argument(
        "--objective",
        choices=OBJECTIVES,
        help="predict the next base, as HyenaDNA was trained; or masked bases, for a backbone "
        "whose states are read from both sides; default: next_base",
    )
    done.add_argument(
        "--config", metavar="YAML", type=Path, help="settings in place of these; default: none"
    )
    options.add_settings("one setting in place of all these; may be given again")
    options.add_output("new folder; takes backbone/, manifest.json and report.html", required=True)
    options.add_existing_output()
    options.add_dry_run()
    options.group(WHERE).add_argument(
        "--workers",
        metavar="N",
        type=int,
        default=1,
        help="processes that train together, each on its part of every step",
    )
    options.add_resources("a worker")
    options.add_address()
    return options


def main(arguments: Sequence[str]) -> Outcome:
    """Pretrain, or say what a pretraining would take."""
    given = parser().parse_args(arguments)
    from hyena_ray.training.settings import PretrainSettings

    settings = PretrainSettings()
    if given.config:
        settings = PretrainSettings.parse(load_yaml(given.config), given.config)
    changes = parse_assignments(given.set, "--set")
    for key, value in (("objective", given.objective), ("model.backbone", given.backbone)):
        if value is not None:
            changes[key] = value
    settings = settings.updated(changes, "--set")
    from hyena_ray.cluster.dry_pretrain import plan_job
    from hyena_ray.cluster.plan_pretrain import PretrainOptions, written_by
    from hyena_ray.cluster.pretrain import pretrain_on_genome
    from hyena_ray.cluster.resources import Resources, TrialResources

    asked = {"cpu": given.cpu, "gpu": given.gpu, "workers": given.workers}
    TrialResources.parse(asked, "command line")
    inputs = [given.config, settings.model.backbone]
    options = PretrainOptions(
        genome=given.genome,
        out=given.out,
        settings=settings,
        leave_out=_names(given.leave_out),
        held_out=_names(given.held_out),
        workers=given.workers,
        resources=Resources.parse({"cpu": given.cpu, "gpu": given.gpu}, "command line"),
        inputs=tuple(location(str(path)) for path in inputs if path),
        resume=given.resume,
        overwrite=given.overwrite,
        address=given.address,
    )
    if given.dry_run:
        return plan_job(options).outcome()
    record = pretrain_on_genome(options)
    last = record.history[-1]
    found = {"perplexity": last.perplexity, "markov": record.markov, "train_loss": last.train_loss}
    out = options.out.expanduser().absolute()
    return Outcome(record.text(), found, written_by(out), record.provenance.simulated, out)


def _names(text: str | None) -> tuple[str, ...]:
    return () if text is None else tuple(text.split(","))


if __name__ == "__main__":
    run_job(with_report(main))

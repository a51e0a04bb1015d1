"""Pretrain a HyenaDNA backbone on a genome: python jobs/pretrain.py --help"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from hyena_ray.cluster.pretrain import PretrainOptions, pretrain_on_genome
from hyena_ray.cluster.resources import Resources, TrialResources
from hyena_ray.commands import Outcome, Parser, place, run_job
from hyena_ray.pretraining.record import BACKBONE, RECORD
from hyena_ray.pretraining.settings import Objective, PretrainSettings
from hyena_ray.settings import load_yaml, parse_assignments
from hyena_ray.storage import location

DESCRIPTION = """\
Pretrain a HyenaDNA backbone on a genome, from random weights or from others, and compare its
held-out perplexity with Markov models. DIR/backbone is what --backbone and model.backbone take.
"""
EXAMPLE = """\
examples:
  python jobs/pretrain.py --genome hg19.fa.gz --out pretrained --held-out chr7 --leave-out chr20
  python jobs/pretrain.py --genome hg19.fa.gz --out masked --objective masked \\
      --set training.steps=2000 --set 'training.lengths=[64, 256]' --workers 2
  python jobs/train.py --data prepared --out run --backbone pretrained/backbone
"""


def main(arguments: Sequence[str]) -> Outcome:
    given = parser().parse_args(arguments)
    options = options_of(given)
    record = pretrain_on_genome(options)
    out = options.out.expanduser().absolute()
    last = record.history[-1]
    return Outcome(
        f"{record.text()}\nwrote {out / BACKBONE}",
        {"perplexity": last.perplexity, "markov": record.markov, "train_loss": last.train_loss},
        {"backbone": out / BACKBONE, "manifest": out / RECORD},
    )


def options_of(given: argparse.Namespace) -> PretrainOptions:
    """Check what can be checked without reading the genome."""
    settings = PretrainSettings()
    if given.config:
        settings = PretrainSettings.parse(load_yaml(given.config), given.config)
    changes = parse_assignments(given.set, "--set")
    for key, value in (("objective", given.objective), ("model.backbone", given.backbone)):
        if value is not None:
            changes[key] = value
    settings = settings.updated(changes, "--set")
    asked = {"cpu": given.cpu, "gpu": given.gpu, "workers": given.workers}
    TrialResources.parse(asked, "command line")
    inputs = [given.config, settings.model.backbone]
    return PretrainOptions(
        genome=given.genome,
        out=given.out,
        settings=settings,
        leave_out=_names(given.leave_out),
        held_out=_names(given.held_out),
        workers=given.workers,
        each=Resources.parse({"cpu": given.cpu, "gpu": given.gpu}, "command line"),
        inputs=tuple(location(str(path)) for path in inputs if path),
        resume=given.resume,
        overwrite=given.overwrite,
        address=given.address,
    )


def parser() -> Parser:
    """The command line."""
    options = Parser(prog="pretrain.py", description=DESCRIPTION, epilog=EXAMPLE)
    options.add_argument("--genome", metavar="FA", type=place, required=True, help="FASTA file")
    options.add_argument(
        "--out", metavar="DIR", type=place, required=True, help="new folder for the run"
    )
    options.add_argument(
        "--objective",
        choices=get_args(Objective),
        help=PretrainSettings.model_fields["objective"].description,
    )
    options.add_argument(
        "--leave-out", metavar="C,C", help="contigs of which nothing is looked at: those of tests"
    )
    options.add_argument(
        "--held-out",
        metavar="C,C",
        help="contigs that are scored and not trained on; default: the last 5 %% of each",
    )
    options.add_argument("--backbone", help="weights to go on from: a folder or a hub id")
    options.add_argument("--config", type=Path, metavar="YAML", help="settings; defaults fill up")
    options.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="change one setting"
    )
    options.add_argument(
        "--workers",
        metavar="N",
        type=int,
        default=1,
        help="processes that train together, each on its part of every step; default: 1",
    )
    options.add_resources("a worker")
    options.add_existing_output()
    options.add_address()
    return options


def _names(text: str | None) -> tuple[str, ...]:
    return () if text is None else tuple(text.split(","))


if __name__ == "__main__":
    run_job(main)

"""Train one run on prepared windows."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path

import torch

from hyena_ray.cluster.folder import check_output, only_writer
from hyena_ray.commands import Parser, place, run_job
from hyena_ray.dataset.reader import PreparedData
from hyena_ray.settings import dotted, load_yaml, parse_assignments
from hyena_ray.storage import location
from hyena_ray.training.fit import check_run_fits
from hyena_ray.training.loop import EpochReport, start_model
from hyena_ray.training.run import CONFIG, complete_run, view_of
from hyena_ray.training.settings import RunSettings
from hyena_ray.training.sources import ArraySource
from hyena_ray.tuning.presets import load_preset

EXAMPLE = """examples:
  python jobs/train.py --data prepared --out run --set training.epochs=8 --test
  python jobs/train.py --data prepared --out run --preset zdna/two_stage --test
"""
PRESETS = Path(__file__).parent.parent / "search_spaces" / "presets"


def main(arguments: Sequence[str]) -> None:
    parser = Parser(prog="train.py", description=__doc__, epilog=EXAMPLE)
    parser.add_argument("--data", type=place, required=True, help="folder that prepare.py wrote")
    parser.add_argument("--out", type=place, required=True, help="new folder for the run")
    parser.add_argument("--preset", metavar="TASK/NAME", help="from search_spaces/presets/")
    parser.add_argument("--config", type=Path, help="YAML of settings; defaults fill the rest")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="change one setting"
    )
    parser.add_argument("--backbone", help="published checkpoint: a folder or a hub id")
    parser.add_argument("--test", action="store_true", help="score the test windows at the end")
    parser.add_existing_output()
    options = parser.parse_args(arguments)

    data = PreparedData.open(options.data)
    settings = settings_of(options, data)
    check_run_fits(settings, data, "settings", gpu=torch.cuda.is_available())
    inputs = [location(str(path)) for path in (options.config, settings.model.backbone) if path]
    out = check_output(
        options.out,
        data,
        inputs=inputs,
        resume=options.resume,
        overwrite=options.overwrite,
        begun_by=CONFIG,
    )
    length = settings.data.length
    data.check([length])
    data = view_of(settings, data)
    train = ArraySource(data.read(length, "train", settings.data.limit))
    validation = ArraySource(data.read(length, "val"))
    start_model(settings, train, validation)  # refuses what it must before a file is written
    with only_writer(out, overwrite=options.overwrite):
        record, evaluation = complete_run(
            settings, data, train, validation, out, _log_epoch, test=options.test
        )
    print("validation", " ".join(f"{key} {value:.4f}" for key, value in record.validation.items()))
    if evaluation is not None:
        print(evaluation.table())


def settings_of(options: argparse.Namespace, data: PreparedData) -> RunSettings:
    """The task's defaults or the preset, then what --config says, then --backbone and --set."""
    settings = RunSettings.of_task(data.manifest.task)
    if options.preset:
        preset = load_preset(options.preset, PRESETS)
        preset.check_data(data)
        settings = preset.run_settings(gpu=torch.cuda.is_available())
    if options.config:
        settings = settings.updated(dotted(load_yaml(options.config)), options.config)
    changes = parse_assignments(options.set, "--set")
    if options.backbone:
        changes["model.backbone"] = options.backbone
    return settings.updated(changes, "--set")


def _log_epoch(report: EpochReport) -> None:
    shown = " ".join(f"{name} {value:.4f}" for name, value in report.metrics.items())
    logging.info("epoch %d/%d %s", report.epoch, report.epochs, shown)


if __name__ == "__main__":
    run_job(main)

"""Train one run on prepared windows."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from hyena_ray.commands import Parser, run_job
from hyena_ray.dataset.reader import PreparedData
from hyena_ray.files import new_output, write_json
from hyena_ray.model.saved import load_window_model
from hyena_ray.settings import load_yaml, parse_assignments
from hyena_ray.training.evaluation import evaluate_on_split
from hyena_ray.training.fit import check_run_fits
from hyena_ray.training.loop import EpochReport, train_run
from hyena_ray.training.settings import RunSettings
from hyena_ray.training.sources import ArraySource

EXAMPLE = """example:
  python jobs/train.py --data prepared --out run --set training.epochs=8 --test
"""


def main(arguments: Sequence[str]) -> None:
    parser = Parser(prog="train.py", description=__doc__, epilog=EXAMPLE)
    parser.add_argument("--data", type=Path, required=True, help="folder that prepare.py wrote")
    parser.add_argument("--out", type=Path, required=True, help="new folder for the run")
    parser.add_argument("--config", type=Path, help="YAML of settings; defaults fill the rest")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="change one setting"
    )
    parser.add_argument("--backbone", help="published checkpoint: a folder or a hub id")
    parser.add_argument("--test", action="store_true", help="score the test windows at the end")
    parser.add_existing_output()
    options = parser.parse_args(arguments)

    data = PreparedData.open(options.data)
    settings = settings_of(options, data.manifest.task)
    check_run_fits(settings, data, "settings", gpu=torch.cuda.is_available())
    if settings.data.fold is not None:
        data = data.for_fold(settings.data.fold)
    out = new_output(options.out, resume=options.resume, overwrite=options.overwrite)

    length = settings.data.length
    train = ArraySource(data.read(length, "train", settings.data.limit))
    validation = ArraySource(data.read(length, "val"))
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / "config.json", settings.model_dump(mode="json"))
    result = train_run(settings, train, validation, out, _log_epoch)
    manifest = {
        "simulated": data.manifest.simulated,
        "best_epoch": result.best_epoch,
        "validation": result.metrics,
    }
    print("validation", " ".join(f"{key} {value:.4f}" for key, value in result.metrics.items()))
    if options.test:
        model = load_window_model(result.model_folder)
        evaluation = evaluate_on_split(model, data, "test", settings.training.class_weights())
        print(evaluation.table())
        write_json(out / "evaluation.json", evaluation.as_json())
        manifest["test"] = evaluation.metrics._asdict()
    write_json(out / "manifest.json", manifest)


def settings_of(options: argparse.Namespace, task: str) -> RunSettings:
    """The task's defaults, then what --config says, then --backbone and --set."""
    settings = RunSettings.of_task(task)
    if options.config:
        settings = settings.updated(dotted(load_yaml(options.config)), "--config")
    changes = parse_assignments(options.set, "--set")
    if options.backbone:
        changes["model.backbone"] = options.backbone
    return settings.updated(changes, "--set")


def dotted(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """`{"training.epochs": 3}` of `{"training": {"epochs": 3}}`."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            found |= dotted(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found


def _log_epoch(report: EpochReport) -> None:
    shown = " ".join(f"{name} {value:.4f}" for name, value in report.metrics.items())
    logging.info("epoch %d/%d %s", report.epoch, report.epochs, shown)


if __name__ == "__main__":
    run_job(main)

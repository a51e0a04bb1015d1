"""What lies in a folder that a job wrote: read and checked as a whole, before a page is made of it.

Whatever is not there is None; what is there and cannot be read is an InputError.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import optuna
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import TypeAdapter, ValidationError

from hyena_ray.attribution.methods import METHODS
from hyena_ray.attribution.shards import ShardPlan
from hyena_ray.dataset.manifest import MANIFEST, Manifest
from hyena_ray.dataset.origin import NAME as DATA
from hyena_ray.dataset.origin import Origin
from hyena_ray.dataset.reader import PreparedData
from hyena_ray.errors import InputError
from hyena_ray.files import read_json
from hyena_ray.report.faith import Sanity
from hyena_ray.report.predicted import Predicted, read_predicted
from hyena_ray.report.sample import Sample, read_sample
from hyena_ray.report.study import read_study
from hyena_ray.search.trial_fields import PROBLEM, SCORE, SECONDS, STUDY_FILE
from hyena_ray.settings import load_yaml
from hyena_ray.storage import AnyPath, arrow_file
from hyena_ray.tasks import Task, task_named
from hyena_ray.training.evaluation import Evaluation
from hyena_ray.training.pretrain_record import PretrainRecord
from hyena_ray.training.run import CONFIG, EVALUATION, RunRecord
from hyena_ray.training.settings import RunSettings
from hyena_ray.training.supervised import HISTORY
from hyena_ray.tuning.comparison import COST, METRICS
from hyena_ray.tuning.summary import RunSummary

SANITY = "sanity.json"
BEGUN = {
    "config.yaml": "a search, a comparison or a pretraining",
    CONFIG: "a training run",
    "shards/plan.json": "an attribution or a prediction",
}
"""File that stands in an unfinished folder too, and what that is."""
SCORED = ("kmer", "count", "windows", "score", "ci_low", "ci_high", "q_value")
"""Columns of the table of a method."""
EPOCHS = "epochs"
REMEDY = "finish it with --resume, or make it again"


class Kmers(NamedTuple):
    """Tables of an attribution."""

    plan: ShardPlan
    methods: dict[str, pa.Table]
    """Gradient method to its table, best k-mer first."""
    tp: pa.Table | None
    consensus: pa.Table | None
    agreement: pa.Table | None
    sample: Sample


class Contents(NamedTuple):
    """Of a folder, and of those that were given beside it."""

    folder: AnyPath
    what: str
    """What the folder is, in words."""
    task: Task | None
    simulated: bool
    origin: Origin | None = None
    """Of the data."""
    summary: RunSummary | None = None
    """Of a search."""
    record: RunRecord | None = None
    """Of a training run."""
    settings: Mapping[str, Any] = {}
    """Of the training run, or what a search began with, by section."""
    evaluation: Evaluation | None = None
    history: list[dict[str, float]] | None = None
    """Metrics of each epoch of the run, or of the best trial."""
    trials: pa.Table | None = None
    study: optuna.Study | None = None
    kmers: Kmers | None = None
    comparison: pa.Table | None = None
    compared_data: str | None = None
    """sha256 of the manifest of the comparison's data."""
    sanity: Sanity | None = None
    pretrained: PretrainRecord | None = None
    predicted: Predicted | None = None
    prepared: Manifest | None = None


def read_contents(
    folder: AnyPath,
    *,
    attributed: AnyPath | None = None,
    compared: AnyPath | None = None,
    sanity: AnyPath | None = None,
) -> Contents:
    """Read a folder that a job left: any but benchmark.py, report.py and simulate.py.

    Args:
        folder: of a run; `sanity/` in it is read as if it was given.
        attributed: folder of attribute.py that goes with it.
        compared: folder of compare.py.
        sanity: folder of sanity.py.

    Raises:
        InputError: the folder is none of these, is not complete, or a file in it is damaged.
    """
    manifest = _manifest(folder)
    if "trials" in manifest:
        own = _searched(folder)
    elif "best_epoch" in manifest:
        own = _trained(folder)
    elif "attributed" in manifest:
        own = Contents(folder, "attribution", None, bool(manifest.get("simulated")))
        attributed = attributed or folder
    elif "diverged" in manifest:
        own = Contents(folder, "comparison of presets", None, bool(manifest.get("simulated")))
        compared = compared or folder
    elif "markov" in manifest:
        record = PretrainRecord.read(folder)
        settings = record.settings.model_dump(mode="json")
        simulated = record.provenance.simulated
        own = Contents(folder, "pretraining", None, simulated, settings=settings, pretrained=record)
    elif "regions_settings" in manifest:
        of_genome = read_predicted(folder)
        own = Contents(folder, "prediction", None, of_genome.record.simulated, predicted=of_genome)
    elif "schema_version" in manifest:
        origin = Origin.of(PreparedData.open(folder))
        task = task_named(origin.manifest.task)
        own = Contents(
            folder,
            "prepared data",
            task,
            origin.manifest.simulated,
            origin=origin,
            prepared=origin.manifest,
        )
    else:
        own = _without_manifest(folder)
        sanity = sanity or (folder if (folder / SANITY).exists() else None)
    if own.summary is not None and attributed is None:
        attributed = folder
    if sanity is None and (folder / "sanity" / SANITY).exists():
        sanity = folder / "sanity"
    if attributed is not None:
        of = _manifest_of(attributed, ("attributed", "attribution"), "attribute.py")
        own = own._replace(
            kmers=_kmers(attributed), simulated=own.simulated or bool(of.get("simulated"))
        )
    if compared is not None:
        of = _manifest_of(compared, ("diverged",), "compare.py")
        own = own._replace(
            comparison=_table(
                compared / "comparison.parquet", ("preset", "about", *METRICS, *COST)
            ),
            compared_data=of.get("data"),
            simulated=own.simulated or bool(of.get("simulated")),
        )
    if sanity is not None:
        checks = Sanity.parse(read_json(sanity / SANITY), sanity / SANITY)
        own = own._replace(sanity=checks, simulated=own.simulated or checks.simulated)
    return _with_origin(own)


def _manifest(folder: AnyPath) -> dict[str, Any]:
    """Of a complete folder; empty where a job writes none."""
    if not folder.is_dir():
        raise InputError(folder, None, "there is no such folder", "give the --out of a job")
    path = folder / MANIFEST
    if path.exists():
        values = read_json(path)
        if not isinstance(values, dict):
            raise InputError(path, None, "not the manifest of a job", "give the --out of a job")
        return values
    for name, what in BEGUN.items():
        if (folder / name).exists():
            raise InputError(folder, None, f"{what} that is not complete: no {MANIFEST}", REMEDY)
    return {}


def _manifest_of(folder: AnyPath, keys: tuple[str, ...], job: str) -> dict[str, Any]:
    """Of a complete folder of one job, whose manifest has one of these keys."""
    manifest = _manifest(folder)
    if not any(key in manifest for key in keys):
        raise InputError(folder, None, f"not a folder of {job}", f"give the --out of {job}")
    return manifest


def _searched(folder: AnyPath) -> Contents:
    summary = RunSummary.read(folder)
    best = folder / "trials" / f"{summary.best_trial:04d}" / HISTORY
    return Contents(
        folder,
        "search of settings",
        task_named(summary.task, str(folder / MANIFEST)),
        summary.simulated,
        summary=summary,
        settings=load_yaml(folder / "config.yaml"),
        evaluation=_evaluation(folder),
        history=_history(best),
        trials=_table(
            folder / "trials.parquet", ("trial", "state", SCORE, EPOCHS, SECONDS, PROBLEM)
        ),
        study=read_study(folder / STUDY_FILE, summary.task),
    )


def _trained(folder: AnyPath) -> Contents:
    record = RunRecord.read(folder)
    settings = RunSettings.parse(read_json(folder / CONFIG), folder / CONFIG)
    return Contents(
        folder,
        "training run",
        task_named(settings.task, str(folder / CONFIG)),
        record.simulated,
        record=record,
        settings=settings.model_dump(mode="json"),
        evaluation=_evaluation(folder),
        history=_history(folder / HISTORY),
    )


def _without_manifest(folder: AnyPath) -> Contents:
    if (folder / EVALUATION).exists():
        evaluation = Evaluation.read(folder / EVALUATION)
        task = task_named(evaluation.task, str(folder / EVALUATION))
        return Contents(folder, "evaluation", task, evaluation.simulated, evaluation=evaluation)
    if (folder / SANITY).exists():
        return Contents(folder, "sanity checks of an attribution", None, False)
    raise InputError(folder, None, "holds no result of a job", "give the --out of a job")


def _evaluation(folder: AnyPath) -> Evaluation | None:
    path = folder / EVALUATION
    return Evaluation.read(path) if path.exists() else None


def _history(path: AnyPath) -> list[dict[str, float]] | None:
    if not path.exists():
        return None
    try:
        return TypeAdapter(list[dict[str, float]]).validate_python(read_json(path))
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]["msg"]
        raise InputError(path, None, f"damaged ({problem})", REMEDY) from None


def _kmers(folder: AnyPath) -> Kmers:
    path = folder / "shards" / "plan.json"
    plan = ShardPlan.parse(read_json(path), path)
    at = folder / "kmers"
    names = [name for name in plan.settings.methods if METHODS[name].scores_bases]
    agreement = at / "agreement.parquet"
    return Kmers(
        plan,
        methods={name: _table(at / f"{name}.parquet", SCORED) for name in names},
        tp=_table(at / "tp.parquet", ("kmer", "tp_count", "occurrences"))
        if "tp" in plan.settings.methods
        else None,
        consensus=_table(at / "consensus.parquet", ("kmer", "mean_rank"))
        if agreement.exists()
        else None,
        agreement=_table(agreement, ("first", "second", "rbo")) if agreement.exists() else None,
        sample=read_sample(plan, folder),
    )


def _table(path: AnyPath, columns: tuple[str, ...]) -> pa.Table:
    """A file with at least these columns, page checksums verified, and a row."""
    try:
        with arrow_file(path) as stream:
            table = pq.read_table(stream, page_checksum_verification=True)
    except (OSError, pa.ArrowException) as error:
        problem = "is missing" if isinstance(error, FileNotFoundError) else f"is damaged ({error})"
        raise InputError(path, None, problem, REMEDY) from None
    for name in columns:
        if name not in table.column_names:
            raise InputError(path, name, "the column is missing", REMEDY)
    if not table.num_rows:
        raise InputError(path, None, "the table has no row", REMEDY)
    return table


def _with_origin(own: Contents) -> Contents:
    """With the data that the folder remembers, and the task where only they tell it."""
    if not (own.folder / DATA).exists():
        return own
    origin = Origin.read(own.folder)
    return own._replace(origin=origin, task=own.task or task_named(origin.manifest.task))

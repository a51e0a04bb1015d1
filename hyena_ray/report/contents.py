"""Reading of a run's folder into the record that its page is composed of.

A folder is read and checked as a whole before a page is composed. What is absent becomes None; what
is there and cannot be read is an InputError.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import TypeAdapter, ValidationError

from hyena_ray.attribution.methods import METHODS
from hyena_ray.attribution.shards import ShardPlan
from hyena_ray.dataset.manifest import MANIFEST
from hyena_ray.dataset.origin import NAME as DATA
from hyena_ray.dataset.origin import Origin
from hyena_ray.dataset.reader import PreparedData
from hyena_ray.dataset.sharded import PLAN
from hyena_ray.errors import InputError
from hyena_ray.files import read_json
from hyena_ray.prediction.pieces import PredictionPlan
from hyena_ray.prediction.prediction_record import PredictionRecord
from hyena_ray.prediction.region_calling import TABLE
from hyena_ray.report.run_contents import (
    AttributeContents,
    AttributionResults,
    CompareContents,
    ComparisonResults,
    EvaluateContents,
    PredictContents,
    PrepareContents,
    PretrainContents,
    RunContents,
    SanityContents,
    SanityResults,
    TrainContents,
    TuneContents,
    read_regions,
    read_sample,
    read_study,
)
from hyena_ray.search.trial_fields import PROBLEM, SCORE, SECONDS, STUDY_FILE
from hyena_ray.settings import load_yaml
from hyena_ray.storage import AnyPath, arrow_file
from hyena_ray.tasks import task_named
from hyena_ray.training.evaluation import Evaluation
from hyena_ray.training.pretrain_record import PretrainRecord
from hyena_ray.training.run import CONFIG, EVALUATION, RunRecord
from hyena_ray.training.settings import RunSettings
from hyena_ray.training.supervised import HISTORY
from hyena_ray.tuning.comparison import COST, METRICS
from hyena_ray.tuning.summary import RunSummary

SANITY = "sanity.json"
"""File of sanity checks in their folder."""
STARTED = {
    "config.yaml": "a search, a comparison or a pretraining",
    CONFIG: "a training run",
    "shards/plan.json": "an attribution or a prediction",
}
"""File that is in an unfinished folder too, and what that folder is."""
METHOD_COLUMNS = ("kmer", "count", "windows", "score", "ci_low", "ci_high", "q_value")
"""Columns of the k-mer table of a method that the page needs."""
REMEDY = "finish it with --resume, or make it again"


def read_contents(
    folder: AnyPath,
    *,
    attributed: AnyPath | None = None,
    compared: AnyPath | None = None,
    sanity: AnyPath | None = None,
) -> RunContents:
    """Read the folder of a run, and of results that are shown on the same page.

    Args:
        folder: Folder of any run but a benchmark; `sanity/` inside it is read as if it was given.
        attributed: Folder of an attribution of the same model.
        compared: Folder of a comparison of presets.
        sanity: Folder of sanity checks.

    Raises:
        InputError: The folder is none of these, is not complete, or a file in it is damaged.
    """
    contents = _with_origin(_reader(folder)(folder))
    if sanity is None and contents.sanity is None and (folder / "sanity" / SANITY).exists():
        sanity = folder / "sanity"
    if attributed is not None:
        manifest = _manifest_of(attributed, ("attributed", "attribution"), "attribute.py")
        contents = replace(
            contents,
            attribution=_attribution(attributed),
            simulated=contents.simulated or bool(manifest.get("simulated")),
        )
    if compared is not None:
        manifest = _manifest_of(compared, ("diverged",), "compare.py")
        contents = replace(
            contents,
            comparison=_comparison(compared),
            simulated=contents.simulated or bool(manifest.get("simulated")),
        )
    if sanity is not None:
        checks = SanityResults.parse(read_json(sanity / SANITY), sanity / SANITY)
        contents = replace(
            contents, sanity=checks, simulated=contents.simulated or checks.simulated
        )
    return contents


def _reader(folder: AnyPath) -> Callable[[AnyPath], RunContents]:
    manifest = _manifest(folder)
    for key, reader in (
        ("trials", _tune),
        ("best_epoch", _train),
        ("attributed", _attribute),
        ("diverged", _compare),
        ("markov", _pretrain),
        ("regions_settings", _predict),
        ("schema_version", _prepare),
    ):
        if key in manifest:
            return reader
    if (folder / EVALUATION).exists():
        return _evaluate
    if (folder / SANITY).exists():
        return _sanity
    raise InputError(folder, None, "holds no result of a job", "give the --out of a job")


def _manifest(folder: AnyPath) -> dict[str, Any]:
    """Return the manifest of a complete folder; it is empty where a job writes none."""
    if not folder.is_dir():
        raise InputError(folder, None, "there is no such folder", "give the --out of a job")
    path = folder / MANIFEST
    if path.exists():
        values = read_json(path)
        if not isinstance(values, dict):
            raise InputError(path, None, "not the manifest of a job", "give the --out of a job")
        return values
    for name, what in STARTED.items():
        if (folder / name).exists():
            raise InputError(folder, None, f"{what} that is not complete: no {MANIFEST}", REMEDY)
    return {}


def _manifest_of(folder: AnyPath, keys: tuple[str, ...], job: str) -> dict[str, Any]:
    """Return the manifest of a complete folder of one job, which has one of these keys."""
    manifest = _manifest(folder)
    if not any(key in manifest for key in keys):
        raise InputError(folder, None, f"not a folder of {job}", f"give the --out of {job}")
    return manifest


def _with_origin(contents: RunContents) -> RunContents:
    """Add the data that the folder records, and their task where only they record it."""
    if not (contents.folder / DATA).exists():
        return contents
    origin = Origin.read(contents.folder)
    return replace(contents, origin=origin, task=contents.task or task_named(origin.manifest.task))


def _tune(folder: AnyPath) -> TuneContents:
    summary = RunSummary.read(folder)
    columns = ("trial", "state", SCORE, "epochs", SECONDS, PROBLEM)
    return TuneContents(
        folder=folder,
        simulated=summary.simulated,
        task=task_named(summary.task, str(folder / MANIFEST)),
        summary=summary,
        settings=load_yaml(folder / "config.yaml"),
        evaluation=_evaluation(folder),
        history=_history(folder / "trials" / f"{summary.best_trial:04d}" / HISTORY),
        trials=_table(folder / "trials.parquet", columns),
        study=read_study(folder / STUDY_FILE, summary.task),
        attribution=_attribution(folder),
    )


def _train(folder: AnyPath) -> TrainContents:
    record = RunRecord.read(folder)
    settings = RunSettings.parse(read_json(folder / CONFIG), folder / CONFIG)
    return TrainContents(
        folder=folder,
        simulated=record.simulated,
        task=task_named(settings.task, str(folder / CONFIG)),
        record=record,
        settings=settings.model_dump(mode="json"),
        evaluation=_evaluation(folder),
        history=_history(folder / HISTORY),
    )


def _evaluate(folder: AnyPath) -> EvaluateContents:
    evaluation = Evaluation.read(folder / EVALUATION)
    return EvaluateContents(
        folder=folder,
        simulated=evaluation.simulated,
        task=task_named(evaluation.task, str(folder / EVALUATION)),
        evaluation=evaluation,
    )


def _attribute(folder: AnyPath) -> AttributeContents:
    simulated = bool(_manifest(folder).get("simulated"))
    return AttributeContents(folder=folder, simulated=simulated, attribution=_attribution(folder))


def _compare(folder: AnyPath) -> CompareContents:
    simulated = bool(_manifest(folder).get("simulated"))
    return CompareContents(folder=folder, simulated=simulated, comparison=_comparison(folder))


def _sanity(folder: AnyPath) -> SanityContents:
    checks = SanityResults.parse(read_json(folder / SANITY), folder / SANITY)
    return SanityContents(folder=folder, simulated=checks.simulated, sanity=checks)


def _pretrain(folder: AnyPath) -> PretrainContents:
    record = PretrainRecord.read(folder)
    return PretrainContents(folder=folder, simulated=record.provenance.simulated, record=record)


def _predict(folder: AnyPath) -> PredictContents:
    record, path = PredictionRecord.read(folder), folder / PLAN
    return PredictContents(
        folder=folder,
        simulated=record.simulated,
        record=record,
        regions=read_regions(folder / TABLE),
        plan=PredictionPlan.parse(read_json(path), path),
    )


def _prepare(folder: AnyPath) -> PrepareContents:
    origin = Origin.of(PreparedData.open(folder))
    return PrepareContents(
        folder=folder,
        simulated=origin.manifest.simulated,
        task=task_named(origin.manifest.task),
        origin=origin,
        manifest=origin.manifest,
    )


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


def _attribution(folder: AnyPath) -> AttributionResults:
    path = folder / PLAN
    plan = ShardPlan.parse(read_json(path), path)
    kmers = folder / "kmers"
    names = [name for name in plan.settings.methods if METHODS[name].scores_bases]
    agreement = kmers / "agreement.parquet"
    several = agreement.exists()
    return AttributionResults(
        plan,
        methods={name: _table(kmers / f"{name}.parquet", METHOD_COLUMNS) for name in names},
        tp=_table(kmers / "tp.parquet", ("kmer", "tp_count", "occurrences"))
        if "tp" in plan.settings.methods
        else None,
        consensus=_table(kmers / "consensus.parquet", ("kmer", "mean_rank")) if several else None,
        agreement=_table(agreement, ("first", "second", "rbo")) if several else None,
        sample=read_sample(plan, folder),
    )


def _comparison(folder: AnyPath) -> ComparisonResults:
    columns = ("preset", "about", *METRICS, *COST)
    table = _table(folder / "comparison.parquet", columns)
    return ComparisonResults(table, _manifest(folder).get("data"))


def _table(path: AnyPath, columns: tuple[str, ...]) -> pa.Table:
    """Read a table with at least these columns and one row, page checksums verified."""
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

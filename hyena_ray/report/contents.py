"""Read the folder of a run into the record that its page is composed of.

A folder is read and checked as a whole before a page is composed. What is absent becomes None; what
is there and cannot be read is an InputError.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import PurePath
from typing import TypeVar

from pydantic import TypeAdapter, ValidationError

from hyena_ray.attribution.methods import METHODS
from hyena_ray.attribution.shards import ShardPlan
from hyena_ray.dataset.manifest import Manifest
from hyena_ray.dataset.origin import NAME as DATA
from hyena_ray.dataset.origin import Origin
from hyena_ray.dataset.reader import PreparedData
from hyena_ray.errors import InputError
from hyena_ray.files import read_json
from hyena_ray.genome.assemblies import ASSEMBLIES
from hyena_ray.model.saved import load_window_model, model_sha256
from hyena_ray.prediction import variant_tables
from hyena_ray.prediction.embedding_shards import EmbedRecord
from hyena_ray.prediction.pieces import PredictionPlan
from hyena_ray.prediction.prediction_record import PredictionRecord
from hyena_ray.prediction.region_tables import CONTIGS, TABLE
from hyena_ray.prediction.variant_record import VariantRecord
from hyena_ray.report.run_contents import (
    AttributeContents,
    AttributionResults,
    CombineContents,
    CompareContents,
    ComparisonResults,
    EmbedContents,
    EvaluateContents,
    PredictContents,
    PrepareContents,
    PretrainContents,
    RunContents,
    SanityContents,
    SanityResults,
    TrainContents,
    TuneContents,
    VariantContents,
    read_predicted,
    read_sample,
    read_study,
)
from hyena_ray.runs.plan import Plan
from hyena_ray.runs.record import EVALUATION, MANIFEST, PLAN, read_kind, read_manifest
from hyena_ray.runs.run import PROVENANCE, RunProvenance, read_plan
from hyena_ray.runs.stored_files import StoredFile
from hyena_ray.runs.table_file import REMEDY, read_table
from hyena_ray.search.space import SearchSpace
from hyena_ray.search.trial_fields import PROBLEM, SCORE, SECONDS, STUDY_FILE
from hyena_ray.storage import AnyPath
from hyena_ray.tasks import task_named
from hyena_ray.training.evaluation import Evaluation
from hyena_ray.training.pretrain_record import PretrainRecord
from hyena_ray.workflows.attribute import AttributeRecord
from hyena_ray.workflows.combine import AGREEMENT, CombineRecord
from hyena_ray.workflows.compare import CompareRecord
from hyena_ray.workflows.comparison_table import COST_TITLES, METRIC_TITLES
from hyena_ray.workflows.evaluate import EvaluatePlan, EvaluateRecord
from hyena_ray.workflows.sanity import SANITY, SanityPlan, SanityRecord
from hyena_ray.workflows.train import HISTORY, TrainPlan, TrainRecord
from hyena_ray.workflows.tune import ATTRIBUTION, TunePlan, TuneRecord

PlanType = TypeVar("PlanType", bound=Plan)

METHOD_COLUMNS = (
    *("kmer", "count", "windows", "score", "shrunken_score", "ci_low", "ci_high", "background"),
    *("p_value", "q_value"),
)
"""Columns of the k-mer table of a method that the page needs."""


def read_contents(
    folder: AnyPath,
    *,
    attributed: AnyPath | None = None,
    compared: AnyPath | None = None,
    sanity: AnyPath | None = None,
    assembly: str | None = None,
) -> RunContents:
    """Read the folder of a run, and of results that are shown on the same page.

    Args:
        folder: Folder of any run; `sanity/` inside it is read as if it was given.
        attributed: Folder of an attribution of the same model, or of a search.
        compared: Folder of a comparison of presets.
        sanity: Folder of sanity checks.
        assembly: Name of the genome's assembly at UCSC; None takes that of the genome's file, if it
            is called as one.

    Raises:
        InputError: A folder is no run, not complete, of another kind, or a file in it is damaged;
            or the attribution or the checks are of another model.
    """
    contents = _with_origin(READERS[read_kind(folder)](folder))
    if not contents.simulated:
        contents = replace(contents, assembly=assembly or _assembly(contents))
    if sanity is None and contents.sanity is None and (folder / "sanity" / MANIFEST).exists():
        sanity = folder / "sanity"
    if attributed is not None:
        kind = read_manifest(attributed, ("attribute", "tune"), "--attributed")["kind"]
        own = attributed / ATTRIBUTION if kind == "tune" else attributed
        _check_model(folder, attributed, "--attributed")
        record = AttributeRecord.read(own)
        contents = replace(
            contents,
            attribution=_attribution(own),
            simulated=contents.simulated or record.simulated,
        )
    if compared is not None:
        comparison = CompareRecord.read(compared, "--compared")
        contents = replace(
            contents,
            comparison=_comparison(compared, comparison),
            simulated=contents.simulated or comparison.simulated,
        )
    if sanity is not None:
        SanityRecord.read(sanity, "--sanity")
        _check_model(folder, sanity, "--sanity")
        checks = SanityResults.parse(read_json(sanity / SANITY), sanity / SANITY)
        contents = replace(
            contents, sanity=checks, simulated=contents.simulated or checks.simulated
        )
    return contents


def _assembly(contents: RunContents) -> str | None:
    """Return the assembly that the genome's file is called after, such as hg38.2bit."""
    names = [PurePath(contents.provenance.inputs.get("genome", "")).name]
    if contents.origin is not None:
        files = contents.origin.manifest.files_read
        names += [file.name for file in files if file.role == "genome"]
    stems = (name.partition(".")[0] for name in names)
    return next((stem for stem in stems if stem in ASSEMBLIES), None)


def _check_model(folder: AnyPath, other: AnyPath, option: str) -> None:
    """Refuse results of another model than that of the run whose page they are shown on."""
    own, theirs = _model_of(folder), _model_of(other)
    if None not in (own, theirs) and own != theirs:
        raise InputError(
            option,
            other,
            f"is of another model than {folder}",
            "give results of the model of that run",
        )


def _model_of(folder: AnyPath) -> str | None:
    """Return the sha256 of the model of a run, see `model_sha256`; None for a run without one."""
    match read_kind(folder):
        case TrainRecord.KIND:
            return model_sha256(load_window_model(folder / "model"))
        case TuneRecord.KIND:
            return _plan(folder / ATTRIBUTION, ShardPlan).model
        case ShardPlan.KIND:
            return _plan(folder, ShardPlan).model
        case EvaluatePlan.KIND:
            return _plan(folder, EvaluatePlan).model
        case PredictionPlan.KIND:
            return _plan(folder, PredictionPlan).model
        case SanityPlan.KIND:
            return _plan(folder, SanityPlan).model
    return None


def _with_origin(contents: RunContents) -> RunContents:
    """Add the run's files, how it was made, its data, and their task where only they have it."""
    manifest, path = contents.folder / MANIFEST, contents.folder / PROVENANCE
    listed = read_json(manifest).get("contents", ())
    files = tuple(StoredFile.parse(file, f"{manifest}: contents") for file in listed)
    contents = replace(contents, files=files)
    if path.exists():
        contents = replace(contents, provenance=RunProvenance.parse(read_json(path), path))
    if not (contents.folder / DATA).exists():
        return contents
    origin = Origin.read(contents.folder)
    return replace(contents, origin=origin, task=contents.task or task_named(origin.manifest.task))


def _plan(folder: AnyPath, plan_class: type[PlanType]) -> PlanType:
    plan = read_plan(folder, plan_class)
    if plan is None:
        raise InputError(folder / PLAN, None, "there is no such file", REMEDY)
    return plan


def _tune(folder: AnyPath) -> TuneContents:
    record, plan = TuneRecord.read(folder), _plan(folder, TunePlan)
    columns = ("trial", "state", SCORE, "epochs", SECONDS, PROBLEM)
    AttributeRecord.read(folder / ATTRIBUTION)
    return TuneContents(
        folder=folder,
        simulated=record.simulated,
        task=task_named(record.task, str(folder / MANIFEST)),
        summary=record,
        metric=SearchSpace.parse(plan.space, folder / PLAN).metric,
        settings=plan.model_dump(mode="json"),
        evaluation=Evaluation.read(folder / EVALUATION),
        history=_history(folder / "trials" / f"{record.best_trial:04d}" / HISTORY),
        trials=read_table(folder / "trials.parquet", columns),
        study=read_study(folder / STUDY_FILE, record.task),
        attribution=_attribution(folder / ATTRIBUTION),
    )


def _train(folder: AnyPath) -> TrainContents:
    record, settings = TrainRecord.read(folder), _plan(folder, TrainPlan).settings
    return TrainContents(
        folder=folder,
        simulated=record.simulated,
        task=task_named(settings.task, str(folder / PLAN)),
        record=record,
        metric=settings.metric,
        settings=settings.used(),
        evaluation=_evaluation(folder),
        history=_history(folder / HISTORY),
    )


def _evaluate(folder: AnyPath) -> EvaluateContents:
    record, evaluation = EvaluateRecord.read(folder), Evaluation.read(folder / EVALUATION)
    return EvaluateContents(
        folder=folder,
        simulated=record.simulated,
        task=task_named(evaluation.task, str(folder / EVALUATION)),
        evaluation=evaluation,
    )


def _attribute(folder: AnyPath) -> AttributeContents:
    record = AttributeRecord.read(folder)
    return AttributeContents(
        folder=folder, simulated=record.simulated, attribution=_attribution(folder)
    )


def _combine(folder: AnyPath) -> CombineContents:
    record = CombineRecord.read(folder)
    columns = (
        *("kmer", "score", "sd", "significant", "mean_rank", "best_rank", "worst_rank"),
        *(f"score_{name}" for name in record.models),
    )
    kmers = folder / "kmers"
    return CombineContents(
        folder=folder,
        simulated=record.simulated,
        models=record.models,
        tables={
            method: read_table(kmers / f"{method}.parquet", columns) for method in record.methods
        },
        agreement=read_table(
            kmers / f"{AGREEMENT}.parquet", ("method", "first", "second", "kendall_tau", "rbo")
        ),
    )


def _compare(folder: AnyPath) -> CompareContents:
    record = CompareRecord.read(folder)
    return CompareContents(
        folder=folder, simulated=record.simulated, comparison=_comparison(folder, record)
    )


def _sanity(folder: AnyPath) -> SanityContents:
    record = SanityRecord.read(folder)
    checks = SanityResults.parse(read_json(folder / SANITY), folder / SANITY)
    return SanityContents(folder=folder, simulated=record.simulated, sanity=checks)


def _pretrain(folder: AnyPath) -> PretrainContents:
    record = PretrainRecord.read(folder)
    return PretrainContents(folder=folder, simulated=record.simulated, record=record)


def _embed(folder: AnyPath) -> EmbedContents:
    record = EmbedRecord.read(folder)
    return EmbedContents(folder=folder, simulated=record.simulated, record=record)


def _variants(folder: AnyPath) -> VariantContents:
    record = VariantRecord.read(folder)
    return VariantContents(
        folder=folder,
        simulated=record.simulated,
        record=record,
        table=read_table(folder / variant_tables.TABLE, ("rank", "change")),
        profiles=read_table(folder / variant_tables.STRONGEST, ("number", "ref", "alt")),
    )


def _predict(folder: AnyPath) -> PredictContents:
    record = PredictionRecord.read(folder)
    return PredictContents(
        folder=folder,
        simulated=record.simulated,
        record=record,
        regions=read_predicted(folder / TABLE),
        contigs=read_predicted(folder / CONTIGS),
    )


def _prepare(folder: AnyPath) -> PrepareContents:
    origin = Origin.from_data(PreparedData.open(folder))
    return PrepareContents(
        folder=folder,
        simulated=origin.manifest.simulated,
        task=task_named(origin.manifest.task),
        origin=origin,
        manifest=origin.manifest,
    )


READERS: dict[str, Callable[[AnyPath], RunContents]] = {
    Manifest.KIND: _prepare,
    TrainRecord.KIND: _train,
    TuneRecord.KIND: _tune,
    CompareRecord.KIND: _compare,
    EvaluateRecord.KIND: _evaluate,
    AttributeRecord.KIND: _attribute,
    CombineRecord.KIND: _combine,
    SanityRecord.KIND: _sanity,
    PredictionRecord.KIND: _predict,
    VariantRecord.KIND: _variants,
    EmbedRecord.KIND: _embed,
    PretrainRecord.KIND: _pretrain,
}
"""Reader of every kind of run."""


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
    plan = _plan(folder, ShardPlan)
    kmers = folder / "kmers"
    names = [name for name in plan.settings.methods if METHODS[name].scores_bases]
    agreement = kmers / "agreement.parquet"
    several = agreement.exists()
    return AttributionResults(
        plan,
        AttributeRecord.read(folder).attributed,
        methods={name: read_table(kmers / f"{name}.parquet", METHOD_COLUMNS) for name in names},
        tp=read_table(kmers / "tp.parquet", ("kmer", "tp_count", "occurrences"))
        if "tp" in plan.settings.methods
        else None,
        consensus=read_table(kmers / "consensus.parquet", ("kmer", "mean_rank"))
        if several
        else None,
        agreement=read_table(agreement, ("first", "second", "rbo")) if several else None,
        sample=read_sample(plan, folder),
    )


def _comparison(folder: AnyPath, record: CompareRecord) -> ComparisonResults:
    columns = ("preset", "about", *METRIC_TITLES, *COST_TITLES)
    return ComparisonResults(read_table(folder / "comparison.parquet", columns), record.data)

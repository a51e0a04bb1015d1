"""Combine attributions of several models, such as seeds or folds, into one table of k-mers."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, NamedTuple

from pydantic import Field, field_validator

from hyena_ray.attribution.settings import AttributionSettings
from hyena_ray.errors import InputError, Problems
from hyena_ray.outcomes import Outcome
from hyena_ray.runs.plan import Plan
from hyena_ray.runs.record import MANIFEST, Record, read_manifest
from hyena_ray.runs.run import Output, read_plan, start
from hyena_ray.settings import READ, Location, Option, Settings
from hyena_ray.storage import AnyPath
from hyena_ray.workflows.attribute import TOP, AttributeRecord
from hyena_ray.workflows.workflow import Job, Workflow, WritesRun, outputs_in

if TYPE_CHECKING:
    import pyarrow as pa

    from hyena_ray.attribution.shards import ShardPlan

logger = logging.getLogger(__name__)

KINDS_READ = ("attribute", "tune")
"""Kinds of runs that hold an attribution."""
MAY_DIFFER = {"methods", "seed", "batch", "shuffles", "samples", "consensus", "positive_only"}
"""Settings of an attribution that tables of one kind may differ in."""
AGREEMENT = "agreement"
"""Name of the table that compares the rankings of every two models."""
OUTPUTS = {"k-mers": "kmers", "summary": MANIFEST}
"""Name of every output, and its path in the folder of the run."""


class CombineSettings(WritesRun, Job):
    """Settings of a combination of attributions."""

    attributions: Annotated[tuple[Location, ...], Option("DIR,DIR", READ)]
    """Attributions of two or more models, or searches, which hold one."""

    @field_validator("attributions")
    @classmethod
    def _are_attributions(cls, folders: tuple[AnyPath, ...]) -> tuple[AnyPath, ...]:
        if len(folders) < 2:
            raise InputError(
                "--attributions",
                ",".join(map(str, folders)),
                "fewer than two",
                "give one per model",
            )
        for folder in folders:
            read_manifest(folder, KINDS_READ, "--attributions")
        return folders


class CombinedModel(Settings):
    """One attribution of a combination."""

    name: str
    """Name of its columns."""
    attribution: str
    """Fingerprint of the attribution's plan."""
    digest: str
    """sha256 of its k-mer tables."""


class CombinePlan(Plan):
    """What determines the result of a combination."""

    KIND: ClassVar[str] = "combine"

    models: Annotated[tuple[CombinedModel, ...], Field(min_length=2)]
    """Attributions, in the order in which they were given."""
    methods: Annotated[tuple[str, ...], Field(min_length=1)]
    """Methods that all of them have."""
    settings: AttributionSettings
    """Settings of the first attribution; the others may differ in `MAY_DIFFER`."""


class CombineRecord(Record):
    """Results of a combination."""

    KIND: ClassVar[str] = "combine"

    models: tuple[str, ...]
    """Names of the models."""
    methods: tuple[str, ...]
    """Methods, each of which has a table."""
    kmers: dict[str, tuple[str, ...]]
    """First k-mers of every table."""
    agreement: tuple[dict[str, Any], ...]
    """How far every two models agree under each method."""
    notes: tuple[str, ...]
    """Warnings of models that disagree."""


class Combination(NamedTuple):
    """A combination that passed every check; nothing was written."""

    plan: CombinePlan
    output: Output
    tables: dict[str, dict[str, pa.Table]]
    """Method to the k-mer table of each model, by name of the model."""
    simulated: bool
    """Whether the models were attributed on simulated DNA."""
    inputs: dict[str, AnyPath]
    """Name of each model, and the folder of its attribution."""


def validate(settings: CombineSettings) -> Combination:
    """Check that the attributions can be compared, and read their tables.

    Args:
        settings: Settings of the job.

    Raises:
        InputError: They cannot, or a table is damaged, or the folder may not be written.
    """
    folders = settings.attributions
    with Problems() as problems:
        output = problems.collect(settings.output, CombinePlan.KIND, folders)
        problems.collect(_check_distinct, folders)
    assert output is not None
    own = {name: _attribution_in(folder) for name, folder in _names(folders).items()}
    from hyena_ray.attribution.methods import METHODS
    from hyena_ray.attribution.shards import ShardPlan
    from hyena_ray.runs.table_file import read_table

    records = {name: AttributeRecord.read(folder) for name, folder in own.items()}
    plans: dict[str, ShardPlan] = {}
    for name, folder in own.items():
        plan = read_plan(folder, ShardPlan)
        if plan is None:
            raise InputError(folder, None, "has no plan", "make it again")
        plans[name] = plan
    first = next(iter(plans))
    with Problems() as problems:
        for name in list(plans)[1:]:
            problems.collect(_check_alike, own[name], plans[name], own[first], plans[first])
            problems.collect(_check_dna, own[name], records[name], own[first], records[first])
    methods: tuple[str, ...] = tuple(
        method
        for method in plans[first].settings.methods
        if METHODS[method].scores_bases
        and all(method in plan.settings.methods for plan in plans.values())
    )
    if not methods:
        raise InputError(
            "--attributions",
            ", ".join(map(str, folders)),
            "no method that scores bases is in all of them",
            "attribute all models with the same --methods",
        )
    asked = {method for plan in plans.values() for method in plan.settings.methods}
    if left_out := sorted(asked - set(methods)):
        logger.info(
            "not combined, as they score no bases or are not in all attributions: %s",
            ", ".join(left_out),
        )
    columns = ("kmer", "score", "shrunken_score", "q_value")
    tables = {
        method: {
            name: read_table(folder / "kmers" / f"{method}.parquet", columns)
            for name, folder in own.items()
        }
        for method in methods
    }
    return Combination(
        CombinePlan(
            models=tuple(
                CombinedModel(name=name, attribution=plans[name].fingerprint, digest=record.digest)
                for name, record in records.items()
            ),
            methods=methods,
            settings=plans[first].settings,
        ),
        output,
        tables,
        records[first].simulated,
        own,
    )


def _attribution_in(folder: AnyPath) -> AnyPath:
    """Return the folder of the attribution itself, which a search holds inside."""
    if read_manifest(folder, KINDS_READ)["kind"] == "attribute":
        return folder
    from hyena_ray.workflows.tune import ATTRIBUTION

    return folder / ATTRIBUTION


def _check_distinct(folders: tuple[AnyPath, ...]) -> None:
    absolute = [folder.absolute() for folder in folders]
    for at, folder in enumerate(absolute):
        if folder in absolute[:at]:
            raise InputError(
                "--attributions", folders[at], "is given twice", "give each attribution once"
            )


def _names(folders: tuple[AnyPath, ...]) -> dict[str, AnyPath]:
    """Name each model by the end of its folder's path, as much of it as tells them apart."""
    parts = [folder.absolute().parts for folder in folders]
    depth = 1
    while len({part[-depth:] for part in parts}) < len(parts):
        depth += 1
    return {
        "/".join(part[-depth:]): folder.absolute()
        for part, folder in zip(parts, folders, strict=True)
    }


def _check_alike(
    folder: AnyPath, plan: ShardPlan, first_folder: AnyPath, first_plan: ShardPlan
) -> None:
    if plan.model == first_plan.model and plan.data == first_plan.data:
        raise InputError(
            f"--attributions: {folder}",
            None,
            f"the same model on the same data as {first_folder}",
            "give attributions of different models",
        )
    values, expected = (
        each.settings.model_dump(mode="json", exclude=MAY_DIFFER) for each in (plan, first_plan)
    )
    for key, value in values.items():
        if value != expected[key]:
            raise InputError(
                f"--attributions: {folder}",
                f"{key} {value}",
                f"differs from the {expected[key]} of {first_folder}",
                "attribute all models with the same settings",
            )


def _check_dna(
    folder: AnyPath, record: AttributeRecord, first_folder: AnyPath, first: AttributeRecord
) -> None:
    if record.simulated != first.simulated:
        dna, other = ("simulated", "real") if record.simulated else ("real", "simulated")
        raise InputError(
            f"--attributions: {folder}",
            None,
            f"is of {dna} DNA, and {first_folder} of {other} DNA",
            "combine attributions of one kind",
        )


def execute(combination: Combination) -> CombineRecord:
    """Write a table of each method, and how far the models agree.

    Args:
        combination: The combination.

    Raises:
        InputError: No k-mer is in all tables, or another job writes the folder.
    """
    import pyarrow as pa

    from hyena_ray.attribution.consensus import agreement, disagreements
    from hyena_ray.attribution.methods import METHODS
    from hyena_ray.attribution.model_spread import spread_over_models
    from hyena_ray.runs.table_file import write_tables

    plan = combination.plan
    ranked_by = plan.settings.ranking
    spreads: dict[str, pa.Table] = {}
    similarity: list[pa.Table] = []
    notes: list[str] = []
    for method, tables in combination.tables.items():
        spreads[method] = spread_over_models(tables, column=ranked_by)
        pairs = agreement(tables, column=ranked_by)
        own = [f"{METHODS[method].title}: {note}" for note in disagreements(pairs)]
        notes += own
        spreads[method] = spreads[method].replace_schema_metadata(
            {"models": json.dumps(list(tables)), "notes": json.dumps(own)}
        )
        column = pa.array([method] * pairs.num_rows, pa.string())
        similarity.append(pairs.add_column(0, "method", column))
    for note in notes:
        logger.warning("%s", note)
    together = pa.concat_tables(similarity)
    with start(combination.output, plan, inputs=combination.inputs) as run:
        write_tables({**spreads, AGREEMENT: together}, run.folder / "kmers")
        record = CombineRecord.make(
            fingerprint=plan.fingerprint,
            simulated=combination.simulated,
            outputs=OUTPUTS,
            models=tuple(model.name for model in plan.models),
            methods=plan.methods,
            kmers={name: tuple(table["kmer"][:TOP].to_pylist()) for name, table in spreads.items()},
            agreement=tuple(together.to_pylist()),
            notes=tuple(notes),
        )
        run.finish(record)
    return record


def present(combination: Combination, record: CombineRecord) -> Outcome:
    """Say which k-mers come first over all models, and where the models disagree.

    Args:
        combination: The combination.
        record: What it found.
    """
    lines = [f"{len(record.models)} models: {', '.join(record.models)}"]
    lines += [f"{name:<18}{' '.join(kmers)}" for name, kmers in record.kmers.items()]
    lines += [
        "{method}, {first} and {second}: tau {kendall_tau:.2f}, overlap {rbo:.2f}".format(**row)
        for row in record.agreement
    ]
    lines += [f"warning: {note}" for note in record.notes]
    found = {
        key: getattr(record, key) for key in ("models", "methods", "kmers", "agreement", "notes")
    }
    folder = combination.output.folder
    written = outputs_in(folder, record.outputs)
    return Outcome("\n".join(lines), found, written, record.simulated, folder)


WORKFLOW = Workflow(
    name="combine",
    about=__doc__,
    settings=lambda task: CombineSettings,
    validate=validate,
    execute=execute,
    present=present,
    found=f"models, methods, kmers (the first {TOP} of each table), agreement, notes",
    examples=("combine --attributions kmers0,kmers1,kmers2 --out combined",),
)

"""Score what variants of a genome change in the calls of a model, on Ray actors.

Writes variants.parquet and variants.csv, a row for each alternative allele, with position (1-based)
as in the file; variants.vcf.gz, the rows that were read with INFO fields HR_*, which bcftools and
tabix read; skipped.csv, the alleles that were not scored, and why; strongest.parquet, the strongest
ones base by base; and, last, manifest.json.

Of every allele the model reads two windows, as long as in training: the one of the reference and
the one of the allele, which begin at the same base, with the longer allele in the middle. The
figures are the highest probability in each and its change, the change of the summed log-odds of the
window, the base that both windows have whose probability changes most, and whether a call is gained
or lost at the threshold. Ranks are those of the change of the sum: the highest probability stays
where it was when another tract is in the window. Alleles are trimmed and moved to the left first,
so that all ways to write a change have the same scores. Of several models every figure is the mean
over them, with its standard deviation.

Reference alleles are held against the genome. Those that differ are counted and listed; too many of
them are refused. Symbolic alleles, breakends, alleles with other letters than A, C, G and T, and
those longer than half a window are skipped and listed.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, NamedTuple, Self

from pydantic import Field, field_validator, model_validator

from hyena_ray.errors import InputError, Problems
from hyena_ray.genome.contigs import open_genome
from hyena_ray.genome.region_files import read_regions
from hyena_ray.genome.source import check_is_file
from hyena_ray.genome.track_files import parse_tracks
from hyena_ray.genome.variant_files import VARIANTS_REMEDY, read_variants
from hyena_ray.outcomes import SIMULATED, DryRun, Outcome
from hyena_ray.progress import count_noun
from hyena_ray.runs.record import MANIFEST
from hyena_ray.runs.run import Output, Run, check_resume, start
from hyena_ray.settings import READ, WHERE, Location, Option
from hyena_ray.storage import AnyPath, remove_folder
from hyena_ray.workflows.workflow import (
    TIMED,
    GenomeFile,
    ReadsModels,
    ReadsTracks,
    Resumes,
    RunsOnActors,
    Workflow,
    model_inputs,
    outputs_in,
)

if TYPE_CHECKING:
    from hyena_ray.cluster.resources import Cluster, Placement, Resources
    from hyena_ray.genome.region_files import Regions
    from hyena_ray.genome.signal_tracks import SignalTrack
    from hyena_ray.genome.variant_files import Variants
    from hyena_ray.prediction.variant_record import VariantRecord
    from hyena_ray.prediction.variant_shards import CheckedVariants, VariantPlan

logger = logging.getLogger(__name__)

OUTPUTS = {
    "table": "variants.parquet",
    "csv": "variants.csv",
    "vcf": "variants.vcf.gz",
    "skipped": "skipped.csv",
    "strongest": "strongest.parquet",
    "summary": MANIFEST,
}
"""Name of every output, and its path in the folder of the run."""


class VariantsSettings(ReadsModels, ReadsTracks, Resumes, RunsOnActors):
    """Settings of the scoring of variants."""

    genome: Annotated[GenomeFile, Option("FILE|NAME", READ)]
    """Genome of the variants: FASTA (plain, gzip, bgzip), 2bit, or the name of an assembly such as
    hg38, which is downloaded once, by a dry run too."""
    vcf: Annotated[Location, Option("FILE", READ)]
    """Variants, sorted by position: a VCF, or a table of contig, position (1-based), ref and alt
    with tabs between; plain or gzip."""
    regions: Annotated[Location | None, Option("FILE", READ)] = None
    """Regions of the same genome, of which the nearest one to each allele is named: BED, narrowPeak
    or broadPeak (plain or gzip), or bigBed."""
    threshold: Annotated[
        float | None, Option("X", default="the model's own"), Field(ge=0, le=1)
    ] = None
    """Probability from which a base is called; required with several models, which have none of
    their own."""
    max_mismatches: Annotated[float, Option("X"), Field(ge=0, le=1)] = 0.1
    """Fraction of the rows whose reference allele may differ from the genome; more are refused."""
    batch: Annotated[
        int | None,
        Option("N", WHERE, default="128 on a CPU, as many as have about 1 Mb on a GPU"),
        Field(ge=1),
    ] = None
    """Windows of one forward pass, halved if a GPU runs out of memory. The last bits of the scores
    depend on it, so --resume keeps the value of the first start."""
    actors: Annotated[
        int | None, Option("N", WHERE, default="as many as the cluster holds"), Field(ge=1)
    ] = None
    """Actors that work at once."""

    @field_validator("vcf")
    @classmethod
    def _is_file_of_variants(cls, path: AnyPath) -> AnyPath:
        check_is_file(path, VARIANTS_REMEDY)
        return path

    @field_validator("regions")
    @classmethod
    def _is_file(cls, path: AnyPath | None) -> AnyPath | None:
        if path is not None:
            check_is_file(path, "give --regions a BED file")
        return path

    @model_validator(mode="after")
    def _has_threshold(self) -> Self:
        if self.threshold is None and len(self.model) > 1:
            remedy = "score them with `hyena-ray evaluate --data`, and give the threshold it finds"
            problem = "is missing: several models have no threshold of their own"
            raise InputError("--threshold", None, problem, remedy)
        return self


class VariantRun(NamedTuple):
    """Variants that passed every check but for the cluster's; nothing was written."""

    plan: VariantPlan
    output: Output
    variants: Variants
    checked: CheckedVariants
    """Alleles, held against the genome."""
    regions: Regions | None
    models: tuple[AnyPath, ...]
    """Absolute paths of the models."""
    inputs: dict[str, AnyPath]
    """Everything that is read, and where it is."""
    tracks: tuple[SignalTrack, ...]
    """Tracks that the models read."""
    actors: int | None
    """Actors that work at once; None takes as many as the cluster holds."""
    resources: Resources
    """What an actor takes."""
    address: str | None
    """Ray cluster to join."""


def validate(settings: VariantsSettings) -> VariantRun:
    """Check model, genome and variants, hold alleles against the genome, and cut the work.

    Args:
        settings: Settings of the job.

    Raises:
        InputError: One of them cannot be used.
    """
    with Problems() as problems:
        files = parse_tracks(settings.track)
        read = (*settings.models, settings.genome, settings.vcf, settings.regions, *files.values())
        output = problems.collect(settings.output, "variants", read)
        problems.collect(open_genome, settings.genome)  # before the model is loaded
        variants = problems.collect(read_variants, settings.vcf)
        regions = None
        if settings.regions is not None:
            regions = problems.collect(read_regions, settings.regions)
    assert output is not None
    assert variants is not None
    from hyena_ray.model.ensemble import load_scorer
    from hyena_ray.model.predictor import open_tracks
    from hyena_ray.prediction.pieces import require_base_labels
    from hyena_ray.prediction.variant_shards import check_variants, longest_allele, plan_variants

    model = load_scorer(settings.models)
    require_base_labels(model, settings.models[0])
    tracks = open_tracks(model, settings.track)
    checked = check_variants(
        settings.genome,
        variants,
        longest=longest_allele(model),
        max_mismatches=settings.max_mismatches,
        regions=regions,
        tracks=tracks,
    )
    inputs = {**model_inputs(settings.models), "genome": settings.genome, "variants": settings.vcf}
    digests = {"variants": variants.sha256}
    if regions is not None:
        inputs["regions"], digests["regions"] = regions.path, regions.sha256
    for track in tracks:
        name = f"track {track.scale.name}"
        inputs[name], digests[name] = track.path, track.sha256
    plan = plan_variants(
        model,
        checked,
        digests,
        threshold=model.threshold if settings.threshold is None else settings.threshold,
        max_mismatches=settings.max_mismatches,
        batch=settings.batch,
    )
    if settings.resume:
        check_resume(output, plan)
    return VariantRun(
        plan,
        output,
        variants,
        checked,
        regions,
        settings.models,
        inputs,
        tracks,
        settings.actors,
        settings.resources,
        settings.address,
    )


def dry_run(scoring: VariantRun) -> DryRun:
    """Count alleles, windows and shards, and time one batch on a worker of the cluster.

    Args:
        scoring: The variants.

    Raises:
        InputError: The cluster cannot hold the actors.
    """
    from hyena_ray.cluster.pool import run_task
    from hyena_ray.cluster.start import connect
    from hyena_ray.genome.signal_tracks import tracks_text
    from hyena_ray.genome.variant_alleles import count_reasons
    from hyena_ray.prediction.variant_shards import missing_shards
    from hyena_ray.workflows.timing import seconds_per_scored_window

    plan, output, models, checked = (
        scoring.plan,
        scoring.output,
        scoring.models,
        scoring.checked,
    )
    batch = plan.batch
    left = missing_shards(plan, output.folder) if output.resume else range(len(plan.shards))
    windows = 2 * sum(plan.shards[index] for index in left)
    with connect(scoring.address) as cluster:
        placement = place_actors(scoring, cluster)
        actors, resources = placement.concurrent, placement.resources
        seconds = run_task(
            lambda: seconds_per_scored_window(models, batch, windows), resources, TIMED, threads=1
        )
    skipped = count_reasons(checked.alleles)
    reasons = [f"{count:,} {reason}" for reason, count in skipped.items()]
    scored = sum(plan.shards)
    return DryRun(
        plan={
            "alleles": f"{len(checked.alleles):,}, {scored:,} of them to score",
            "skipped": "; ".join(reasons) or "none",
            "tracks": tracks_text(scoring.tracks),
            "windows": f"{plan.window} bases, with {plan.flank} on each side; at most {windows:,}",
            "strands": plan.strands,
            "threshold": f"{plan.threshold:.3g}",
            "shards": f"{len(plan.shards)}, {len(left)} of them to do",
            "actors": f"{placement.text} and 1 torch thread",
            "cluster": cluster.text,
        },
        values={
            "alleles": len(checked.alleles),
            "scored": scored,
            "skipped": skipped,
            "windows_to_do": windows,
            "shards": len(plan.shards),
            "shards_to_do": len(left),
            "actors": actors,
            "resources": resources.model_dump(),
            "cluster": cluster._asdict(),
        },
        outputs=outputs_in(output.folder, OUTPUTS),
        seconds=seconds * windows / actors,
        timed="one batch of this model on random bases",
        simulated=plan.simulated,
    )


def place_actors(scoring: VariantRun, cluster: Cluster) -> Placement[Resources]:
    """Fit actors into the cluster.

    Args:
        scoring: The variants.
        cluster: Cluster that they run on.

    Raises:
        InputError: The cluster cannot hold them.
    """
    from hyena_ray.cluster.resources import fit_resources

    return fit_resources(
        cluster,
        scoring.resources,
        wanted=scoring.actors,
        useful=len(scoring.plan.shards),
        name="--cpu, --gpu",
    )


def execute(scoring: VariantRun) -> VariantRecord:
    """Score, or continue. `manifest.json` is written last.

    Args:
        scoring: The variants.

    Raises:
        InputError: The cluster cannot hold the actors, or another job writes the folder.
        ShardError: A shard failed on every try; what finished is kept.
        StalledError: Nothing was finished for too long; what finished is kept.
    """
    from hyena_ray.cluster.pool import check_devices
    from hyena_ray.cluster.start import connect

    with connect(scoring.address) as cluster:
        placement = place_actors(scoring, cluster)
        scoring = scoring._replace(resources=placement.resources)
        ran_on = check_devices(placement)
        with start(scoring.output, scoring.plan, inputs=scoring.inputs, ran_on=ran_on) as run:
            return score_in_run(run, scoring, actors=placement.concurrent)


def score_in_run(run: Run[VariantPlan], scoring: VariantRun, *, actors: int) -> VariantRecord:
    """Compute the shards that are missing, write the tables, and finish the run.

    Args:
        run: The run.
        scoring: The variants.
        actors: Actors that work at once; the result does not depend on it.

    Raises:
        ShardError: A shard failed on every try.
    """
    from hyena_ray.cluster.pool import Shards, run_shards
    from hyena_ray.genome.variant_alleles import count_reasons
    from hyena_ray.prediction import variant_tables as tables
    from hyena_ray.prediction.variant_record import VariantRecord
    from hyena_ray.prediction.variant_shards import (
        SEQUENCES,
        make_scorer,
        missing_shards,
        read_shards,
        run_shard,
        shard_is_complete,
        write_sequences,
    )
    from hyena_ray.prediction.variant_vcf import write_vcf

    plan, folder, models, checked = run.plan, run.folder, scoring.models, scoring.checked
    if (complete := run.finished(VariantRecord)) is not None:
        logger.info("the scores are complete already")
        return complete
    todo = missing_shards(plan, folder)
    logger.info(
        "variants: %d of %d shards to do on %s, each %s",
        len(todo),
        len(plan.shards),
        count_noun(actors, "actor"),
        scoring.resources.text,
    )
    write_sequences(plan, checked, scoring.inputs["genome"], scoring.tracks, folder)

    def make() -> Callable[[int], object]:
        import torch

        from hyena_ray.model.devices import default_device
        from hyena_ray.model.ensemble import load_scorer

        # One thread whatever the size of the pool: the bits of a score depend on it.
        torch.set_num_threads(1)
        model = load_scorer(models)
        model.to(default_device())
        scorer = make_scorer(model, plan)
        return lambda index: run_shard(scorer, plan, index, folder)

    shards = Shards(
        name="variants",
        numbers=todo,
        make=make,
        is_done=lambda index: shard_is_complete(plan, index, folder),
        describe=plan.label,
        windows=lambda index: 2 * plan.shards[index],
    )
    run_shards(shards, actors=actors, resources=scoring.resources)
    scores = read_shards(plan, folder)
    table = tables.variant_table(plan, checked, scores, scoring.regions)
    profiles = tables.strongest_table(plan, checked, scores)
    tables.write_results(checked, table, profiles, folder)
    write_vcf(scoring.variants, checked, table, folder)
    remove_folder(folder / SEQUENCES)
    record = VariantRecord.make(
        fingerprint=plan.fingerprint,
        simulated=plan.simulated,
        outputs=OUTPUTS,
        inputs=plan.inputs,
        rows=sum(map(len, scoring.variants.rows.values())),
        alleles=len(checked.alleles),
        scored=table.num_rows,
        skipped=count_reasons(checked.alleles),
        mismatches=len(checked.mismatches),
        gained=tables.count_calls(table, tables.GAINED),
        lost=tables.count_calls(table, tables.LOST),
        threshold=plan.threshold,
        models=plan.models,
        window=plan.window,
        flank=plan.flank,
        strands=plan.strands,
    )
    run.finish(record)
    return record


def present(scoring: VariantRun, record: VariantRecord) -> Outcome:
    """Say how many alleles were scored, and how many calls they change.

    Args:
        scoring: The variants.
        record: What was written.
    """
    lines = [SIMULATED] * record.simulated
    lines += [
        f"scored      {record.scored:,} of {count_noun(record.alleles, 'allele')} in "
        f"{count_noun(record.rows, 'row')}, in windows of {record.window} bases with "
        f"{record.flank} on each side",
    ]
    lines += [f"skipped     {count:,}: {reason}" for reason, count in record.skipped.items()]
    lines += [
        f"mismatches  {record.mismatches:,} reference alleles are not what the genome has",
        f"calls       {record.gained:,} gained and {record.lost:,} lost, at a probability of "
        f"{record.threshold:.3g}",
    ]
    shown = (
        *("rows", "alleles", "scored", "skipped", "mismatches", "gained", "lost", "threshold"),
        *("models", "window", "flank", "strands"),
    )
    found = {key: getattr(record, key) for key in shown}
    folder = scoring.output.folder
    written = outputs_in(folder, record.outputs)
    return Outcome("\n".join(lines), found, written, record.simulated, folder)


WORKFLOW = Workflow(
    name="variants",
    about=__doc__,
    settings=lambda task: VariantsSettings,
    validate=validate,
    dry_run=dry_run,
    execute=execute,
    present=present,
    found="rows, alleles, scored, skipped, mismatches, gained, lost, threshold, models, window, "
    "flank, strands",
    examples=(
        "variants --model run/model --genome genome.fa.gz --vcf variants.vcf.gz --out effects",
        "variants --model run/model --genome hg38 --vcf variants.tsv --regions zdna.bed "
        "--out effects",
        "variants --model first/model,second/model --threshold 0.4 --genome genome.fa.gz "
        "--vcf variants.vcf.gz --out effects",
        "variants --model run/model --genome genome.fa.gz --vcf variants.vcf.gz --out effects "
        "--dry-run",
    ),
)

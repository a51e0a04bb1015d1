"""Score a trained model, or the mean of several, on prepared data or on any regions.

With --data, a split of prepared windows is scored. With --regions and --genome, whole contigs are
scored against regions of another source: base by base, region by region, and by how much more of
them is called than of the genome around them. Nothing is prepared or left behind for that.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar, NamedTuple, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from hyena_ray.dataset.reader import PreparedData
from hyena_ray.errors import InputError, Problems
from hyena_ray.files import sha256_file
from hyena_ray.genome.region_files import read_regions
from hyena_ray.genome.source import check_is_file
from hyena_ray.genome.splits import VALIDATION
from hyena_ray.genome.track_files import parse_tracks
from hyena_ray.model.settings import Strands
from hyena_ray.outcomes import Outcome
from hyena_ray.progress import Progress, State
from hyena_ray.runs.plan import Plan
from hyena_ray.runs.record import EVALUATED, EVALUATION, MANIFEST, Record
from hyena_ray.runs.run import Output, start
from hyena_ray.settings import READ, WRITE, Location, Option, Settings
from hyena_ray.storage import AnyPath
from hyena_ray.tasks import Task, task_named
from hyena_ray.workflows.workflow import (
    ComputesHere,
    DataFolder,
    GenomeFile,
    ReadsModels,
    ReadsSplit,
    ReadsTracks,
    Workflow,
    WritesRun,
    model_inputs,
    outputs_in,
)

if TYPE_CHECKING:
    from hyena_ray.dataset.genome_scan import GenomeScan
    from hyena_ray.dataset.origin import Origin
    from hyena_ray.genome.region_files import Regions
    from hyena_ray.model.window import WindowScorer
    from hyena_ray.training.evaluation import Evaluation


class EvaluateSettings(ReadsModels, ReadsTracks, ReadsSplit, WritesRun, ComputesHere):
    """Settings of an evaluation."""

    data: Annotated[DataFolder | None, Option("DIR", READ)] = None  # type: ignore[assignment]
    """Prepared data to score on: the folder that `hyena-ray prepare` wrote; or give --regions."""
    fold: Annotated[int | None, Option("N", READ, default="data without folds"), Field(ge=0)] = None
    """Fold that the model was tested on, where the data is split into folds."""
    regions: Annotated[Location | None, Option("FILE", READ)] = None
    """Any regions to score on, instead of --data, on whole contigs of --genome: BED, narrowPeak or
    broadPeak (plain or gzip), or bigBed."""
    genome: Annotated[GenomeFile | None, Option("FILE|NAME", READ)] = None
    """Genome of --regions: FASTA (plain, gzip, bgzip), 2bit, or the name of an assembly such as
    hg38, which is downloaded once."""
    contigs: Annotated[
        tuple[str, ...] | None, Option("C,C", READ, default="all that the model has not seen")
    ] = None
    """Contigs of --genome to score. A model has seen those that trained it or chose its epoch."""
    blacklist: Annotated[Location | None, Option("FILE", READ)] = None
    """Regions of --genome that nothing scored may touch, in one of the formats of --regions."""
    threshold: Annotated[
        float | None, Option("X", default="the model's own"), Field(ge=0, le=1)
    ] = None
    """Probability from which a base is called. Several models, or other strands, have none of their
    own: it is chosen on the validation split of --data, and must be given with --regions."""
    strands: Annotated[Strands | None, Option(default="as the model was trained")] = None
    """Strands to read, where not those that the model was trained with; its calibration stays."""
    out: Annotated[Location | None, Option("DIR", WRITE, default="nothing is written")] = None  # type: ignore[assignment]
    """Output folder of the run."""

    @field_validator("regions", "blacklist")
    @classmethod
    def _is_file(cls, path: AnyPath | None, info: ValidationInfo) -> AnyPath | None:
        if path is not None:
            check_is_file(path, f"give --{info.field_name} a BED file")
        return path

    @model_validator(mode="after")
    def _on_one_of_both(self) -> Self:
        others = {
            "--genome": self.genome,
            "--contigs": self.contigs,
            "--blacklist": self.blacklist,
            "--track": ",".join(self.track) or None,
        }
        if self.regions is None:
            if self.data is None:
                remedy = "give prepared data, or --regions with --genome"
                raise InputError("--data", None, "is missing", remedy)
            for option, value in others.items():
                if value is not None:
                    problem = "is of --regions, which is not given"
                    raise InputError(option, value, problem, "give --regions, or leave it out")
            return self
        given = {"--data": self.data, "--fold": self.fold}
        for option, one in given.items():
            if one is not None:
                problem = "cannot be used together with --regions"
                raise InputError(option, one, problem, "give one of both")
        if self.genome is None:
            raise InputError("--genome", None, "is missing", "give the genome of --regions")
        if self.threshold is None and self.chooses_threshold:
            problem = "is missing: several models, or other strands, have no threshold of their own"
            remedy = "score them with --data first, and give the threshold that it finds"
            raise InputError("--threshold", None, problem, remedy)
        return self

    @property
    def chooses_threshold(self) -> bool:
        """Whether the thresholds of the model, if it has any, are those of other scores."""
        return self.strands is not None or len(self.model) > 1


class ScoredRegions(Settings):
    """Regions of their own on whole contigs."""

    genome: str
    """sha256 of the genome's file."""
    regions: str
    """sha256 of the file of regions."""
    blacklist: str | None
    """sha256 of the regions that nothing scored touches."""
    contigs: tuple[str, ...]
    """Contigs that are scored."""
    stretch: int
    """Bases of a stretch."""
    tracks: dict[str, str] = Field(default_factory=dict, exclude_if=lambda tracks: not tracks)
    """sha256 of the file of every track that the model reads, by name."""


class EvaluatePlan(Plan):
    """Settings and inputs that determine the result of an evaluation."""

    KIND: ClassVar[str] = "evaluate"

    model: str
    """sha256 of weights, readout, calibration and thresholds; of several models, with commas
    between."""
    data: str | None
    """sha256 of the manifest of the prepared data; None where regions of their own are scored."""
    split: str
    """Split that is scored."""
    fold: int | None
    """Fold that is tested, where the data is split into folds."""
    scan: ScoredRegions | None
    """Regions of their own; None where prepared data are scored."""
    threshold: float | None
    """Probability from which a base is called instead of the model's own."""
    strands: Strands | None
    """Strands that are read instead of the model's own."""
    threads: int
    """torch threads, on which the last bits depend."""


class EvaluateRecord(Record):
    """The manifest of an evaluation; the figures are in `evaluation.json`."""

    KIND: ClassVar[str] = "evaluate"

    plan: EvaluatePlan
    """What was evaluated."""


class EvaluationRun(NamedTuple):
    """An evaluation that passed every check; nothing was written."""

    plan: EvaluatePlan
    output: Output | None
    model: WindowScorer
    models: tuple[AnyPath, ...]
    """Absolute paths of the models."""
    data: PreparedData | None
    """Prepared windows, as the fold sees them; None where regions of their own are scored."""
    scan: GenomeScan | None
    """What is scored of a genome; None where prepared data are."""
    task: Task
    """What is recognised."""
    seen: tuple[str, ...]
    """Contigs that are scored and that a model has seen, with their use."""
    chooses_threshold: bool
    """Whether the thresholds are chosen on the validation split."""

    @property
    def simulated(self) -> bool:
        """Whether the data or the genome is simulated."""
        if self.scan is not None:
            return self.scan.simulated
        assert self.data is not None
        return self.data.manifest.simulated


def validate(settings: EvaluateSettings) -> EvaluationRun:
    """Check that model and data, or genome, go together.

    Args:
        settings: Settings of the job.

    Raises:
        InputError: They do not, or the folder may not be written.
    """
    with Problems() as problems:
        data = None if settings.data is None else settings.open_data(problems, settings.fold)
        if data is not None and settings.chooses_threshold:
            problems.collect(data.check_split, VALIDATION, "--data")
        files = parse_tracks(settings.track).values()
        inputs = (
            *(settings.data, settings.genome, settings.regions, settings.blacklist),
            *files,
        )
        output = None
        if settings.out is not None:
            every = (*settings.models, *inputs)
            output = problems.collect(settings.output, EvaluatePlan.KIND, every)
        regions = blacklist = None
        if settings.regions is not None:
            regions = problems.collect(read_regions, settings.regions)
        if settings.blacklist is not None:
            remedy = "give --blacklist a BED file, or leave it out"
            blacklist = problems.collect(read_regions, settings.blacklist, remedy)
    if data is not None:
        return _on_data(settings, output, data)
    assert regions is not None
    return _on_genome(settings, output, regions, blacklist)


def _on_data(
    settings: EvaluateSettings, output: Output | None, data: PreparedData
) -> EvaluationRun:
    from hyena_ray.dataset.origin import Origin
    from hyena_ray.training.leaks import seen_in_training
    from hyena_ray.training.preflight import load_fitting_scorer

    model = load_fitting_scorer(settings.models, data)
    scored, length = Origin.from_data(data), model.readout.window
    seen = [
        seen_in_training(origin, scored, settings.split, length)
        for origin in _origins(settings.models)
    ]
    return EvaluationRun(
        _plan(settings, model, data=sha256_file(data.folder / MANIFEST)),
        output,
        model,
        settings.models,
        data,
        None,
        task_named(data.manifest.task),
        tuple(dict.fromkeys(contig for contigs in seen for contig in contigs)),
        settings.chooses_threshold,
    )


def _on_genome(
    settings: EvaluateSettings,
    output: Output | None,
    regions: Regions,
    blacklist: Regions | None,
) -> EvaluationRun:
    from hyena_ray.dataset.genome_scan import STRETCH, GenomeScan
    from hyena_ray.model.ensemble import load_scorer
    from hyena_ray.model.predictor import open_tracks
    from hyena_ray.prediction.pieces import require_base_labels
    from hyena_ray.training.genome_evaluation import REGIONS, choose_contigs

    origins = _origins(settings.models)
    if not origins:
        problem = "does not say what it was trained on, so that its task is not known"
        raise InputError("--model", settings.models[0], problem, "give a model that train has made")
    model = load_scorer(settings.models)
    require_base_labels(model, settings.models[0])
    assert settings.genome is not None
    stretch = max(STRETCH, model.readout.window)
    tracks = open_tracks(model, settings.track)
    scan = GenomeScan.survey(settings.genome, regions, blacklist, stretch=stretch, tracks=tracks)
    scan, seen = choose_contigs(scan, settings.contigs, origins)
    plan = _plan(
        settings.model_copy(update={"split": REGIONS}),
        model,
        scan=ScoredRegions(
            genome=scan.sha256,
            regions=regions.sha256,
            blacklist=None if blacklist is None else blacklist.sha256,
            contigs=tuple(scan.contigs),
            stretch=stretch,
            tracks={track.scale.name: track.sha256 for track in tracks},
        ),
    )
    task = task_named(origins[0].manifest.task)
    return EvaluationRun(plan, output, model, settings.models, None, scan, task, seen, False)


def _origins(models: Sequence[AnyPath]) -> list[Origin]:
    """Read the data that models and their teachers were trained on, as far as their folders say.

    Raises:
        InputError: The models are of different tasks.
    """
    from hyena_ray.dataset.origin import NAME as DATA
    from hyena_ray.dataset.origin import Origin

    origins = [(folder, Origin.read(folder)) for folder in models if (folder / DATA).is_file()]
    for folder, origin in origins[1:]:
        (first, before), task = origins[0], origin.manifest.task
        if task != before.manifest.task:
            problem = f"is of {task}, and {first} of {before.manifest.task}"
            raise InputError("--model", folder, problem, "give models of one task")
    return [data for _, origin in origins for data in origin.lineage]


def _plan(
    settings: EvaluateSettings,
    model: WindowScorer,
    *,
    data: str | None = None,
    scan: ScoredRegions | None = None,
) -> EvaluatePlan:
    from hyena_ray.model.saved import model_sha256

    return EvaluatePlan(
        model=model_sha256(model),
        data=data,
        split=settings.split,
        fold=settings.fold,
        scan=scan,
        threshold=settings.threshold,
        strands=settings.strands,
        threads=settings.threads,
    )


def execute(run: EvaluationRun) -> Evaluation:
    """Score, and write the figures where a folder was given.

    Args:
        run: The evaluation.
    """
    import torch

    from hyena_ray.dataset.stretches import window_offsets
    from hyena_ray.model.devices import default_device, device_name
    from hyena_ray.training.evaluation import choose_thresholds, evaluate_on_split
    from hyena_ray.training.genome_evaluation import evaluate_on_genome
    from hyena_ray.training.held_out import HeldOut
    from hyena_ray.training.losses import class_weights
    from hyena_ray.training.settings import TrainingSettings

    plan, model, data, scan = run.plan, run.model, run.data, run.scan
    torch.set_num_threads(plan.threads)
    device = default_device()
    model.to(device)
    weights, length, scored = class_weights(TrainingSettings()), model.readout.window, 0

    def on_progress(windows: int) -> None:
        nonlocal scored
        scored += windows
        progress.update(State(done=scored))

    if scan is not None:
        total = len(scan.starts) * len(window_offsets(scan.stretch, length))
    else:
        assert data is not None
        splits = [VALIDATION, plan.split] if run.chooses_threshold else [plan.split]
        total = sum(data.count(length, split) for split in splits)
    with Progress("scoring", total, "windows", brief=True) as progress:
        if plan.strands is not None:
            model.read_strands(plan.strands)
        if run.chooses_threshold:
            assert data is not None
            choose_thresholds(model, HeldOut.read(data, VALIDATION), weights, on_progress)
        if plan.threshold is not None:
            model.threshold = plan.threshold
        if scan is not None:
            evaluation = evaluate_on_genome(model, scan, run.task, weights, on_progress)
        else:
            assert data is not None
            evaluation = evaluate_on_split(model, data, plan.split, weights, on_progress)
    evaluation = evaluation._replace(seen=run.seen)
    if run.output is not None:
        inputs = model_inputs(run.models)
        if scan is None:
            assert data is not None
            inputs["data"] = data.folder
        else:
            inputs |= {"genome": scan.genome, "regions": scan.regions.path}
            inputs |= {f"track {track.scale.name}": track.path for track in scan.tracks}
        with start(run.output, plan, inputs=inputs, ran_on=device_name(device)) as folder:
            evaluation.write(folder.folder)
            record = EvaluateRecord.make(
                fingerprint=plan.fingerprint,
                simulated=run.simulated,
                outputs=OUTPUTS,
                plan=plan,
            )
            folder.finish(record)
    return evaluation


def present(run: EvaluationRun, evaluation: Evaluation) -> Outcome:
    """Say what the model scores.

    Args:
        run: The evaluation.
        evaluation: What it found.
    """
    folder = None if run.output is None else run.output.folder
    written = {} if folder is None else outputs_in(folder, OUTPUTS)
    return Outcome(evaluation.table(), evaluation.as_json(), written, run.simulated, folder)


OUTPUTS = EVALUATED | {"summary": MANIFEST}
"""Name of every output, and its path in the folder of the run."""

WORKFLOW = Workflow(
    name="evaluate",
    about=__doc__,
    settings=lambda task: EvaluateSettings,
    validate=validate,
    execute=execute,
    present=present,
    found=f"what {EVALUATION} holds",
    examples=(
        "evaluate --model run/model --data prepared --split test --out scored",
        "evaluate --model run/model --data prepared --split val --strands forward",
        "evaluate --model first/model,second/model --data prepared",
        "evaluate --model run/model --regions peaks.bed --genome hg19.fa.gz --contigs chr21,chr22",
    ),
)

"""What a page knows about a run: one record for each kind of run, and readers of its parts.

`contents.read_contents` fills a record from a run's folder; `sections.SECTIONS` lists what the page
of each kind shows. A record holds values that were read and checked, never a path to open later.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, NamedTuple

import numpy as np
import optuna
import pyarrow as pa
from numpy.typing import NDArray
from optuna.exceptions import OptunaError
from pyarrow import csv
from pydantic import Field
from sqlalchemy.exc import SQLAlchemyError

from hyena_ray.attribution.shards import ShardPlan, parse_shard_table, read_shard_table
from hyena_ray.dataset.manifest import Manifest
from hyena_ray.dataset.origin import Origin
from hyena_ray.errors import InputError
from hyena_ray.prediction.embedding_shards import EmbedRecord
from hyena_ray.prediction.prediction_record import PredictionRecord
from hyena_ray.prediction.variant_record import VariantRecord
from hyena_ray.runs.run import RunProvenance
from hyena_ray.runs.stored_files import StoredFile
from hyena_ray.search.stored_study import all_trials, is_own
from hyena_ray.settings import Settings
from hyena_ray.storage import AnyPath, arrow_file
from hyena_ray.tasks import Task
from hyena_ray.training.evaluation import Evaluation
from hyena_ray.training.pretrain_record import PretrainRecord
from hyena_ray.workflows.train import TrainRecord
from hyena_ray.workflows.tune import TuneRecord

SAMPLED_SHARDS = 40
"""Shards of an attribution that are read at most: some ten thousand windows, enough to draw."""


class WindowSample(NamedTuple):
    """n attributed windows with a true positive, in the order of the genome."""

    bases: NDArray[np.uint8]
    """Base codes, shape (n, W); A C G T = 0 1 2 3, unknown 4."""
    true_positive: NDArray[np.bool_]
    """Whether a base is a true positive, shape (n, W)."""
    scores: dict[str, NDArray[np.float32]]
    """Method to its attribution scores in logits, shape (n, W)."""
    labels: NDArray[np.int8]
    """Labels, shape (n, W), or (n, 1) for sequences."""
    contig: list[str]
    """Contig of each window."""
    start: NDArray[np.int64]
    """First base of each window, 0-based, shape (n,); of a sequence its row in the file."""
    windows_read: int
    """Windows of the shards that were read, with and without a true positive."""
    windows_attributed: int
    """Windows of the whole attribution."""


class AttributionResults(NamedTuple):
    """K-mer tables and sampled windows of an attribution."""

    plan: ShardPlan
    """Windows, model and settings of the attribution."""
    attributed: int
    """Windows with a true positive, which have scores."""
    methods: dict[str, pa.Table]
    """Method that scores bases to its k-mer table, best k-mer first."""
    tp: pa.Table | None
    """K-mers by their share of occurrences inside true positives; None where not asked for."""
    consensus: pa.Table | None
    """K-mers by all methods together; None for a single method."""
    agreement: pa.Table | None
    """Agreement of each pair of methods; None for a single method."""
    sample: WindowSample
    """Windows to draw."""

    @property
    def ranking(self) -> pa.Table | None:
        """The consensus, or else the first table; None where there is none."""
        if self.consensus is not None:
            return self.consensus
        return next(iter(self.methods.values()), self.tp)


class ComparisonResults(NamedTuple):
    """The table of a comparison of presets."""

    table: pa.Table
    """One row for each preset."""
    data_sha256: str | None
    """sha256 of the manifest of the data that the presets were trained on."""


class FaithfulnessCurves(Settings):
    """The prediction that remains while bases are replaced, from the highest score down."""

    share: tuple[float, ...]
    """Fractions of the bases, ascending."""
    deletion: tuple[float, ...]
    """Fraction of the target that is left once these bases are taken out."""
    insertion: tuple[float, ...]
    """Fraction of the target that these bases alone make."""
    deletion_area: float
    """Area under the deletion curve; lower is better."""
    insertion_area: float
    """Area under the insertion curve; higher is better."""


class MethodSanity(Settings):
    """Sanity checks of one attribution method."""

    method: str
    """Name of the method."""
    windows: int
    """Windows that were checked."""
    curves: FaithfulnessCurves
    """Curves in the order of the method's scores."""
    by_chance: FaithfulnessCurves
    """Curves in random order."""
    random_weights: float
    """Rank correlation with the scores of a model with random weights."""
    random_labels: float | None
    """Rank correlation with the scores of a model trained on shuffled labels; None without one."""
    planted_auroc: float | None
    """AUROC of the scores for planted k-mers; None where none were planted."""


class SanityResults(Settings):
    """The file sanity.json: all sanity checks of an attribution."""

    simulated: bool
    """Whether the windows were made from simulated DNA."""
    checks: Annotated[tuple[MethodSanity, ...], Field(min_length=1)]
    """Checks of each method."""


@dataclass(frozen=True, kw_only=True)
class RunContents:
    """Contents of a run for its page, and results of other folders that are shown there."""

    kind: ClassVar[str]
    """Kind of the run, as in its manifest."""

    folder: AnyPath
    """Folder of the run."""
    simulated: bool
    """Whether anything on the page was made from simulated DNA."""
    task: Task | None = None
    """Task of the run; None where the folder does not record it."""
    origin: Origin | None = None
    """Prepared data that the results were made from; None where the folder does not record it."""
    attribution: AttributionResults | None = None
    """Attribution of the run, its own or that of a folder given along with it."""
    comparison: ComparisonResults | None = None
    """Comparison of presets, its own or that of a folder given along with it."""
    sanity: SanityResults | None = None
    """Sanity checks, its own or those of a folder given along with it."""
    provenance: RunProvenance = field(default_factory=RunProvenance)
    """Command, start time and library versions of the run."""
    files: tuple[StoredFile, ...] = ()
    """Files of the run, as its manifest lists them."""
    assembly: str | None = None
    """Name of the genome's assembly at UCSC, for links to its browser; None where it is not known,
    or the genome is simulated."""


@dataclass(frozen=True, kw_only=True)
class PrepareContents(RunContents):
    """Prepared data."""

    kind: ClassVar[str] = "prepare"

    manifest: Manifest
    """Manifest of the data."""


@dataclass(frozen=True, kw_only=True)
class ScoredContents(RunContents):
    """A run whose model may have been scored on a split."""

    task: Task
    """Task of the model."""
    evaluation: Evaluation | None
    """Metrics and curves on a split; None where the model was not scored."""


@dataclass(frozen=True, kw_only=True)
class EvaluateContents(ScoredContents):
    """An evaluation of a saved model."""

    kind: ClassVar[str] = "evaluate"

    evaluation: Evaluation
    """Metrics and curves on the split that was asked for."""


@dataclass(frozen=True, kw_only=True)
class TrainContents(ScoredContents):
    """A training run."""

    kind: ClassVar[str] = "train"

    record: TrainRecord
    """Manifest of the run."""
    metric: str
    """Metric that chose the epoch."""
    settings: Mapping[str, Any]
    """Settings that have an effect, by dotted key."""
    history: list[dict[str, float]] | None
    """Metrics of each epoch on the validation split; None where they were not kept."""


@dataclass(frozen=True, kw_only=True)
class TuneContents(ScoredContents):
    """A search of settings, with the model and the attribution of its best trial."""

    kind: ClassVar[str] = "tune"

    evaluation: Evaluation
    """Metrics and curves of the best model on the test split."""
    summary: TuneRecord
    """Manifest of the run."""
    metric: str
    """Metric that chose the epochs and the best trial."""
    settings: Mapping[str, Any]
    """Search space and settings that the run started with, by section."""
    history: list[dict[str, float]] | None
    """Metrics of each epoch of the best trial; None where they were not kept."""
    trials: pa.Table
    """One row for each trial: state, score, epochs, seconds, problem, settings and metrics."""
    study: optuna.Study | None
    """Optuna's record of the search; None where its file was removed."""


@dataclass(frozen=True, kw_only=True)
class CompareContents(RunContents):
    """A comparison of presets."""

    kind: ClassVar[str] = "compare"

    comparison: ComparisonResults
    """The comparison itself."""


@dataclass(frozen=True, kw_only=True)
class AttributeContents(RunContents):
    """An attribution of a split's windows."""

    kind: ClassVar[str] = "attribute"

    attribution: AttributionResults
    """The attribution itself."""


@dataclass(frozen=True, kw_only=True)
class CombineContents(RunContents):
    """Attributions of several models, combined."""

    kind: ClassVar[str] = "combine"

    models: tuple[str, ...]
    """Names of the models."""
    tables: dict[str, pa.Table]
    """Method to the k-mers by their mean rank over the models."""
    agreement: pa.Table
    """Agreement of each two models under each method."""


@dataclass(frozen=True, kw_only=True)
class SanityContents(RunContents):
    """Sanity checks of an attribution."""

    kind: ClassVar[str] = "sanity"

    sanity: SanityResults
    """The checks themselves."""


@dataclass(frozen=True, kw_only=True)
class PredictContents(RunContents):
    """A prediction of a genome."""

    kind: ClassVar[str] = "predict"

    record: PredictionRecord
    """Manifest of the prediction."""
    regions: pa.Table
    """Columns `contig, start, end, length, mean, max, rank, soft_masked, sequence`, 0-based and
    half-open; may be empty."""
    contigs: pa.Table
    """Columns `contig, scored, called, regions, in_regions, regions_per_mb, repeats`."""


@dataclass(frozen=True, kw_only=True)
class VariantContents(RunContents):
    """Effects of variants."""

    kind: ClassVar[str] = "variants"

    record: VariantRecord
    """Manifest of the scores."""
    table: pa.Table
    """A row for each scored allele, see `prediction.variant_tables`."""
    profiles: pa.Table
    """The strongest alleles with bases and probabilities of both windows."""


@dataclass(frozen=True, kw_only=True)
class EmbedContents(RunContents):
    """Embeddings of sequences."""

    kind: ClassVar[str] = "embed"

    record: EmbedRecord
    """Manifest of the embeddings."""


@dataclass(frozen=True, kw_only=True)
class PretrainContents(RunContents):
    """A pretraining on a genome."""

    kind: ClassVar[str] = "pretrain"

    record: PretrainRecord
    """Manifest of the pretraining."""


def read_study(path: AnyPath, name: str) -> optuna.Study | None:
    """Read all trials of an Optuna study into memory, from a copy of its file.

    Args:
        path: SQLite file of the Optuna study.
        name: Name of the Optuna study.

    Returns:
        The Optuna study, or None where there is no such file.

    Raises:
        InputError: The file is damaged, or holds no study of that name.
    """
    if not path.exists():
        return None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with tempfile.TemporaryDirectory(prefix="hyena_ray-") as folder:
        # A copy, because opening a database may write to it and may wait for other processes.
        copy = Path(folder) / path.name
        copy.write_bytes(path.read_bytes())
        try:
            storage = optuna.storages.RDBStorage(f"sqlite:///{copy}")
            stored = optuna.load_study(study_name=name, storage=storage)
            study = optuna.create_study(study_name=name, directions=stored.directions)
            # Those of other programs keep their numbers, and show nothing.
            nothing = optuna.trial.create_trial(state=optuna.trial.TrialState.FAIL)
            trials = all_trials(stored)
            study.add_trials([trial if is_own(trial) else nothing for trial in trials])
            storage.engine.dispose()
        except (OptunaError, SQLAlchemyError, KeyError) as error:
            problem = f"not the Optuna study of this run ({' '.join(str(error).split())})"
            raise InputError(path, None, problem, "restore it, or search again") from None
    return study


PREDICTED_COLUMNS = {
    **dict.fromkeys(("contig", "name", "sequence"), pa.string()),
    **dict.fromkeys(("mean", "max", "soft_masked", "regions_per_mb"), pa.float64()),
    **dict.fromkeys(("regions", "in_regions", "repeats"), pa.int64()),
}
"""Types that the values of a column may not show: a contig may be named 1, and a table be empty."""


def read_predicted(path: AnyPath) -> pa.Table:
    """Read a table of a prediction, of its regions or of its contigs.

    Args:
        path: CSV file.

    Raises:
        InputError: The file is missing or damaged.
    """
    try:
        with arrow_file(path) as stream:
            options = csv.ConvertOptions(column_types=PREDICTED_COLUMNS)
            return csv.read_csv(stream, convert_options=options)
    except (OSError, pa.ArrowException) as error:
        raise InputError(path, None, f"cannot be read ({error})", "predict again") from None


def read_sample(plan: ShardPlan, folder: AnyPath) -> WindowSample:
    """Read shards that are spaced evenly over an attribution.

    Args:
        plan: Plan of the attribution.
        folder: Folder of the attribution.

    Raises:
        InputError: One of the shards is missing or damaged.
    """
    step = -(-len(plan.shards) // SAMPLED_SHARDS)
    bases, true_positive, labels, contig, start = [], [], [], [], []
    scores: dict[str, list[NDArray[np.float32]]] = {}
    windows_read = 0
    for index in range(0, len(plan.shards), step):
        table = read_shard_table(plan, index, folder)
        shard = parse_shard_table(plan, table)
        rows = np.flatnonzero(shard.true_positive.any(axis=1))
        windows_read += len(shard.window_id)
        bases.append(shard.bases[rows])
        true_positive.append(shard.true_positive[rows])
        for name, values in shard.scores.items():
            scores.setdefault(name, []).append(values[rows])
        labels.append(table["labels"].combine_chunks().to_numpy_ndarray()[rows])
        start.append(table["start"].to_numpy()[rows])
        names = table["contig"].to_pylist()
        contig += [names[row] for row in rows]
    return WindowSample(
        bases=np.concatenate(bases),
        true_positive=np.concatenate(true_positive),
        scores={name: np.concatenate(parts) for name, parts in scores.items()},
        labels=np.concatenate(labels),
        contig=contig,
        start=np.concatenate(start),
        windows_read=windows_read,
        windows_attributed=plan.windows,
    )

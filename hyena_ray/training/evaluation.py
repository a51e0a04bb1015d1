"""Score a model: quickly after each epoch, and with everything that makes a figure reliable."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError
from torch import Tensor

from hyena_ray.dataset.reader import PreparedData
from hyena_ray.dataset.tokens import IGNORED
from hyena_ray.errors import InputError
from hyena_ray.files import atomic_file, read_json, write_json
from hyena_ray.model.beta_calibration import BetaCalibration, log_odds
from hyena_ray.model.devices import arithmetic, model_device
from hyena_ray.model.filters import frozen_filters
from hyena_ray.model.window import WindowModel, WindowScorer, check_finite
from hyena_ray.outcomes import SIMULATED, plain
from hyena_ray.runs.record import BOOTSTRAP, EVALUATION
from hyena_ray.storage import AnyPath
from hyena_ray.tasks import Task
from hyena_ray.training.bootstrap import (
    REPLICATES,
    Interval,
    Replicates,
    Scored,
    bootstrap,
    intervals_by_name,
    resampling_blocks,
)
from hyena_ray.training.data_parallel import ALONE, Workers
from hyena_ray.training.enrichment import Enrichment
from hyena_ray.training.errors_by_kind import Errors, count_errors
from hyena_ray.training.held_out import HeldOut
from hyena_ray.training.loaders import ArraySource, ProgressSource, check_both_classes
from hyena_ray.training.losses import weighted_cross_entropy
from hyena_ray.training.metrics import (
    Metrics,
    RegionScores,
    called_regions,
    measure,
    score_regions,
)
from hyena_ray.training.precision_recall import PrecisionRecall, precision_recall
from hyena_ray.training.reliability import Calibration, measure_calibration
from hyena_ray.training.tracts import (
    PREFIXES,
    UNTRAINED_PREDICTORS,
    TractScores,
    call_tracts,
    measure_tracts,
    score_bases,
)

EVALUATION_BATCH = 128
"""Windows of one forward pass: past this, larger batches are no faster on a CPU."""
BOOTSTRAP_SEED = 0
"""Seed of the draws of all intervals."""
TILE = "tile_"
"""Prefix of the names of the metrics of tiles."""
SHOWN_CONTIGS = 5
"""Most contigs that a table names."""
FEW_BLOCKS = 20
"""Number of blocks below which intervals are too narrow: draws of so few are much alike."""


class Predictions(NamedTuple):
    """What a model says of held-out stretches or sequences, in order of their ids."""

    log_odds: NDArray[np.float32]
    """Log-odds of class 1, shape (m, S) for bases, (m, 1) for sequences."""
    loss: float
    """Weighted cross-entropy, the mean over all labels."""

    def scores(self, calibration: BetaCalibration) -> NDArray[np.float32]:
        """Return the probabilities of class 1, shaped as the log-odds.

        Args:
            calibration: Calibration of the model.
        """
        scores: NDArray[np.float32] = calibration.calibrated(
            torch.from_numpy(self.log_odds)
        ).numpy()
        return scores


class Measured(NamedTuple):
    """Metrics after an epoch."""

    metrics: Metrics
    """Metrics at the prevalence of the genome, or of the sequences."""
    tiles: Metrics | None
    """Metrics of tiles, see `HeldOut.tile_weights`; None for sequences."""

    def record(self) -> dict[str, float]:
        """Return all figures by name; those of tiles begin with `tile_`."""
        figures = self.metrics._asdict()
        if self.tiles is not None:
            figures |= {f"{TILE}{name}": value for name, value in self.tiles._asdict().items()}
        return figures


class TileScores(NamedTuple):
    """Figures of tiles with and without a label at a fixed ratio, as in the original work."""

    length: int
    """Bases of a tile."""
    negatives: float
    """Tiles without a label for each one with a label."""
    metrics: Metrics
    """Metrics of the bases of these tiles, at a threshold of their own from the validation data."""
    intervals: dict[str, Interval]
    """95 % intervals by metric."""


class ContigScores(NamedTuple):
    """Figures of one contig."""

    contig: str
    """Name of the contig."""
    metrics: Metrics
    """Metrics of its bases, at the prevalence of the contig."""
    regions: RegionScores
    """Figures of its regions."""


class Evaluation(NamedTuple):
    """A model's figures on held-out data, with what is needed to rely on them.

    Figures of bases hold for the contigs that they were made on, at the prevalence of their
    genome, whatever the length of the windows.
    """

    task: str
    """Name of the task."""
    split: str
    """Name of the split that was scored."""
    simulated: bool
    """Whether the data are simulated DNA."""
    label_source: str
    """Files that the labels come from, see `Manifest.label_source`."""
    rows: int
    """Number of stretches, or of sequences."""
    labels: int
    """Number of labels that count, of bases or of sequences."""
    bases: float
    """Number of bases of the genome, or of sequences, that they represent."""
    whole: bool
    """Whether every stretch of the contigs was scored; else those without a label are a sample."""
    contigs: tuple[str, ...]
    """Names of the contigs; none for sequences."""
    prevalence: float
    """Fraction of class 1 in the genome's contigs, or among the sequences."""
    metrics: Metrics
    """Metrics at that prevalence."""
    tiles: TileScores | None
    """Figures of tiles; None for sequences, and for regions that no validation data belong to."""
    intervals: dict[str, Interval]
    """95 % intervals by metric, from `replicates` draws of `blocks` blocks of stretches."""
    blocks: int
    """Number of blocks."""
    replicates: int
    """Number of draws."""
    regions: RegionScores | None
    """Figures of whole regions; None for sequences."""
    by_contig: tuple[ContigScores, ...]
    """Figures of every contig with a label and an unlabelled base; none for sequences."""
    tracts: tuple[TractScores, ...]
    """How well labelled tracts of an untrained predictor are distinguished from unlabelled ones;
    none for a task without an untrained predictor."""
    calibration: Calibration
    """Whether probabilities mean what they say."""
    curve: PrecisionRecall
    """Curve of precision and recall, with intervals."""
    seen: tuple[str, ...] = ()
    """Contigs that the model was trained on, or that chose its epoch, with their use."""
    errors: Errors | None = None
    """Errors by kind; None for sequences."""
    enrichment: tuple[Enrichment, ...] = ()
    """How much more of the regions is called than of the genome; only where whole contigs were
    scored against regions of their own."""
    drawn: dict[str, tuple[float, ...]] | None = None
    """Figures of every draw, by their names in `figures`: those of two models on the same labels
    are pairs. None for an evaluation that was read: a file of their own has them."""

    @classmethod
    def read(cls, path: AnyPath) -> Evaluation:
        """Read a file that holds the values of `as_json`, without the figures of draws.

        Args:
            path: File to read.

        Raises:
            InputError: The file is missing or not of this form.
        """
        values = read_json(path)
        try:
            return TypeAdapter(cls).validate_python(values)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            key = ".".join(map(str, first["loc"]))
            remedy = "score the model again with `hyena-ray evaluate`"
            raise InputError(f"{path}: {key}", None, first["msg"], remedy) from None

    @property
    def measured(self) -> Measured:
        """All metrics, under the names that they have after an epoch."""
        return Measured(self.metrics, None if self.tiles is None else self.tiles.metrics)

    def figures(self) -> dict[str, float]:
        """Return all figures that are compared between models, by name.

        They are those of `Measured.record`; of tracts `tract_NAME`, of the strongest ones
        `strong_tract_NAME`; `region_recall` and `false_per_mb`; and of the runs of false calls by
        kind `false_edges_per_mb`, `false_tracts_per_mb` and `false_elsewhere_per_mb`.
        """
        figures = self.measured.record()
        for prefix, tracts in zip(PREFIXES, self.tracts, strict=False):
            figures |= {
                f"{prefix}roc_auc": tracts.roc_auc,
                f"{prefix}average_precision": tracts.average_precision,
            }
        if self.regions is not None:
            figures |= {
                "region_recall": self.regions.recall,
                "false_per_mb": self.regions.false_per_mb,
            }
        if self.errors is not None:
            names = ("false_edges_per_mb", "false_tracts_per_mb", "false_elsewhere_per_mb")
            figures |= {
                name: kind.per_mb for name, kind in zip(names, self.errors.false, strict=True)
            }
        return figures

    def warnings(self) -> list[str]:
        """Return what makes the figures unreliable, in sentences; none where nothing does."""
        found = []
        if self.seen:
            found.append(f"the model has seen {', '.join(self.seen)}: the figures flatter it")
        low = self.intervals["average_precision"].low
        if low <= self.prevalence:
            found.append(
                "no better than chance: the interval of the average precision begins at "
                f"{low:.4f}, and a model that guesses has {self.prevalence:.4f}; the k-mers of "
                "such a model mean nothing"
            )
        if self.blocks < FEW_BLOCKS:
            found.append(
                f"the intervals are too narrow: {self.blocks} blocks of neighbours are too few to "
                "draw from; score more of the genome"
            )
        return found

    def as_json(self) -> dict[str, Any]:
        """Return plain values, None for what is not defined; without the figures of draws."""
        values: dict[str, Any] = plain(self)
        del values["drawn"]
        return values

    def write(self, folder: AnyPath) -> None:
        """Write all figures, and those of every draw, to the files of `EVALUATED`.

        Args:
            folder: Folder of the run.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        with atomic_file(folder / BOOTSTRAP) as temporary:
            pq.write_table(pa.table(dict(self.drawn or {})), temporary, write_page_checksum=True)
        write_json(folder / EVALUATION, self.as_json())

    def table(self) -> str:
        """Return a short table for people."""
        kind = "sequences" if self.regions is None else "stretches"
        where = f" of {', '.join(self.contigs)}" if 0 < len(self.contigs) <= SHOWN_CONTIGS else ""
        lines = [f"{self.task}, {self.split}: {self.rows:,} {kind}{where}"]
        if self.simulated:
            lines.append(SIMULATED)
        lines.append(f"labels: {self.label_source}")
        if self.regions is not None:
            scored = (
                "every stretch scored"
                if self.whole
                else f"{self.labels / 1e6:.2f} Mb of them scored"
            )
            lines.append(
                f"estimates for these contigs ({self.bases / 1e6:.1f} Mb, {scored}), where "
                f"{self.prevalence:.3%} of the bases have a label"
            )
        for name in ("average_precision", "precision", "recall", "f1", "mcc"):
            low, high = self.intervals[name]
            value = getattr(self.metrics, name)
            lines.append(f"{name:<20}{value:.3f}  ({low:.3f} to {high:.3f})")
        lines += [
            f"{'roc_auc':<20}{self.metrics.roc_auc:.3f}",
            f"{'brier':<20}{self.calibration.brier:.5f}  (of the prevalence alone "
            f"{self.calibration.brier_of_prevalence:.5f})",
            f"{'threshold':<20}{self.metrics.threshold:.3f}",
        ]
        if self.regions is not None:
            lines.append(str(self.regions))
        if self.errors is not None:
            lines += self.errors.lines()
        lines += map(str, self.enrichment)
        for tracts in self.tracts:
            low, high = tracts.intervals["roc_auc"]
            lines.append(
                f"tracts with a {tracts.predictor} score of at least {tracts.threshold:g}: "
                f"{tracts.labelled:,} of {tracts.tracts:,.0f} are labelled; labelled against "
                f"unlabelled: roc_auc {tracts.roc_auc:.3f}  ({low:.3f} to {high:.3f}), "
                f"average_precision {tracts.average_precision:.3f}"
            )
        if self.tiles is not None:
            tiles = self.tiles
            low, high = tiles.intervals["f1"]
            lines.append(
                f"on tiles of {tiles.length} bases, {tiles.negatives:g} without a label for each "
                f"with one: f1 {tiles.metrics.f1:.3f}  ({low:.3f} to {high:.3f}), "
                f"average_precision {tiles.metrics.average_precision:.3f}"
            )
        lines.append(f"95 % intervals from {self.replicates:,} draws of {self.blocks} blocks")
        lines += [f"warning: {warning}" for warning in self.warnings()]
        return "\n".join(lines)


@torch.inference_mode()
def predict(
    model: WindowScorer,
    held_out: HeldOut,
    class_weights: Tensor,
    workers: Workers = ALONE,
    on_progress: Callable[[int], None] = lambda windows: None,
) -> Predictions:
    """Score all bases of held-out data in float32, with the model's own windows and strands.

    Args:
        model: Model to score with; it is put into evaluation mode.
        held_out: Stretches or sequences.
        class_weights: Class weights of the loss, shape (2,), float32.
        workers: Processes that share the windows; each gets the scores of all.
        on_progress: Called with the number of windows of every batch that was scored.

    Raises:
        NonFiniteError: The model's logits overflow.
    """
    model.eval()
    device = model_device(model)
    class_weights = class_weights.to(device)
    source = ProgressSource(held_out.source(model.readout.window), on_progress)
    scored = []
    with arithmetic("float32"), frozen_filters(model):
        for batch in workers.share(source.batches(EVALUATION_BATCH, epoch=None, seed=0)):
            logits = model.predict(batch.tokens(device))
            loss = weighted_cross_entropy(logits, batch.labels(device), class_weights)
            scored.append((log_odds(logits), loss))
            if len(scored) == 1:
                check_finite(scored[0][0])
    # The device is synchronised only here, after all work has been queued.
    for batch_scores, _ in scored:
        check_finite(batch_scores)
    own = [(scores.cpu().numpy(), float(loss.total), float(loss.weight)) for scores, loss in scored]
    scores, totals, weights = zip(*workers.merge(own), strict=True)
    mean = math.fsum(totals) / math.fsum(weights)
    return Predictions(held_out.join(np.concatenate(scores)), mean)


def evaluate(
    model: WindowScorer,
    held_out: HeldOut,
    class_weights: Tensor,
    workers: Workers = ALONE,
    on_progress: Callable[[int], None] = lambda windows: None,
) -> Measured:
    """Return the metrics of held-out data, at the thresholds of the model.

    Args:
        model: Model to score with; it is put into evaluation mode.
        held_out: Stretches or sequences.
        class_weights: Class weights of the loss, shape (2,), float32.
        workers: Processes that share the windows; each gets the metrics of all.
        on_progress: Called with the number of windows of every batch that was scored.
    """
    predictions = predict(model, held_out, class_weights, workers, on_progress)
    return _measure(held_out, predictions, model.calibration, model.threshold, model.tile_threshold)


def calibrate(
    model: WindowModel,
    held_out: HeldOut,
    class_weights: Tensor,
    metric: str,
    *,
    workers: Workers = ALONE,
    on_progress: Callable[[int], None] = lambda windows: None,
) -> Measured:
    """Fit a model's calibration to held-out data, and choose its thresholds on them.

    Every model passes through here: networks after each epoch, fitted ones after each fit.

    Args:
        model: Model to score with; it is put into evaluation mode, and its calibration and
            thresholds are set.
        held_out: Stretches or sequences of the validation split.
        class_weights: Class weights of the loss, shape (2,), float32.
        metric: Metric for which the thresholds are the best, a key of `OBJECTIVES`.
        workers: Processes that share the windows; each gets the metrics of all.
        on_progress: Called with the number of windows of every batch that was scored.

    Returns:
        Metrics at these thresholds.
    """
    predictions = predict(model, held_out, class_weights, workers, on_progress)
    labels, weight = held_out.rows.labels, held_out.base_weights()
    counted = (labels != IGNORED) & (weight > 0)
    model.calibration = BetaCalibration.fit(
        predictions.log_odds[counted], labels[counted], weight[counted]
    )
    return _set_thresholds(model, held_out, predictions, metric)


def choose_thresholds(
    model: WindowScorer,
    held_out: HeldOut,
    class_weights: Tensor,
    on_progress: Callable[[int], None] = lambda windows: None,
) -> None:
    """Choose the thresholds of an ensemble, or of other strands, and set them.

    The probabilities stay what they are, so that whoever loads the same models may use the
    threshold.

    Args:
        model: Model to score with; it is put into evaluation mode.
        held_out: Stretches or sequences of the validation split.
        class_weights: Class weights of the loss, shape (2,), float32.
        on_progress: Called with the number of windows of every batch that was scored.
    """
    predictions = predict(model, held_out, class_weights, on_progress=on_progress)
    _set_thresholds(model, held_out, predictions, held_out.task.threshold_metric)


def _set_thresholds(
    model: WindowScorer, held_out: HeldOut, predictions: Predictions, metric: str
) -> Measured:
    measured = _measure(held_out, predictions, model.calibration, metric, metric)
    model.threshold = measured.metrics.threshold
    if measured.tiles is not None:
        model.tile_threshold = measured.tiles.threshold
    return measured


def _measure(
    held_out: HeldOut,
    predictions: Predictions,
    calibration: BetaCalibration,
    threshold: float | str,
    tile_threshold: float | str,
) -> Measured:
    labels, scores = held_out.rows.labels, predictions.scores(calibration)
    metrics = measure(
        labels,
        scores,
        loss=predictions.loss,
        threshold=threshold,
        weight=held_out.base_weights(),
    )
    if held_out.task.kind == "sequence":
        return Measured(metrics, None)
    tiles = measure(
        labels,
        scores,
        loss=predictions.loss,
        threshold=tile_threshold,
        weight=held_out.tile_weights(),
    )
    return Measured(metrics, tiles)


def evaluate_on_split(
    model: WindowScorer,
    data: PreparedData,
    split: str,
    class_weights: Tensor,
    on_progress: Callable[[int], None] = lambda windows: None,
) -> Evaluation:
    """Compute all figures on a held-out split of the prepared data, at the model's thresholds.

    Args:
        model: Model to score with.
        data: Prepared data, or a fold's view of them.
        split: Name of the split.
        class_weights: Class weights of the loss, shape (2,), float32.
        on_progress: Called with the number of windows of every batch that was scored.

    Raises:
        InputError: There is no such split, its stretches hold no window of the model, or there is
            only one class in it.
    """
    counts = data.manifest.counts_of(model.readout.window, split)
    data.count(model.readout.window, split)  # refuses a length that no stretch holds
    held_out = HeldOut.read(data, split)
    check_both_classes(ArraySource(held_out.rows), f"{data.folder}: {split}")
    predictions = predict(model, held_out, class_weights, on_progress=on_progress)
    scores = predictions.scores(model.calibration)
    of_tiles = _measure(
        held_out, predictions, model.calibration, model.threshold, model.tile_threshold
    ).tiles
    rows, weight, task = held_out.rows, held_out.weight, held_out.task
    scored = scored_labels(held_out, scores, held_out.base_weights(), model.threshold)
    fields, drawn = figures_of_labels(scored, predictions.loss, model.threshold)
    tracts: tuple[TractScores, ...] = ()
    tiles: TileScores | None = None
    regions: RegionScores | None = None
    by_contig: tuple[ContigScores, ...] = ()
    errors: Errors | None = None
    predicted = score_bases(held_out)
    if of_tiles is not None:
        counted = scored_labels(held_out, scores, held_out.tile_weights(), model.tile_threshold)
        replicates = bootstrap(counted, seed=BOOTSTRAP_SEED)
        drawn |= {f"{TILE}{name}": values for name, values in replicates.items()}
        tiles = TileScores(
            min(task.lengths[0], rows.labels.shape[1]),
            task.negatives,
            of_tiles,
            intervals_by_name(replicates),
        )
        regions = score_regions(rows, scores, model.regions, weight)
        by_contig = tuple(_by_contig(model, held_out, scores, predictions.loss))
        title, weakest = tract_predictor(task)
        tract = None if predicted is None or weakest is None else predicted >= weakest
        called = called_regions(rows, scores, model.regions) > 0
        errors = count_errors(held_out, called, tract).errors(title, weakest)
    if predicted is not None:
        block = resampling_blocks(rows.contig, rows.start)
        found = call_tracts(held_out, scores, predicted, block)
        tracts, replicates = measure_tracts(task.name, found, seed=BOOTSTRAP_SEED)
        drawn |= replicates
    return Evaluation(
        task=task.name,
        split=split,
        simulated=data.manifest.simulated,
        label_source=data.manifest.label_source,
        rows=len(rows.start),
        whole=all(count.negative == count.candidates for count in counts),
        contigs=() if tiles is None else tuple(map(str, dict.fromkeys(rows.contig))),
        tiles=tiles,
        regions=regions,
        by_contig=by_contig,
        tracts=tracts,
        errors=errors,
        drawn=as_tuples(drawn),
        **fields,
    )


def figures_of_labels(
    scored: Scored, loss: float, threshold: float, number: NDArray[np.float64] | None = None
) -> tuple[dict[str, Any], Replicates]:
    """Return the fields of an evaluation that are made of labels, scores and weights alone.

    Args:
        scored: Labels that count, at least one of each class.
        loss: Weighted cross-entropy.
        threshold: Probability from which a label is called.
        number: Number of labels that each of these stands for; None counts each once.

    Returns:
        The fields, and the figures of every draw.
    """
    labels, scores, weight = scored.labels, scored.scores, scored.weight
    drawn = bootstrap(scored, seed=BOOTSTRAP_SEED)
    fields = {
        "labels": len(labels) if number is None else int(number.sum()),
        "bases": float(weight.sum()),
        "prevalence": float(weight[labels == 1].sum() / weight.sum()),
        "metrics": measure(labels, scores, loss=loss, threshold=threshold, weight=weight),
        "intervals": intervals_by_name(drawn),
        "blocks": int(scored.block.max()) + 1,
        "replicates": REPLICATES,
        "calibration": measure_calibration(scored, seed=BOOTSTRAP_SEED, number=number),
        "curve": precision_recall(scored, seed=BOOTSTRAP_SEED),
    }
    return fields, drawn


def as_tuples(replicates: Replicates) -> dict[str, tuple[float, ...]]:
    """Return figures of every draw as an evaluation holds them.

    Args:
        replicates: The figures.
    """
    return {name: tuple(values.tolist()) for name, values in replicates.items()}


def tract_predictor(task: Task) -> tuple[str, float] | tuple[None, None]:
    """Return name and weakest threshold of the untrained predictor of a task, if it has one.

    Args:
        task: The task.
    """
    predictor = UNTRAINED_PREDICTORS.get(task.name)
    return (None, None) if predictor is None else (predictor.title, predictor.thresholds[0])


def scored_labels(
    held_out: HeldOut,
    scores: NDArray[np.float32],
    weight: NDArray[np.float64],
    threshold: float,
) -> Scored:
    """Return the labels that count, with their scores, calls, blocks and weights.

    Args:
        held_out: Stretches or sequences.
        scores: Probabilities of class 1, shape (m, S).
        weight: Weight of each label, shape (m, S).
        threshold: Probability from which a label is called.
    """
    rows = held_out.rows
    counted = (rows.labels != IGNORED) & (weight > 0)
    block = resampling_blocks(rows.contig, rows.start)
    return Scored(
        labels=rows.labels[counted],
        scores=scores[counted],
        called=scores[counted] >= threshold,
        block=np.broadcast_to(block[:, None], counted.shape)[counted],
        weight=weight[counted],
    )


def _by_contig(
    model: WindowScorer, held_out: HeldOut, scores: NDArray[np.float32], loss: float
) -> Iterator[ContigScores]:
    for name in map(str, dict.fromkeys(held_out.rows.contig)):
        chosen = np.flatnonzero(held_out.rows.contig == name)
        of_contig = HeldOut(held_out.rows.rows(chosen), held_out.weight[chosen], held_out.task)
        labels = of_contig.rows.labels
        if not ((labels == 1).any() and (labels == 0).any()):
            continue
        own = scores[chosen]
        metrics = measure(
            labels,
            own,
            loss=loss,
            threshold=model.threshold,
            weight=of_contig.base_weights(),
        )
        regions = score_regions(of_contig.rows, own, model.regions, of_contig.weight)
        yield ContigScores(name, metrics, regions)

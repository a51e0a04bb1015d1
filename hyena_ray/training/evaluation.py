"""Score a model: quickly after each epoch, and with everything that makes a figure reliable."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError
from torch import Tensor

from hyena_ray.dataset.manifest import Count
from hyena_ray.dataset.reader import PreparedData
from hyena_ray.dataset.schema import Windows
from hyena_ray.dataset.tokens import IGNORED
from hyena_ray.errors import InputError
from hyena_ray.files import read_json
from hyena_ray.model.devices import arithmetic
from hyena_ray.model.filters import frozen_filters
from hyena_ray.model.window import WindowModel
from hyena_ray.outcomes import SIMULATED, plain
from hyena_ray.storage import AnyPath
from hyena_ray.tasks import task_named
from hyena_ray.training.bootstrap import (
    REPLICATES,
    Interval,
    Scored,
    average_precisions,
    bootstrap,
    resampling_blocks,
)
from hyena_ray.training.data_parallel import ALONE, Workers
from hyena_ray.training.loaders import (
    ArraySource,
    ProgressSource,
    WindowSource,
    check_both_classes,
)
from hyena_ray.training.losses import weighted_cross_entropy
from hyena_ray.training.metrics import (
    Calibration,
    Metrics,
    PrecisionRecall,
    RegionScores,
    calibrate,
    measure,
    precision_recall,
    score_regions,
)

EVALUATION_BATCH = 128
"""Windows of one forward pass: past this, larger batches are no faster on a CPU."""
BOOTSTRAP_SEED = 0
"""Seed of the draws of all intervals."""


class Predictions(NamedTuple):
    """A model's scores of a source's windows, in order of their ids."""

    labels: NDArray[np.int8]
    """Labels, shape (n, W); `IGNORED` where a base does not count."""
    scores: NDArray[np.float32]
    """Probabilities of class 1, shape (n, W)."""
    loss: float
    """Weighted cross-entropy, the mean over all that count."""


class GenomeScores(NamedTuple):
    """Figures as if no negative had been left out, by weighting those that were drawn."""

    prevalence: float
    """Fraction of class 1."""
    average_precision: float
    """Average precision at that prevalence."""
    precision: float
    """Fraction of class 1 among what is called; 0 where nothing is."""


class Evaluation(NamedTuple):
    """A model's figures on a split, with what is needed to rely on them."""

    task: str
    """Name of the task."""
    split: str
    """Name of the split that was scored."""
    simulated: bool
    """Whether the data are simulated DNA."""
    windows: int
    """Number of windows."""
    labels: int
    """Number of labels that count, of bases or of sequences."""
    prevalence: float
    """Fraction of class 1 among them."""
    metrics: Metrics
    """Metrics of all labels together."""
    genome: GenomeScores | None
    """Figures of the genome; None for sequences, and where no negative was drawn."""
    intervals: dict[str, Interval]
    """95 % intervals by metric, from `replicates` draws of `blocks` blocks of windows."""
    blocks: int
    """Number of blocks of windows."""
    replicates: int
    """Number of draws."""
    regions: RegionScores | None
    """Figures of whole regions; None for sequences."""
    calibration: Calibration
    """Whether probabilities mean what they say."""
    curve: PrecisionRecall | None = None
    """Curve of precision and recall; None in files written before there was one."""

    @classmethod
    def read(cls, path: AnyPath) -> Evaluation:
        """Read a file that holds the values of `as_json`.

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

    def as_json(self) -> dict[str, Any]:
        """Return plain values, None for what is not defined."""
        values: dict[str, Any] = plain(self)
        return values

    def table(self) -> str:
        """Return a short table for people."""
        lines = [
            f"{self.task}, {self.split}: {self.windows:,} windows with {self.labels:,} labels, "
            f"{self.prevalence:.2%} of them positive"
        ]
        if self.simulated:
            lines.append(SIMULATED)
        for name in ("f1", "mcc", "precision", "recall", "average_precision"):
            low, high = self.intervals[name]
            value = getattr(self.metrics, name)
            lines.append(f"{name:<20}{value:.3f}  ({low:.3f} to {high:.3f})")
        lines += [
            f"{'roc_auc':<20}{self.metrics.roc_auc:.3f}",
            f"{'accuracy':<20}{self.metrics.accuracy:.3f}",
            f"{'brier':<20}{self.calibration.brier:.4f}",
            f"{'threshold':<20}{self.metrics.threshold:.3f}",
        ]
        if self.genome is not None:
            low, high = self.intervals["average_precision_genome"]
            lines.append(
                f"in the genome, {self.genome.prevalence:.3%} of them positive: average_precision "
                f"{self.genome.average_precision:.3f}  ({low:.3f} to {high:.3f}), precision "
                f"{self.genome.precision:.3f}"
            )
        if self.regions is not None:
            regions = self.regions
            lines.append(
                f"regions: {regions.found:,} of {regions.regions:,} found ({regions.recall:.3f}); "
                f"{regions.false:,} of {regions.called:,} called runs touch none "
                f"(precision {regions.precision:.3f})"
            )
        lines.append(
            f"95 % intervals from {self.replicates:,} draws of {self.blocks} blocks of windows"
        )
        return "\n".join(lines)


@torch.inference_mode()
def predict(
    model: WindowModel, source: WindowSource, class_weights: Tensor, workers: Workers = ALONE
) -> Predictions:
    """Score all windows of a source in float32, with the model's own strands.

    Args:
        model: Model to score with; it is put into evaluation mode.
        source: Windows with labels.
        class_weights: Class weights of the loss, shape (2,), float32.
        workers: Processes that share the windows; each gets the scores of all.
    """
    model.eval()
    device = next(model.parameters()).device
    class_weights = class_weights.to(device)
    scored = []
    with arithmetic("float32"), frozen_filters(model):
        for batch in workers.share(source.batches(EVALUATION_BATCH, epoch=None, seed=0)):
            logits = model.predict(batch.tokens(device))
            loss = weighted_cross_entropy(logits, batch.labels(device), class_weights)
            scored.append((batch.labels(), logits.float().softmax(-1)[..., 1], loss))
    # The device is synchronised only here, after all work has been queued.
    own = [
        (labels.numpy(), scores.cpu().numpy(), float(loss.total), float(loss.weight))
        for labels, scores, loss in scored
    ]
    labels, scores, totals, weights = zip(*workers.merge(own), strict=True)
    mean = math.fsum(totals) / math.fsum(weights)
    return Predictions(np.concatenate(labels), np.concatenate(scores), mean)


def evaluate(
    model: WindowModel,
    source: WindowSource,
    class_weights: Tensor,
    *,
    threshold: float | str,
    workers: Workers = ALONE,
) -> Metrics:
    """Return the metrics of all windows of a source.

    Args:
        model: Model to score with; it is put into evaluation mode.
        source: Windows with labels.
        class_weights: Class weights of the loss, shape (2,), float32.
        threshold: A probability, or the metric whose best threshold is taken; see `measure`.
        workers: Processes that share the windows; each gets the metrics of all.
    """
    predictions = predict(model, source, class_weights, workers)
    return measure(
        predictions.labels, predictions.scores, loss=predictions.loss, threshold=threshold
    )


def evaluate_on_split(
    model: WindowModel,
    data: PreparedData,
    split: str,
    class_weights: Tensor,
    on_progress: Callable[[int], None] = lambda windows: None,
) -> Evaluation:
    """Compute all figures on a split of the prepared data, at the threshold of the model.

    Args:
        model: Model to score with, whose readout decides the length of the windows.
        data: Prepared windows, or a fold's view of them.
        split: Name of the split.
        class_weights: Class weights of the loss, shape (2,), float32.
        on_progress: Called with the number of windows of every batch that was scored.

    Raises:
        InputError: There is no such length or split, or only one class in it.
    """
    task, length = task_named(data.manifest.task), model.readout.window
    windows = data.read(length, split)
    check_both_classes(ArraySource(windows), f"{data.folder}: {split}")
    source = ProgressSource(ArraySource(windows), on_progress)
    predictions = predict(model, source, class_weights)
    metrics = measure(
        predictions.labels, predictions.scores, loss=predictions.loss, threshold=model.threshold
    )
    labels_bases = task.kind == "base"
    weight, regions = None, None
    if labels_bases:
        counts = [c for c in data.manifest.counts if (c.length, c.split) == (length, split)]
        weight = genome_weights(windows, counts)
        regions = score_regions(windows, predictions.scores, model.threshold)
    counted = predictions.labels != IGNORED
    scored = Scored(
        labels=predictions.labels[counted],
        scores=predictions.scores[counted],
        called=predictions.scores[counted] >= model.threshold,
        block=_per_label(resampling_blocks(windows.contig, windows.start), counted),
        weight=None if weight is None else _per_label(weight, counted),
    )
    return Evaluation(
        task=task.name,
        split=split,
        simulated=data.manifest.simulated,
        windows=len(windows.window_id),
        labels=len(scored.labels),
        prevalence=float((scored.labels == 1).mean()),
        metrics=metrics,
        genome=None if scored.weight is None else _in_genome(scored, scored.weight),
        intervals=bootstrap(scored, seed=BOOTSTRAP_SEED),
        blocks=int(scored.block.max()) + 1,
        replicates=REPLICATES,
        regions=regions,
        calibration=calibrate(scored.labels, scored.scores),
        curve=precision_recall(scored.labels, scored.scores),
    )


def _per_label(values: NDArray[Any], counted: NDArray[np.bool_]) -> NDArray[Any]:
    """Give each label that counts, (N,), the value of its window, (n,)."""
    return np.broadcast_to(values[:, None], counted.shape)[counted]


def _in_genome(scored: Scored, weight: NDArray[np.float64]) -> GenomeScores:
    once = np.ones((1, int(scored.block.max()) + 1))
    called = weight[scored.called].sum()
    true = weight[scored.called & (scored.labels == 1)].sum()
    return GenomeScores(
        prevalence=float(weight[scored.labels == 1].sum() / weight.sum()),
        average_precision=float(average_precisions(scored, once)[0]),
        precision=float(true / called) if called else 0.0,
    )


def genome_weights(windows: Windows, counts: Sequence[Count]) -> NDArray[np.float64] | None:
    """Return how many windows of the genome each window represents; None if no negative was drawn.

    A positive window represents itself, since all of them were taken, and a negative one
    candidates / drawn of its contig. Candidates of contigs of which none was drawn are spread over
    the negatives of the others.

    Args:
        windows: n windows of one length and split.
        counts: Counts of that length and split.

    Returns:
        Weights, shape (n,).
    """
    drawn = {count.contig: count for count in counts if count.negative}
    if not drawn:
        return None
    spread = sum(c.candidates for c in counts) / sum(c.candidates for c in drawn.values())
    names, contig = np.unique(windows.contig, return_inverse=True)
    contig_weight = np.ones(len(names))
    for index, name in enumerate(names):
        if name in drawn:
            contig_weight[index] = spread * drawn[name].candidates / drawn[name].negative
    return np.where((windows.labels == 1).any(1), 1.0, contig_weight[contig])

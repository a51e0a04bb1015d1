"""Score a model on whole contigs against any regions, in memory that the genome does not set.

Stretches are scored some at a time. Labels and scores go into a table of bounded size; runs of
bases, which figures of regions, tracts and errors are made of, are counted in parts of a contig
that end where no run goes on.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from functools import reduce
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from hyena_ray.dataset.genome_scan import GenomeScan
from hyena_ray.dataset.manifest import InputFile
from hyena_ray.dataset.origin import Origin
from hyena_ray.dataset.schema import Windows
from hyena_ray.errors import InputError
from hyena_ray.genome.called_regions import RegionSettings
from hyena_ray.genome.intervals import Intervals, true_runs
from hyena_ray.model.window import WindowScorer
from hyena_ray.progress import shortened_list
from hyena_ray.storage import recorded_name
from hyena_ray.tasks import Task
from hyena_ray.training.bootstrap import Replicates, Scored, resampling_blocks
from hyena_ray.training.enrichment import (
    TOP_SHARES,
    Calls,
    Enrichment,
    ScoredGenome,
    TopScores,
    join_runs,
    measure_enrichment,
)
from hyena_ray.training.errors_by_kind import MARGIN, ErrorCounts, count_errors
from hyena_ray.training.evaluation import (
    BOOTSTRAP_SEED,
    ContigScores,
    Evaluation,
    as_tuples,
    figures_of_labels,
    predict,
    tract_predictor,
)
from hyena_ray.training.held_out import HeldOut
from hyena_ray.training.leaks import TRAINED, seen_contigs
from hyena_ray.training.metrics import RegionCounts, called_regions, count_regions, measure
from hyena_ray.training.score_table import ScoreTable
from hyena_ray.training.tracts import (
    CONTEXT,
    TractScores,
    call_tracts,
    measure_tracts,
    score_bases,
)

logger = logging.getLogger(__name__)

REGIONS = "regions"
"""Name of the split of an evaluation on regions of their own."""
TABLE_ROWS = 1 << 21
"""Rows of the table of scores at most: with 100 blocks some ten thousand scores each."""


class Part(NamedTuple):
    """Scored stretches of a genome, without their bases."""

    held_out: HeldOut
    """m stretches with their labels."""
    scores: NDArray[np.float32]
    """Scores of the model, shape (m, S)."""
    predicted: NDArray[np.float32] | None
    """Scores of the untrained predictor, shape (m, S); None without one."""
    block: NDArray[np.int64]
    """Block that each stretch is resampled with, shape (m,)."""

    def rows(self, chosen: slice) -> Part:
        """Return some of the stretches.

        Args:
            chosen: Which ones.
        """
        held_out, scores, predicted, block = self
        part = held_out._replace(rows=held_out.rows.rows(chosen), weight=held_out.weight[chosen])
        of_predictor = None if predicted is None else predicted[chosen]
        return Part(part, scores[chosen], of_predictor, block[chosen])

    def then(self, other: Part) -> Part:
        """Append the stretches that follow.

        Args:
            other: Those stretches.
        """
        pairs: Any = zip(self.held_out.rows, other.held_out.rows, strict=True)
        rows = Windows._make(map(np.concatenate, pairs))
        weight = np.concatenate((self.held_out.weight, other.held_out.weight))
        predicted = None
        if self.predicted is not None and other.predicted is not None:
            predicted = np.concatenate((self.predicted, other.predicted))
        return Part(
            self.held_out._replace(rows=rows, weight=weight),
            np.concatenate((self.scores, other.scores)),
            predicted,
            np.concatenate((self.block, other.block)),
        )

    def last_gap(self, settings: RegionSettings, weakest: float | None) -> int:
        """Return the last stretch before which no run goes on, and none is near; 0 where none is.

        Args:
            settings: How probabilities become regions.
            weakest: Score from which a base is in a tract.
        """
        rows = self.held_out.rows
        width = rows.labels.shape[1]
        inside = (self.scores >= settings.threshold) | (rows.labels == 1)
        if self.predicted is not None and weakest is not None:
            inside |= self.predicted >= weakest
        near = min(max(MARGIN, settings.merge_gap), width)
        quiet = ~(inside[:-1, -near:].any(1) | inside[1:, :near].any(1))
        follows = (rows.contig[1:] == rows.contig[:-1]) & (np.diff(rows.start) == width)
        gaps = np.flatnonzero(quiet | ~follows)
        return int(gaps[-1]) + 1 if len(gaps) else 0


class _Runs:
    """Sums over the runs of bases of parts of a genome."""

    def __init__(self, task: Task, settings: RegionSettings) -> None:
        self._settings = settings
        title, weakest = tract_predictor(task)
        self._title: str | None = title
        self._weakest: float | None = weakest
        self._task = task
        self._left: Part | None = None
        self._errors: ErrorCounts | None = None
        self._tracts: list[list[Scored]] = []
        self.regions: dict[str, RegionCounts] = {}
        """Counts of each contig."""

    def add(self, part: Part) -> None:
        """Add stretches, but for the last ones if a run may go on behind them."""
        together = part if self._left is None else self._left.then(part)
        gap = together.last_gap(self._settings, self._weakest)
        self._left = together.rows(slice(gap, None))
        if gap:
            self._count(together.rows(slice(gap)))

    def close(self) -> None:
        """Add what is left."""
        if self._left is not None:
            self._count(self._left)
            self._left = None

    def figures(self) -> tuple[dict[str, Any], Replicates]:
        """Return the fields of an evaluation that are made of runs, and figures of every draw."""
        assert self._errors is not None
        whole = reduce(RegionCounts.plus, self.regions.values())
        tracts = [Scored._make(map(np.concatenate, zip(*of, strict=True))) for of in self._tracts]
        measured: tuple[TractScores, ...] = ()
        drawn: Replicates = {}
        if tracts:
            measured, drawn = measure_tracts(self._task.name, tracts, seed=BOOTSTRAP_SEED)
        fields = {
            "regions": whole.scores(),
            "errors": self._errors.errors(self._title, self._weakest),
            "tracts": measured,
        }
        return fields, drawn

    def _count(self, part: Part) -> None:
        rows, tract = part.held_out.rows, None
        called = called_regions(rows, part.scores, self._settings)
        if part.predicted is not None and self._weakest is not None:
            tract = part.predicted >= self._weakest
            found = call_tracts(part.held_out, part.scores, part.predicted, part.block)
            self._tracts = self._tracts or [[] for _ in found]
            for collected, of_part in zip(self._tracts, found, strict=True):
                collected.append(of_part)
        errors = count_errors(part.held_out, called > 0, tract)
        self._errors = errors if self._errors is None else self._errors.plus(errors)
        edges = np.flatnonzero(rows.contig[1:] != rows.contig[:-1]) + 1
        for first, last in zip([0, *edges], [*edges, len(rows.contig)], strict=True):
            chosen, name = slice(first, last), str(rows.contig[first])
            counts = count_regions(rows.rows(chosen), called[chosen], part.held_out.weight[chosen])
            before = self.regions.get(name)
            self.regions[name] = counts if before is None else before.plus(counts)


class _Calls:
    """The calls of a genome, as enrichment is measured of them."""

    def __init__(self, scan: GenomeScan, threshold: float) -> None:
        self._stretch, self._threshold = scan.stretch, threshold
        self._bases = scan.stretch * len(scan.starts)
        self._called: list[Intervals] = []
        self._regions: list[Intervals] = []
        self._counts: list[NDArray[np.int64]] = []
        self._top = TopScores(int(max(TOP_SHARES) * self._bases))
        self._done = 0

    def add(self, labelled: NDArray[np.bool_], scores: NDArray[np.float32]) -> None:
        """Add the stretches that follow, shape (m, S)."""
        called = scores >= self._threshold
        for runs, mask in ((self._called, called), (self._regions, labelled)):
            start, end = true_runs(mask.ravel())
            runs.append(Intervals(start + self._done, end + self._done))
        self._counts.append(np.stack([called.sum(1), (called & labelled).sum(1), labelled.sum(1)]))
        bases = np.arange(self._done, self._done + scores.size)
        self._top.add(bases, scores.ravel(), labelled.ravel())
        self._done += scores.size

    def enrichment(self, scan: GenomeScan, block: NDArray[np.int64]) -> tuple[Enrichment, ...]:
        """Return the enrichment of the calls at every threshold that calls a base."""
        called, inside, labelled = np.concatenate(self._counts, axis=1)
        sizes = [len(contig.starts) for contig in scan.contigs.values()]
        genome = ScoredGenome(
            self._stretch,
            np.concatenate(([0], np.cumsum(sizes))),
            block,
            join_runs(self._regions),
            labelled,
        )
        calls = [Calls(self._threshold, join_runs(self._called), called, inside)]
        for share in TOP_SHARES:
            top = self._top.highest(int(share * self._bases))
            calls.append(top.calls(len(block), self._stretch))
        return tuple(
            measure_enrichment(genome, some, seed=BOOTSTRAP_SEED)
            for some in calls
            if some.called.any()
        )


def choose_contigs(
    scan: GenomeScan, wanted: Sequence[str] | None, origins: Sequence[Origin]
) -> tuple[GenomeScan, tuple[str, ...]]:
    """Choose the contigs of a scan: those asked for, or all that no model has seen.

    Args:
        scan: Scan of a whole genome.
        wanted: Names of contigs; None takes all that no model was trained on, or chose its epoch.
        origins: Data that each model was trained on.

    Returns:
        The scan of these contigs, and those of them that a model has seen, with their use.

    Raises:
        InputError: The genome lacks a contig, or the models have seen all that there are.
    """
    seen: dict[str, str] = {}
    alike: dict[str, None] = {}
    for origin in origins:
        used, others = seen_contigs(origin, scan.lengths)
        # What was trained on is told, rather than what chose the epoch of another member.
        seen |= {name: use for name, use in used.items() if seen.get(name) != TRAINED}
        alike |= dict.fromkeys(others)
    if wanted is None:
        wanted = [name for name in scan.contigs if name not in seen]
        if not wanted:
            raise InputError(
                "--genome",
                scan.genome,
                f"has no contig that the model has not seen: {shortened_list(list(seen))}",
                "name contigs with --contigs, or give another genome",
            )
    chosen = scan.only(wanted)
    if alike := {name: None for name in alike if name in chosen.contigs}:
        logger.warning(
            "the model has seen contigs of the names %s, of other lengths than here: where they "
            "are not of another assembly or species, leave them out with --contigs",
            shortened_list(list(alike)),
        )
    return chosen, tuple(f"{name} ({seen[name]})" for name in chosen.contigs if name in seen)


def evaluate_on_genome(
    model: WindowScorer,
    scan: GenomeScan,
    task: Task,
    class_weights: Tensor,
    on_progress: Callable[[int], None] = lambda windows: None,
) -> Evaluation:
    """Compute all figures of a model on whole contigs, at the model's threshold.

    Args:
        model: Model to score with.
        scan: Contigs to score, with a labelled base and one without a label.
        task: What the model recognises.
        class_weights: Class weights of the loss, shape (2,), float32.
        on_progress: Called with the number of windows of every batch that was scored.

    Raises:
        InputError: The genome is no longer the one that was surveyed.
        NonFiniteError: The model's logits overflow.
    """
    block = resampling_blocks(scan.names, scan.starts)
    table, runs = ScoreTable(model.threshold, TABLE_ROWS), _Runs(task, model.regions)
    calls, loss = _Calls(scan, model.threshold), _Mean()
    names = scan.names
    flank = max(model.readout.required_flank, CONTEXT)
    for first, rows in _numbered(scan.read(flank)):
        held_out = HeldOut(rows, np.ones(len(rows.start)), task)
        predictions = predict(model, held_out, class_weights, on_progress=on_progress)
        scores = predictions.scores(model.calibration)
        labelled = rows.labels == 1
        weights = class_weights[rows.labels.ravel().astype(np.int64)]
        loss.add(predictions.loss, float(weights.double().sum()))
        of_rows = block[first : first + len(rows.start)]
        of_bases = np.repeat(of_rows, scan.stretch)
        table.add(rows.labels.ravel(), scores.ravel(), of_bases)
        calls.add(labelled, scores)
        light = held_out._replace(rows=rows._replace(tokens=rows.tokens[:, :0]))
        runs.add(Part(light, scores, score_bases(held_out), of_rows))
    runs.close()
    scored = table.scored()
    fields, drawn = figures_of_labels(scored, loss.value, model.threshold, number=scored.weight)
    of_runs, of_tracts = runs.figures()
    file = InputFile(
        role="regions", name=recorded_name(scan.regions.path), sha256=scan.regions.sha256
    )
    _, first_of_block = np.unique(block, return_index=True)
    of_contig = _by_contig(scored, names[first_of_block], runs.regions, loss.value, model)
    return Evaluation(
        task=task.name,
        split=REGIONS,
        simulated=scan.simulated,
        label_source=str(file),
        rows=len(block),
        whole=True,
        contigs=tuple(scan.contigs),
        tiles=None,
        by_contig=tuple(of_contig),
        enrichment=calls.enrichment(scan, block),
        drawn=as_tuples(drawn | of_tracts),
        **fields,
        **of_runs,
    )


class _Mean:
    """A weighted mean."""

    def __init__(self) -> None:
        self._total = self._weight = 0.0

    def add(self, value: float, weight: float) -> None:
        """Add the mean of a part."""
        self._total += value * weight
        self._weight += weight

    @property
    def value(self) -> float:
        """The mean."""
        return self._total / self._weight


def _numbered(parts: Iterator[Windows]) -> Iterator[tuple[int, Windows]]:
    """Yield stretches with the number of those before them."""
    first = 0
    for rows in parts:
        yield first, rows
        first += len(rows.start)


def _by_contig(
    scored: Scored,
    contig_of_block: NDArray[np.str_],
    regions: dict[str, RegionCounts],
    loss: float,
    model: WindowScorer,
) -> Iterator[ContigScores]:
    """Yield the figures of every contig with a base of each class."""
    names, number = np.unique(contig_of_block, return_inverse=True)
    contig = number[scored.block]
    order = np.argsort(contig, kind="stable")
    edges = np.searchsorted(contig[order], np.arange(len(names) + 1)).tolist()
    rows = {
        name: order[first:last]
        for name, first, last in zip(names.tolist(), edges, edges[1:], strict=False)
    }
    for name, counts in regions.items():
        chosen = rows[name]
        labels = scored.labels[chosen]
        if not (labels.any() and (labels == 0).any()):
            continue
        metrics = measure(
            labels,
            scored.scores[chosen],
            loss=loss,
            threshold=model.threshold,
            weight=scored.weight[chosen],
        )
        yield ContigScores(name, metrics, counts.scores())

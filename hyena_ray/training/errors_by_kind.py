"""Where a model is wrong: at the edges of regions, on tracts that have no label, or elsewhere.

A third of the false calls of a scan are a few bases beside a region, which says more about labels
than about the model; most others are on tracts, which an untrained predictor calls as well. What is
left is what the model alone gets wrong. Called bases are here those of called regions, as a
prediction writes them: what `RegionScores` counts is told apart.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hyena_ray.training.held_out import HeldOut
from hyena_ray.training.metrics import detected_regions, genome_bases, runs_of

MARGIN = 10
"""Bases from a region within which a false call is one of its edge: about a turn of the helix."""
FALSE = ("edge", "unlabelled tract", "elsewhere")
"""Kinds of runs of called bases without a label: at the edge of a region, else on a tract of the
untrained predictor, else elsewhere."""
MISSED = ("found in part", "missed, with a tract", "missed, without a tract")
"""Kinds of regions with a base that is not called: those that count as found, and missed ones with
and without a base in a tract."""


class ErrorKind(NamedTuple):
    """Errors of one kind. They are estimates where stretches without a label are a sample."""

    kind: str
    """One of `FALSE` or `MISSED`."""
    runs: float
    """Runs of false calls, or regions."""
    per_mb: float
    """Of these, in a million bases of the genome."""
    bases: float
    """Called bases without a label, or labelled bases that are not called."""
    share: float
    """Fraction of all such bases; 0 where there is none."""

    def __str__(self) -> str:
        return f"{self.kind} {self.runs:,.0f} ({self.per_mb:.1f} per Mb, {self.share:.0%} of bases)"


class Errors(NamedTuple):
    """Errors of a model at its threshold, by kind."""

    margin: int
    """Bases from a region within which a false call is one of its edge."""
    predictor: str | None
    """Untrained predictor that called the tracts; None for a task without one, whose errors are on
    no tract."""
    threshold: float | None
    """Its score from which a base is in a tract."""
    false: tuple[ErrorKind, ...]
    """Runs of called bases without a label, by the kinds of `FALSE`."""
    missed: tuple[ErrorKind, ...]
    """Regions with a base that is not called, by the kinds of `MISSED`."""

    def lines(self) -> tuple[str, str]:
        """Return both lists in words."""
        tracts = "" if self.predictor is None else f"; tracts of {self.predictor} from "
        tracts += "" if self.threshold is None else f"{self.threshold:g}"
        return (
            f"false calls, in runs: {'; '.join(map(str, self.false))} (edge: within {self.margin} "
            f"bases of a region{tracts})",
            f"regions not wholly called: {'; '.join(map(str, self.missed))}",
        )


class ErrorCounts(NamedTuple):
    """Numbers of errors; those of parts of a genome add up, if no run goes on in another part."""

    false: NDArray[np.float64]
    """Runs and bases of each kind of `FALSE`, shape (3, 2)."""
    missed: NDArray[np.float64]
    """Regions and bases of each kind of `MISSED`, shape (3, 2)."""
    bases: float
    """Bases of the genome."""

    def plus(self, other: ErrorCounts) -> ErrorCounts:
        """Add the counts of another part.

        Args:
            other: Counts of that part.
        """
        return ErrorCounts(
            self.false + other.false, self.missed + other.missed, self.bases + other.bases
        )

    def errors(self, predictor: str | None, threshold: float | None) -> Errors:
        """Return the errors by kind.

        Args:
            predictor: Name of the untrained predictor.
            threshold: Its score from which a base is in a tract.
        """
        false, missed = self._kinds(FALSE, self.false), self._kinds(MISSED, self.missed)
        return Errors(MARGIN, predictor, threshold, false, missed)

    def _kinds(self, names: tuple[str, ...], counts: NDArray[np.float64]) -> tuple[ErrorKind, ...]:
        every = max(float(counts[:, 1].sum()), 1.0)
        return tuple(
            ErrorKind(name, runs, 1e6 * runs / max(self.bases, 1.0), bases, bases / every)
            for name, (runs, bases) in zip(names, counts.tolist(), strict=True)
        )


def count_errors(
    held_out: HeldOut, called: NDArray[np.bool_], tract: NDArray[np.bool_] | None
) -> ErrorCounts:
    """Count false calls and missed regions by kind.

    Args:
        held_out: m stretches. A run weighs as much as the stretch in which it begins.
        called: Whether a base is in a called region, shape (m, S).
        tract: Whether the untrained predictor calls it, shape (m, S); None without a predictor.
    """
    bases = genome_bases(held_out.rows)
    call = called.ravel()[bases.order]
    on_tract = np.zeros(len(call), np.bool_) if tract is None else tract.ravel()[bases.order]
    weight = np.repeat(held_out.weight, held_out.rows.labels.shape[1])[bases.order]
    run = runs_of(bases.position, call & ~bases.labelled)
    near = _any_of(run, _is_near(bases.position, bases.labelled))
    kind = np.where(near, 0, np.where(_any_of(run, on_tract), 1, 2))
    false = _sums(run, run > 0, kind, weight)
    region = runs_of(bases.position, bases.labelled)
    lost = bases.labelled & ~call
    found = detected_regions(region, call)
    kind = np.where(found, 0, np.where(_any_of(region, on_tract), 1, 2))
    return ErrorCounts(false, _sums(region, lost, kind, weight), float(weight.sum()))


def _is_near(position: NDArray[np.int64], labelled: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Tell of every base whether a labelled one of its contig is within `MARGIN`."""
    places = position[labelled]
    before = np.searchsorted(places, position - MARGIN)
    near: NDArray[np.bool_] = np.searchsorted(places, position + MARGIN, side="right") > before
    return near


def _any_of(run: NDArray[np.int64], member: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Tell of every run, numbered from 1, whether any of its bases is a member."""
    return np.bincount(run[member], minlength=int(run.max(initial=0)) + 1)[1:] > 0


def _sums(
    run: NDArray[np.int64],
    wrong: NDArray[np.bool_],
    kind: NDArray[np.int64],
    weight: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Add up the weights of the runs with a wrong base, and of the wrong bases, by kind."""
    bases = np.bincount(kind[run[wrong] - 1], weight[wrong], len(FALSE))
    numbers, first = np.unique(run, return_index=True)
    begins = first[numbers > 0]
    runs = np.bincount(kind, weight[begins] * _any_of(run, wrong), len(FALSE))
    return np.stack((runs, bases), axis=1)

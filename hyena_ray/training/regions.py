"""Regions rather than bases: was each labelled one found, and how many calls touch none?"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hyena_ray.dataset.schema import Windows
from hyena_ray.training.losses import IGNORED

FOUND = 0.5
"""Share of a region's bases that must be called for it to count as found."""


class RegionScores(NamedTuple):
    """Recall of labelled regions and precision of called ones."""

    regions: int
    """Runs of labelled bases, joined across neighbouring windows of a contig."""
    found: int
    """Those with at least `FOUND` of their bases called."""
    recall: float
    """found / regions; 0 where there is none."""
    called: int
    """Runs of called bases, joined likewise."""
    false: int
    """Those that touch no labelled base. Negative windows are a sample: a genome has more."""
    precision: float
    """Share of called runs that touch a region; 0 where there is none."""


def score_regions(windows: Windows, scores: NDArray[np.floating], threshold: float) -> RegionScores:
    """Compare runs of labelled and of called bases.

    Args:
        windows: n windows with a label per base, in any order; where they overlap, the first of
            them counts.
        scores: (n, W) probability of class 1.
        threshold: probability from which a base is called.
    """
    place, labelled, called = _bases(windows, scores >= threshold)
    region, run = _runs(place, labelled), _runs(place, called)
    regions, runs = int(region.max(initial=0)), int(run.max(initial=0))
    size = np.bincount(region, minlength=regions + 1)[1:]
    covered = np.bincount(region[called], minlength=regions + 1)[1:]
    touching = len(np.unique(run[called & labelled]))
    found = int((covered >= FOUND * size).sum())
    return RegionScores(
        regions=regions,
        found=found,
        recall=found / regions if regions else 0.0,
        called=runs,
        false=runs - touching,
        precision=touching / runs if runs else 0.0,
    )


def _bases(
    windows: Windows, called: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.bool_], NDArray[np.bool_]]:
    """(N,) place, label and call of every base that counts, by contig and position.

    Places of neighbouring bases of a contig differ by 1, others by more.
    """
    _, contig = np.unique(windows.contig, return_inverse=True)
    width = windows.labels.shape[1]
    # A base more than the last window's end keeps contigs apart.
    spacing = int(windows.start.max(initial=0)) + width + 1
    place = (contig * spacing + windows.start)[:, None] + np.arange(width)
    counted = windows.labels != IGNORED
    unique, first = np.unique(place[counted], return_index=True)
    return unique, windows.labels[counted][first] == 1, called[counted][first]


def _runs(place: NDArray[np.int64], member: NDArray[np.bool_]) -> NDArray[np.int64]:
    """(N,) number of the run of neighbouring members that holds a base, from 1; 0 for others."""
    joined = member[1:] & member[:-1] & (np.diff(place) == 1)
    begins = member.copy()
    begins[1:] &= ~joined
    return np.where(member, np.cumsum(begins), 0)

"""Draw docs/images/track.png: attribution along some bases of the simulated genome.

Usage: python docs/images/make_track.py RUN_DIR track.png

RUN_DIR is the folder of `hyena-ray tune zdna`, run without data. The drawing shows the track of
Integrated Gradients around the planted tract that is nearest to the middle of two neighbouring
windows.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow.parquet as pq
import pyBigWig
from matplotlib.figure import Figure
from numpy.typing import NDArray

from hyena_ray.attribution.logo import draw_letters

SHOWN = 120
"""Bases of the drawing at most."""
INK, MUTED = "#16212b", "#55636f"


class Stretch(NamedTuple):
    """Neighbouring bases of one contig."""

    contig: str
    start: int
    """First base, 0-based."""
    letters: str
    labelled: NDArray[np.bool_]
    """Whether a base is inside a planted tract, shape (n,)."""


def neighbouring_windows(run: Path) -> list[Stretch]:
    """Return pairs of neighbouring windows that an attribution covers."""
    windows: dict[tuple[str, int], Stretch] = {}
    for path in sorted((run / "attribution" / "shards").glob("*.parquet")):
        table = pq.read_table(path, columns=["contig", "start", "bases", "labels"])
        bases, labels = (
            table[name].combine_chunks().to_numpy_ndarray() for name in ("bases", "labels")
        )
        rows = zip(table["contig"].to_pylist(), table["start"].to_pylist(), strict=True)
        for row, (contig, start) in enumerate(rows):
            letters = "".join("ACGTN"[base] for base in bases[row])
            windows[contig, start] = Stretch(contig, start, letters, labels[row] == 1)
    pairs = []
    for (contig, start), first in windows.items():
        second = windows.get((contig, start + len(first.letters)))
        if second is not None:
            labelled = np.concatenate([first.labelled, second.labelled])
            pairs.append(Stretch(contig, start, first.letters + second.letters, labelled))
    return pairs


def off_centre(stretch: Stretch) -> float:
    """Return how far the labelled bases are from the middle; infinite for none or several."""
    edges = np.flatnonzero(np.diff(np.pad(stretch.labelled.astype(np.int8), 1)))
    return abs(edges.sum() - len(stretch.letters)) / 2 if len(edges) == 2 else np.inf


def draw(run: Path, image: Path) -> None:
    """Draw the track of Integrated Gradients, its letters and the planted tract."""
    stretch = min(neighbouring_windows(run), key=off_centre)
    tract = np.flatnonzero(stretch.labelled)
    size = min(SHOWN, len(stretch.letters))
    first = int(tract[0] + tract[-1] + 1) // 2 - size // 2
    first = min(max(0, first), len(stretch.letters) - size)
    begin, end = stretch.start + first, stretch.start + first + size
    with pyBigWig.open(str(run / "attribution" / "tracks" / "ig.bw")) as track:
        scores = np.nan_to_num(track.values(stretch.contig, begin, end))
    figure = Figure(figsize=(11, 2.6), layout="constrained")
    axes = figure.add_subplot()
    shown = stretch.letters[first : first + size]
    draw_letters(axes, np.array(["ACGTN".index(letter) for letter in shown]), scores, axis=MUTED)
    low, high = min(0.0, scores.min()), max(1e-6, scores.max())
    height = high - low
    line = low - 0.12 * height
    axes.plot(
        [tract[0] - first - 0.5, tract[-1] - first + 0.5],
        [line, line],
        color=INK,
        linewidth=5,
        solid_capstyle="butt",
    )
    axes.text(
        (tract[0] + tract[-1]) / 2 - first,
        line - 0.05 * height,
        f"planted tract, {len(tract)} bases",
        ha="center",
        va="top",
        color=INK,
    )
    axes.set(xlim=(-0.5, size - 0.5), ylim=(line - 0.3 * height, high * 1.02))
    axes.set_xticks(range(0, size, 20), [f"{begin + at:,}" for at in range(0, size, 20)])
    axes.set_ylabel("score, logits")
    axes.set_title(
        f"Integrated Gradients along simulated DNA, {stretch.contig}:{begin:,}-{end:,}",
        loc="left",
        color=INK,
    )
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(image, dpi=110, facecolor="white", metadata={"Software": None})


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    draw(Path(sys.argv[1]), Path(sys.argv[2]))

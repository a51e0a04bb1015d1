"""A random small genome, kept as plain Python so that oracles can loop over it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hyena_ray.dataset.preparation import PrepareSettings
from hyena_ray.dataset.schema import Windows

SPLIT = "contig:train=a,b;val=c;test=d"


def assert_same_windows(actual: Windows, expected: Windows) -> None:
    """Check that two sets of windows are equal in every column."""
    for name in Windows._fields:
        np.testing.assert_array_equal(getattr(actual, name), getattr(expected, name), name)


class Inputs:
    """Files of a small genome, and what they hold."""

    def __init__(self, folder: Path, seed: int = 0) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng(seed)
        self.contigs: dict[str, str] = {}
        self.regions: dict[str, list[tuple[int, int]]] = {}
        self.blacklist: dict[str, list[tuple[int, int]]] = {}
        for name in "abcd":
            size = int(rng.integers(700, 1300))
            bases = rng.choice(list("ACGTacgt"), size)
            for start in rng.integers(size, size=4):
                bases[start : start + rng.integers(40)] = "N"
            self.contigs[name] = "".join(bases)
            self.regions[name] = self._intervals(rng, size, 6)
            self.blacklist[name] = self._intervals(rng, size, 2)
        self.genome = folder / "genome.fa"
        self.genome.write_text("".join(f">{n}\n{s}\n" for n, s in self.contigs.items()))
        self.bed = self._write("regions.bed", self.regions)
        self.banned = self._write("blacklist.bed", self.blacklist)

    @staticmethod
    def _intervals(rng: np.random.Generator, size: int, count: int) -> list[tuple[int, int]]:
        starts = np.unique(rng.integers(size - 30, size=count)).tolist()
        return [(start, start + int(rng.integers(1, 30))) for start in starts]

    def _write(self, name: str, intervals: dict[str, list[tuple[int, int]]]) -> Path:
        path = self.folder / name
        rows = [f"{c}\t{a}\t{b}\n" for c, pairs in intervals.items() for a, b in pairs]
        path.write_text("".join(rows))
        return path

    def settings(self, **changes: object) -> PrepareSettings:
        values = {
            "task": "zdna",
            "genome": str(self.genome),
            "regions": str(self.bed),
            "blacklist": str(self.banned),
            "lengths": [20, 33],
            "stretch": 50,
            "flank": 7,
            "negatives": "1.5",
            "held_out_negatives": "random:3",
            "split": SPLIT,
        }
        return PrepareSettings.parse(values | changes, "test")

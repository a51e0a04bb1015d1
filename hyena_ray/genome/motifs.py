"""What is planted in a simulated genome: tracts to find, and decoys that look like them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

A, C, G, T = range(4)

_Units = tuple[tuple[int, int], ...]
_TRACT_UNITS: tuple[_Units, ...] = (
    ((C, G),),
    ((C, A),),
    ((T, G),),
    ((C, G), (C, A), (T, G)),
)
_TRACT_SHARES = (0.4, 0.15, 0.15, 0.3)
_DECOY_UNITS: tuple[_Units, ...] = (((A, T),), ((G, A),), ((C, T),), ((A, A),))
_GA: _Units = ((G, A),)


class Motif(Protocol):
    """Draws base codes to plant."""

    @property
    def longest(self) -> int:
        """Bases of the longest tract or decoy."""

    def tract(self, rng: np.random.Generator) -> NDArray[np.uint8]:
        """(size,) what is to be found."""

    def decoy(self, rng: np.random.Generator) -> NDArray[np.uint8]:
        """(size,) what is not."""

    def beside(self, base: int) -> tuple[int, ...]:
        """Bases that do not prolong a tract with this first or last base."""


@dataclass(frozen=True, slots=True)
class Alternation:
    """Z-DNA: alternating pyrimidine and purine without TA steps. Decoys are AT repeats, runs of
    purines or pyrimidines, and alternations that are too short."""

    shortest: int = 12
    longest: int = 30

    def tract(self, rng: np.random.Generator) -> NDArray[np.uint8]:
        size = int(rng.integers(self.shortest, self.longest + 1))
        unit = rng.choice(len(_TRACT_UNITS), p=_TRACT_SHARES)
        return _repeat(rng, _TRACT_UNITS[unit], size)

    def decoy(self, rng: np.random.Generator) -> NDArray[np.uint8]:
        size = int(rng.integers(self.shortest // 2, self.longest + 1))
        # Alternations too short to count are decoys as well.
        units = _TRACT_UNITS[0] if size < self.shortest - 3 else None
        return _repeat(rng, units or _DECOY_UNITS[rng.integers(len(_DECOY_UNITS))], size)

    def beside(self, base: int) -> tuple[int, ...]:
        return (A, G) if base in (A, G) else (C, T)


@dataclass(frozen=True, slots=True)
class Quadruplex:
    """G-quadruplexes: four runs of 3 to 5 G with loops of 1 to 7 other bases between, on either
    strand. Decoys are runs of 2, a run too few, and GA repeats."""

    runs: int = 4
    shortest_run: int = 3
    longest_run: int = 5
    longest_loop: int = 7

    @property
    def longest(self) -> int:
        return self.runs * self.longest_run + (self.runs - 1) * self.longest_loop

    def tract(self, rng: np.random.Generator) -> NDArray[np.uint8]:
        sizes = rng.integers(self.shortest_run, self.longest_run + 1, size=self.runs)
        return either_strand(rng, self._joined(rng, sizes))

    def decoy(self, rng: np.random.Generator) -> NDArray[np.uint8]:
        kind = rng.integers(3)
        if kind == 0:
            codes = self._joined(rng, np.full(self.runs, self.shortest_run - 1))
        elif kind == 1:
            sizes = rng.integers(self.shortest_run, self.longest_run + 1, size=self.runs - 1)
            codes = self._joined(rng, sizes)
        else:
            codes = _repeat(rng, _GA, int(rng.integers(self.longest // 3, self.longest + 1)))
        return either_strand(rng, codes)

    def beside(self, base: int) -> tuple[int, ...]:
        return tuple(other for other in (A, C, G, T) if other != base)

    def _joined(self, rng: np.random.Generator, sizes: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Runs of G of these sizes. Loops hold no G, so that no run is longer than it says."""
        pieces = [np.full(sizes[0], G)]
        for size in sizes[1:]:
            loop = rng.choice((A, C, T), size=rng.integers(1, self.longest_loop + 1))
            pieces += [loop, np.full(size, G)]
        return np.concatenate(pieces).astype(np.uint8)


MOTIFS: dict[str, Motif] = {"zdna": Alternation(), "g4": Quadruplex()}
"""By name of the task that finds them."""


def _repeat(rng: np.random.Generator, units: _Units, size: int) -> NDArray[np.uint8]:
    pairs = np.array(units, np.uint8)[rng.integers(len(units), size=size // 2 + 1)]
    phase = int(rng.integers(2))
    return pairs.reshape(-1)[phase : phase + size]


def either_strand(rng: np.random.Generator, codes: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(size,) base codes, or those of the opposite strand."""
    return codes if rng.integers(2) else (T - codes[::-1]).astype(np.uint8)

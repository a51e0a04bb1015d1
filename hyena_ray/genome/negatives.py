"""Negatives by kind: which tiles without a label are drawn, and how many for each tile with one.

Most DNA looks like no region at all, so that negatives drawn at random ask where tracts are. A kind
says which tiles may be drawn instead; `random:2,tract:1` draws two random ones and one with a tract
for each tile with a label. The same table names the strata of held-out stretches.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BeforeValidator

from hyena_ray.errors import InputError, nearest_name, unknown_name

# Imported where negatives are drawn: shares are checked before NumPy is loaded.
if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

LABELLED, RANDOM, GC, TRACT, OTHER = "labelled", "random", "gc", "tract", "other"
KINDS = {LABELLED: 0, RANDOM: 1, GC: 2, TRACT: 3, OTHER: 4}
"""Number of each kind of tile in prepared data. Those of class 0 are `random`: any tile without a
label; `gc`: matched in GC content to the labelled tiles; `tract`: with a base that the untrained
predictor of the task calls; `other`: without one, or sequences as they are given."""
DRAWING_ORDER = (TRACT, GC, OTHER, RANDOM)
"""Kinds in the order in which they are drawn: the rarest first, so that others leave them over."""
TRAINING_KINDS = (RANDOM, GC, TRACT)
"""Kinds that training windows may have."""
STRATA = ((TRACT, OTHER), (RANDOM,))
"""Strata of held-out stretches: every stretch without a label is in one of them."""
HELD_OUT = {True: "tract:3,other:1", False: "random:3"}
"""Stretches without a label that are drawn for each one with a label, by whether the task has an
untrained predictor."""
CLEARANCE = 100
"""Bases on each side of a tract negative without a labelled base: what is near a region may be a
part of it that the experiment missed."""
GC_BINS = 20
"""Bins of GC content in which `gc` is matched."""
MOST_NEGATIVES = 1e6
"""Largest share: more than any genome holds."""
EXAMPLE = "write for example random:3"


def read_shares(text: str) -> dict[str, float]:
    """Read negatives per labelled tile by kind.

    Args:
        text: Kinds and numbers, such as `random:2,tract:1`, or one number, which is of `random`.

    Returns:
        Numbers by kind, in the order of the text.

    Raises:
        ValueError: The text does not have this form.

    Example:
        >>> read_shares("3"), read_shares("random:2,tract:0.5")
        ({'random': 3.0}, {'random': 2.0, 'tract': 0.5})
    """
    shares: dict[str, float] = {}
    for part in text.split(","):
        kind, colon, number = (word.strip() for word in part.rpartition(":"))
        kind = kind if colon else RANDOM
        try:
            share = float(number)
        except ValueError:
            share = math.nan
        if not math.isfinite(share):
            raise ValueError(f"{number!r} is no valid number; {EXAMPLE}")
        if not 0 <= share <= MOST_NEGATIVES:
            raise ValueError(
                f"must be greater than or equal to 0 and at most {MOST_NEGATIVES:,.0f}; {EXAMPLE}"
            )
        if kind == LABELLED or kind not in KINDS:
            known = [name for name in KINDS if name != LABELLED]
            nearest = nearest_name(kind, known)
            guess = f"did you mean {nearest}?" if nearest else f"give one of {', '.join(known)}"
            raise ValueError(f"unknown kind {kind!r}, {guess}")
        if kind in shares:
            raise ValueError(f"{kind} is given twice; {EXAMPLE}")
        shares[kind] = share
    return shares


def shares_text(shares: Mapping[str, float]) -> str:
    """Write negatives by kind as `read_shares` reads them.

    Args:
        shares: Negatives per labelled tile by kind.

    Example:
        >>> shares_text({"random": 2.0, "tract": 0.5})
        'random:2,tract:0.5'
    """
    return ",".join(f"{kind}:{share:g}" for kind, share in shares.items())


def _normal(value: Any) -> Any:
    if isinstance(value, int | float) and not isinstance(value, bool):
        value = str(value)
    return shares_text(read_shares(value)) if isinstance(value, str) else value


Shares = Annotated[str, BeforeValidator(_normal)]
"""A field with negatives by kind: text as `read_shares` reads it, always written in one way."""


def check_kinds(shares: Mapping[str, float], place: str, *, has_predictor: bool) -> None:
    """Refuse kinds that training windows cannot have.

    Args:
        shares: Negatives per labelled tile by kind.
        place: Option that gave them.
        has_predictor: Whether the task has an untrained predictor.

    Raises:
        InputError: Names the first of them.
    """
    for kind in shares:
        if kind not in TRAINING_KINDS:
            raise unknown_name(place, kind, "kind of negatives", TRAINING_KINDS)
    _check_predictor(shares, place, has_predictor=has_predictor)


def check_strata(shares: Mapping[str, float], place: str, *, has_predictor: bool) -> None:
    """Refuse strata that do not hold every stretch without a label exactly once.

    Args:
        shares: Stretches per labelled stretch by stratum.
        place: Option that gave them.
        has_predictor: Whether the task has an untrained predictor.

    Raises:
        InputError: They do not, or one of them would have no stretch.
    """
    whole = any(set(shares) == set(strata) for strata in STRATA)
    if not whole or not all(shares.values()):
        raise InputError(
            place,
            shares_text(shares),
            "every stretch without a label must be in one stratum, of which some are drawn",
            "write random:3, or both tract and other, as in tract:3,other:1",
        )
    _check_predictor(shares, place, has_predictor=has_predictor)


def _check_predictor(shares: Mapping[str, float], place: str, *, has_predictor: bool) -> None:
    if TRACT in shares and not has_predictor:
        raise InputError(
            place,
            shares_text(shares),
            "the task has no untrained predictor that calls tracts",
            "use random or gc",
        )


def gc_bins(
    codes: NDArray[np.uint8], start: NDArray[np.int64], length: int, piece: int = 1 << 20
) -> NDArray[np.int64]:
    """Return the bin of the GC content of tiles.

    Args:
        codes: Base codes, shape (n,); anything above 3 is unknown and not counted.
        start: First bases of the tiles, ascending, shape (m,).
        length: Bases of a tile.
        piece: Bases that are counted at once.

    Returns:
        Bins, shape (m,), from 0 to `GC_BINS` - 1; 0 where no base is known.

    Example:
        >>> import numpy as np
        >>> gc_bins(np.array([0, 1, 2, 2, 4, 4], np.uint8), np.array([0, 1, 2]), 3).tolist()
        [13, 19, 19]
    """
    import numpy as np

    bins = np.zeros(len(start), np.int64)
    for first in range(0, len(codes), piece):
        rows = slice(*np.searchsorted(start, [first, first + piece]))
        at = start[rows] - first
        if not len(at):
            continue
        near = codes[first : first + piece + length]
        known, strong = (
            np.concatenate(([0], np.cumsum(chosen, dtype=np.int64)))
            for chosen in (near < 4, (near == 1) | (near == 2))
        )
        of_known, of_strong = (sums[at + length] - sums[at] for sums in (known, strong))
        bins[rows] = np.minimum(GC_BINS * of_strong // np.maximum(of_known, 1), GC_BINS - 1)
    return bins


class NegativeSampler:
    """Sample negative tiles of one kind for one split, at a fixed ratio to the positives.

    Each contig gives `ratio` negatives for each of its own positives, so that the genome is read
    once and negatives are from where positives are. What a contig cannot give, and the fraction
    that rounding leaves over, is drawn from the next one: the ratio holds exactly over the split.
    Where tiles are in bins, it holds in every bin as far as whole numbers allow.

    Args:
        ratio: Negatives per positive, at least 0; None takes all negatives.
        bins: Bins of the tiles.
    """

    def __init__(self, ratio: float | None, bins: int = 1) -> None:
        import numpy as np

        self._ratio = ratio
        self.bins = bins
        """Bins of the tiles."""
        self._positives = np.zeros(bins, np.int64)
        self._drawn = np.zeros(bins, np.int64)

    @property
    def asked(self) -> bool:
        """Whether any negative is asked for."""
        return self._ratio != 0

    @property
    def positives(self) -> int:
        """Positive tiles so far."""
        return int(self._positives.sum())

    @property
    def drawn(self) -> int:
        """Negative tiles drawn so far."""
        return int(self._drawn.sum())

    @property
    def shortfall(self) -> int:
        """Negatives that the positives so far call for and that have not been drawn."""
        if self._ratio is None:
            return 0
        return round(self._ratio * self.positives) - self.drawn

    def draw(
        self,
        positives: NDArray[np.int64],
        candidates: NDArray[np.int64],
        bins: NDArray[np.int64],
        rng: Callable[[], np.random.Generator],
    ) -> NDArray[np.int64]:
        """Draw the negatives of one contig.

        Args:
            positives: Positive tiles of the contig in this split, by bin.
            candidates: (n,) indices of its negative tiles in this split.
            bins: (n,) bins of the candidates.
            rng: Returns the source of the choice; it is not called where there is none to make.

        Returns:
            (m,) candidates, ascending and distinct.
        """
        import numpy as np

        self._positives += positives
        if self._ratio is not None and not self.shortfall:
            return candidates[:0]
        chosen = [candidates[:0]]
        for number, wanted in enumerate(self._wanted(np.bincount(bins, minlength=len(positives)))):
            if wanted:
                of_bin = candidates if len(positives) == 1 else candidates[bins == number]
                chosen.append(rng().choice(of_bin, wanted, replace=False, shuffle=False))
                self._drawn[number] += wanted
        return np.sort(np.concatenate(chosen))

    def _wanted(self, available: NDArray[np.int64]) -> list[int]:
        """Return the negatives to draw of each bin: whole numbers with the sum of `shortfall`."""
        import numpy as np

        if self._ratio is None:
            return [int(number) for number in available]
        missing = self._ratio * self._positives - self._drawn
        wanted = np.maximum(np.floor(missing), 0).astype(np.int64)
        # Rounding: the bins that lack most of one more tile get it, or those that lack least of
        # their last one give it back.
        odd = self.shortfall - int(wanted.sum())
        order = np.argsort(wanted - missing, kind="stable")
        if odd > 0:
            wanted[order[:odd]] += 1
        elif odd < 0:
            wanted[[number for number in order[::-1] if wanted[number]][:-odd]] -= 1
        return [int(number) for number in np.minimum(wanted, available)]

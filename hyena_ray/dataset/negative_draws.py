"""Which of the stored windows an epoch takes: all with a label, and a draw of the others by kind.

More negatives can be stored than one epoch needs. Each epoch then draws anew, so that training sees
all of them, and each epoch in the same shares. The draw of an epoch depends on the kinds of the
windows, the seed and the epoch alone: every feed and every process draws the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hyena_ray.errors import InputError
from hyena_ray.genome.negatives import KINDS, LABELLED, read_shares, shares_text

# Imported where windows are drawn: settings are checked before NumPy is loaded.
if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from hyena_ray.dataset.reader import PreparedData


@dataclass(frozen=True, slots=True)
class NegativeDraw:
    """The windows of every epoch.

    Example:
        >>> import numpy as np
        >>> draw = NegativeDraw.of(np.array([0, 1, 1, 1, 3, 3], np.uint8), "random:2,tract:1")
        >>> draw.count, [len(draw.rows(epoch=epoch, seed=0)) for epoch in (0, 1)]
        (4, [4, 4])
    """

    kinds: NDArray[np.uint8]
    """(N,) kinds of the stored windows, numbers of `KINDS`, in order of their ids."""
    numbers: dict[str, int] | None
    """Windows of each kind that an epoch takes; None takes all windows."""

    @classmethod
    def of(cls, kinds: NDArray[np.uint8], shares: str | None) -> NegativeDraw:
        """Return the draws from some windows.

        Args:
            kinds: (N,) kinds of the windows in order of their ids.
            shares: Negatives per labelled window by kind, as `read_shares` reads them; None takes
                all windows. Where a kind has fewer, which only a limit can bring about (see
                `check_shares`), all of them are taken.
        """
        if shares is None:
            return cls(kinds, None)
        import numpy as np

        stored = {kind: int(np.count_nonzero(kinds == number)) for kind, number in KINDS.items()}
        wanted = _wanted(stored[LABELLED], read_shares(shares))
        return cls(kinds, {kind: min(number, stored[kind]) for kind, number in wanted.items()})

    @property
    def count(self) -> int:
        """Windows of an epoch."""
        return len(self.kinds) if self.numbers is None else sum(self.numbers.values())

    def rows(self, *, epoch: int, seed: int) -> NDArray[np.int64]:
        """Return the windows of an epoch.

        Args:
            epoch: Number of the epoch, from 0.
            seed: Seed of the run.

        Returns:
            (count,) numbers of windows in order of their ids, ascending; each occurs once.
        """
        import numpy as np

        if self.numbers is None:
            return np.arange(len(self.kinds))
        parts = []
        for kind, number in self.numbers.items():
            of_kind = np.flatnonzero(self.kinds == KINDS[kind])
            if number < len(of_kind):
                rng = np.random.default_rng([seed, epoch, KINDS[kind]])
                of_kind = rng.choice(of_kind, number, replace=False, shuffle=False)
            parts.append(of_kind)
        return np.sort(np.concatenate(parts))


def _wanted(labelled: int, shares: Mapping[str, float]) -> dict[str, int]:
    """Return the windows of each kind that an epoch takes, those with a label first."""
    return {LABELLED: labelled, **{kind: round(n * labelled) for kind, n in shares.items()}}


def epoch_windows(
    data: PreparedData, length: int, split: str, limit: int | None, shares: str | None
) -> int:
    """Return how many windows an epoch of training has.

    Args:
        data: Prepared data, or a fold's view of them.
        length: Window length in bases.
        split: Name of the split.
        limit: Number of windows that are taken first, evenly over all; None takes all.
        shares: Negatives per labelled window by kind; None takes all.
    """
    stored = data.count(length, split)
    count = stored if limit is None else min(stored, limit)
    if shares is None:
        return count
    from hyena_ray.dataset.reader import sample_evenly

    return NegativeDraw.of(data.kinds(length, split)[sample_evenly(stored, count)], shares).count


def check_shares(stored: Mapping[str, int], shares: str, place: str, *, splits: int = 1) -> None:
    """Refuse negatives that the data do not hold.

    Args:
        stored: Stored windows by kind.
        shares: Negatives per labelled window by kind.
        place: Setting that asks for them, for the message.
        splits: Splits that the data were prepared in and that train together, each of which has a
            whole number of negatives.

    Raises:
        InputError: The data have no negative of a kind, or fewer than one epoch needs.
    """
    labelled = stored.get(LABELLED, 0)
    for kind, number in _wanted(labelled, read_shares(shares)).items():
        if number > stored.get(kind, 0) + splits / 2:
            each = {
                name: round(n / max(labelled, 1), 2)
                for name, n in stored.items()
                if name != LABELLED
            }
            raise InputError(
                place,
                shares,
                f"asks for {number:,} {kind} negatives, and the data hold "
                f"{stored.get(kind, 0):,}: {shares_text(each) or 'none'} for each labelled window",
                "lower it, or prepare with --negatives of that kind",
            )

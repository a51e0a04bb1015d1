"""Decide which stretches of a genome train, validate and test.

By contig, no test window has a neighbour in training. Stratified and K-fold splits, as the original
work (Bokhyan 2025) used, put neighbours on both sides and flatter every figure.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from hyena_ray.errors import InputError, nearest_name, unknown_name
from hyena_ray.genome.contig_names import match_contig_names
from hyena_ray.genome.source import Source
from hyena_ray.storage import AnyPath, location

# Imported where tiles are assigned: names of splits are checked before NumPy is loaded.
if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

TRAIN, VALIDATION = "train", "val"
SPLITS = (TRAIN, VALIDATION, "test")
"""Names of the splits, but for those of a K-fold split."""
DEFAULT_FRACTIONS = (0.6, 0.2, 0.2)
"""Fractions of the labelled tiles that `split_by_contig` aims at, in the order of `SPLITS`."""
MIN_FOLDS = 3
"""Smallest number of folds: one tests, the next one validates, the rest train."""
SPLIT_EXAMPLES = (
    "write contig:train=chr13,chr14;val=chr7;test=chr20, file:TABLE, stratified:0.6/0.2/0.2 or "
    "kfold:5"
)


class Split(Protocol):
    """A rule that assigns every stretch of a genome to one split, or to none."""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the splits, in the order of the indices that `assign` gives."""

    @property
    def training(self) -> tuple[str, ...]:
        """Names of the splits that models train on."""

    @property
    def held_out(self) -> tuple[str, ...]:
        """Names of the splits that models are scored on. A fold is among both: it trains the models
        that are not scored on it."""

    @property
    def text(self) -> str:
        """Rule as `parse_split` reads it."""

    def assign(
        self, contig: str, positive: NDArray[np.bool_], seed: Sequence[int]
    ) -> NDArray[np.int8]:
        """Assign the stretches of one contig.

        Args:
            contig: Name of the contig.
            positive: (n,) whether each stretch has a labelled base.
            seed: Seed of a random split.

        Returns:
            (n,) indices into `names`, -1 for none.
        """

    def check_contigs(self, names: Collection[str]) -> None:
        """Check that the genome has the contigs that the rule names.

        Args:
            names: Contigs of the genome.

        Raises:
            InputError: It lacks one; names the one that was probably meant.
        """


@dataclass(frozen=True, slots=True)
class ContigSplit:
    """A split by contig: whole contigs to each split, contigs that are not named to none."""

    contigs: Mapping[str, tuple[str, ...]]
    """Names of the contigs of each split."""
    table: AnyPath | None = None
    """File that the rule was read from."""
    sha256: str = ""
    """Hex SHA-256 of that file."""
    _indices: Mapping[str, int] = field(init=False, repr=False, compare=False)
    """Index of the split of each contig."""

    def __post_init__(self) -> None:
        indices = {
            contig: index
            for index, contigs in enumerate(self.contigs.values())
            for contig in contigs
        }
        object.__setattr__(self, "_indices", indices)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the splits."""
        return tuple(self.contigs)

    @property
    def training(self) -> tuple[str, ...]:
        """`train`, where a contig is given to it."""
        return training_splits(self.names)

    @property
    def held_out(self) -> tuple[str, ...]:
        """Names of the other splits."""
        return held_out_splits(self.names)

    @property
    def text(self) -> str:
        """Rule as `parse_split` reads it, but for the folder of a table."""
        if self.table is not None:
            return f"file:{self.table.name}"
        parts = (f"{name}={','.join(contigs)}" for name, contigs in self.contigs.items())
        return f"contig:{';'.join(parts)}"

    def assign(
        self, contig: str, positive: NDArray[np.bool_], seed: Sequence[int]
    ) -> NDArray[np.int8]:
        """Assign all stretches of a contig to its split.

        Args:
            contig: Name of the contig.
            positive: (n,) whether each stretch has a labelled base.
            seed: Ignored; nothing is drawn.

        Returns:
            (n,) index into `names`, -1 where no split names the contig.
        """
        import numpy as np

        return np.full(len(positive), self._indices.get(contig, -1), np.int8)

    def check_contigs(self, names: Collection[str]) -> None:
        """Check that the genome has the contigs that the rule names.

        Args:
            names: Contigs of the genome.

        Raises:
            InputError: It lacks one; names the one that was probably meant.
        """
        known = frozenset(names)
        for contig in self._indices:
            if contig in known:
                continue
            if meant := match_contig_names([contig], names):
                raise InputError(
                    "--split",
                    contig,
                    "the genome has no such contig",
                    f"the genome calls it {meant[contig]}",
                )
            raise unknown_name("--split", contig, "contig of the genome", names)


@dataclass(frozen=True, slots=True)
class StratifiedSplit:
    """A random split of each contig, stretches with and without a label apart."""

    text: str
    """Rule as `parse_split` reads it."""
    names: tuple[str, ...]
    """Names of the splits."""
    fractions: tuple[float, ...]
    """Fraction of the stretches of each split; they add up to 1."""

    @property
    def training(self) -> tuple[str, ...]:
        """`train`, or every fold."""
        return training_splits(self.names)

    @property
    def held_out(self) -> tuple[str, ...]:
        """Names of the splits that are not `train`, such as every fold."""
        return held_out_splits(self.names)

    def assign(
        self, contig: str, positive: NDArray[np.bool_], seed: Sequence[int]
    ) -> NDArray[np.int8]:
        """Draw a split for every stretch of one contig.

        Args:
            contig: Ignored; every contig is split alike.
            positive: (n,) whether each stretch has a labelled base.
            seed: Seed of the draw.

        Returns:
            (n,) indices into `names`.
        """
        import numpy as np

        rng = np.random.default_rng(seed)
        split = np.empty(len(positive), np.int8)
        for label in (True, False):
            stretches = rng.permutation(np.flatnonzero(positive == label))
            # One random offset for all edges: fractions hold to one stretch on a contig, and on
            # average over many small contigs, where plain rounding would starve a split.
            edges = np.floor(np.cumsum(self.fractions) * len(stretches) + rng.random()).astype(int)
            split[stretches] = np.searchsorted(edges[:-1], np.arange(len(stretches)), "right")
        return split

    def check_contigs(self, names: Collection[str]) -> None:
        """Accept every genome, since the rule names no contig.

        Args:
            names: Contigs of the genome.
        """


def training_splits(names: Collection[str]) -> tuple[str, ...]:
    """Return the splits that models train on: `train`, or every fold.

    Args:
        names: Names of all splits.

    Example:
        >>> training_splits(("train", "val", "test")), training_splits(("fold0", "fold1"))
        (('train',), ('fold0', 'fold1'))
    """
    return tuple(name for name in names if name == TRAIN or name not in SPLITS)


def held_out_splits(names: Collection[str]) -> tuple[str, ...]:
    """Return the splits that models are scored on: validation and test, or every fold.

    Args:
        names: Names of all splits.

    Example:
        >>> held_out_splits(("train", "val", "test")), held_out_splits(("fold0", "fold1"))
        (('val', 'test'), ('fold0', 'fold1'))
    """
    return tuple(name for name in names if name != TRAIN)


def parse_split(text: str) -> Split:
    """Parse a split as the command line gives it.

    Args:
        text: contig:train=A,B;val=C;test=D, stratified:0.6/0.2/0.2, kfold:5, or file:TABLE, whose
            rows are a contig, a tab and its split.

    Returns:
        The rule.

    Raises:
        InputError: The text has none of these forms, its values do not fit together, or the table
            cannot be read.

    Example:
        >>> import numpy as np
        >>> split = parse_split("contig:train=chr13,chr14;val=chr7;test=chr20")
        >>> split.names
        ('train', 'val', 'test')
        >>> split.assign("chr7", np.array([True, False]), seed=[0]).tolist()
        [1, 1]
        >>> parse_split("kfold:3").names
        ('fold0', 'fold1', 'fold2')
    """
    kind, _, rest = text.partition(":")
    if kind == "contig":
        return _parse_contigs(rest)
    if kind == "file":
        return _read_contigs(location(rest))
    if kind == "stratified":
        return _parse_fractions(text, rest)
    if kind == "kfold":
        if not re.fullmatch(r"[1-9][0-9]?", rest) or int(rest) < MIN_FOLDS:
            problem = f"folds are a number from {MIN_FOLDS} to 99: one tests, one validates"
            raise InputError("--split", text, problem, SPLIT_EXAMPLES)
        folds = int(rest)
        return StratifiedSplit(text, tuple(map(fold_name, range(folds))), (1 / folds,) * folds)
    nearest = nearest_name(kind, ("contig", "file", "stratified", "kfold"))
    guess = f", did you mean {nearest}?" if nearest else ""
    raise InputError("--split", text, f"unknown kind of split{guess}", SPLIT_EXAMPLES)


def fold_name(number: int) -> str:
    """Return the name of a fold's split.

    Args:
        number: Number of the fold, from 0.

    Returns:
        Name in the prepared folder.
    """
    return f"fold{number}"


def _parse_contigs(rest: str) -> ContigSplit:
    splits: dict[str, tuple[str, ...]] = {}
    for part in rest.split(";"):
        name, _, names = part.partition("=")
        contigs = tuple(names.split(","))
        if name not in SPLITS:
            raise unknown_name("--split", name, "split", SPLITS)
        if name in splits:
            raise InputError("--split", part, f"{name} is given twice", SPLIT_EXAMPLES)
        if not all(contigs):
            raise InputError("--split", part, "a contig's name is empty", SPLIT_EXAMPLES)
        splits[name] = contigs
    times = Counter(contig for contigs in splits.values() for contig in contigs)
    for contig, number in times.items():
        if number > 1:
            raise _named_twice("--split", contig)
    return ContigSplit(splits)


def _named_twice(place: str, contig: str) -> InputError:
    return InputError(place, contig, "the contig is named twice", "give it to one split only")


def _read_contigs(path: AnyPath) -> ContigSplit:
    """Read a table of contigs and their splits, in which a name may have any sign but a tab."""
    example = "write lines of a contig, a tab and train, val or test"
    source = Source(path, "give --split file:TABLE a text file")
    split_of: dict[str, str] = {}
    for number, line in enumerate(source.read_text("a text file").split("\n"), 1):
        if not line.strip():
            continue
        place = f"{path}:{number}"
        contig, tab, name = line.partition("\t")
        if not (contig and tab):
            raise InputError(place, line, "not a contig and its split", example)
        if name not in SPLITS:
            raise unknown_name(place, name, "split", SPLITS)
        if contig in split_of:
            raise _named_twice(place, contig)
        split_of[contig] = name
    if not split_of:
        raise InputError(path, None, "the file has no contig", example)
    contigs: dict[str, list[str]] = {name: [] for name in SPLITS if name in split_of.values()}
    for contig, name in split_of.items():
        contigs[name].append(contig)
    named = {name: tuple(given) for name, given in contigs.items()}
    return ContigSplit(named, path, source.sha256)


def _parse_fractions(text: str, rest: str) -> StratifiedSplit:
    numbers = rest.split("/")
    if len(numbers) != len(SPLITS) or not all(re.fullmatch(r"0?\.[0-9]+", n) for n in numbers):
        problem = "fractions are three numbers between 0 and 1"
        raise InputError("--split", text, problem, SPLIT_EXAMPLES)
    fractions = tuple(float(number) for number in numbers)
    if min(fractions) <= 0 or abs(sum(fractions) - 1) > 1e-9:
        problem = "fractions are above 0 and add up to 1"
        raise InputError("--split", text, problem, SPLIT_EXAMPLES)
    return StratifiedSplit(text, SPLITS, fractions)


def split_by_contig(labelled: Mapping[str, int]) -> ContigSplit:
    """Choose a split by contig where none is given, near fractions of 0.6, 0.2 and 0.2.

    Contigs are taken from the one with most labelled tiles down, each for the split that lacks
    most, so that the result depends on nothing but the counts.

    Args:
        labelled: Labelled tiles of each contig.

    Returns:
        A split in which every contig is used and no split is empty.

    Raises:
        InputError: Fewer than three contigs have labelled tiles.

    Example:
        >>> split_by_contig({"chr1": 60, "chr2": 25, "chr3": 15}).text
        'contig:train=chr1;val=chr2;test=chr3'
    """
    if len(labelled) < len(SPLITS):
        raise InputError(
            "--split",
            None,
            f"a split by contig needs labelled regions on three contigs, not {len(labelled)}",
            "give --split stratified:0.6/0.2/0.2",
        )
    total = sum(labelled.values())
    lacks = {
        name: fraction * total for name, fraction in zip(SPLITS, DEFAULT_FRACTIONS, strict=True)
    }
    splits: dict[str, list[str]] = {name: [] for name in SPLITS}
    ranked = sorted(labelled, key=lambda contig: (-labelled[contig], contig))
    for rank, contig in enumerate(ranked):
        empty = [name for name in SPLITS if not splits[name]]
        candidates = empty if len(ranked) - rank == len(empty) else SPLITS
        name = max(candidates, key=lambda name: lacks[name])
        splits[name].append(contig)
        lacks[name] -= labelled[contig]
    return ContigSplit({name: tuple(contigs) for name, contigs in splits.items()})

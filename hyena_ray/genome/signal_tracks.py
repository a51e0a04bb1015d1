"""Read the signals of experiments from bigWig files, as levels of the bases of a genome.

pyBigWig decodes. It trusts the file, so the structure is checked first: some damage would end the
process. Format: https://doi.org/10.1093/bioinformatics/btq351, its supplement.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, NoReturn, Self

import numpy as np
import pyBigWig
from numpy.typing import NDArray

from hyena_ray.errors import InputError
from hyena_ray.files import sha256_file
from hyena_ray.genome.contig_names import match_contig_names
from hyena_ray.genome.signal_scale import SignalScale, level_columns
from hyena_ray.genome.source import COPY_AGAIN, report_unreadable
from hyena_ray.genome.track_files import PLACE, REMEDY, check_bigwig
from hyena_ray.progress import shortened_list
from hyena_ray.storage import AnyPath, local_copy

TAILS = 0.001
"""Fraction of the values beyond either bound of a scale."""

_READ = 1 << 20
"""Bases that are read at once."""
_BIGWIG = struct.Struct("<IHHQQQHHQQIQ")
_ZOOM, _CONTIGS = struct.Struct("<IIQQ"), struct.Struct("<4I2Q")
_NODE, _CONTIG, _CHILD = struct.Struct("<BBH"), struct.Struct("<II"), struct.Struct("<Q")
_WORD = struct.Struct("<I")
_SUMMARY = struct.Struct("<Q4d")
_SIGNATURE, _TREE, _INDEX = 0x888FFC26, 0x78CA8C91, 0x2468ACE0
_BINS = 1 << 16


class SignalTrack(NamedTuple):
    """A file of one track, and the scale of its levels."""

    path: AnyPath
    """The bigWig file."""
    sha256: str
    """Hex SHA-256 of the file as stored."""
    scale: SignalScale
    """Scale by which its values become levels."""


def tracks_text(tracks: Sequence[SignalTrack]) -> str:
    """Return names and files of tracks in a line; empty without any.

    Args:
        tracks: The tracks.
    """
    return ", ".join(f"{track.scale.name} from {track.path}" for track in tracks)


class SignalFile:
    """An open bigWig file.

    Args:
        name: Name of the track.
        path: The file.

    Raises:
        InputError: The file is missing or damaged, no bigWig, or holds NaN or infinite values.
    """

    def __init__(self, name: str, path: AnyPath) -> None:
        self.name, self.path = name, path
        with ExitStack() as resources:
            with report_unreadable(path, REMEDY):
                check_bigwig(path)
                self._copy = resources.enter_context(local_copy(path))
                _check_structure(path, self._copy)
            try:
                self._file: Any = resources.enter_context(pyBigWig.open(str(self._copy)))
                self.lengths: Mapping[str, int] = self._file.chroms()
                """Bases of each contig."""
            except (RuntimeError, UnicodeDecodeError) as error:
                _refuse(path, str(error).strip())
            self._resources = resources.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._resources.close()

    @cached_property
    def sha256(self) -> str:
        """Hex SHA-256 of the file as stored."""
        with report_unreadable(self.path, REMEDY):
            return sha256_file(self._copy)

    def check_contig(self, contig: str, length: int | None = None) -> None:
        """Refuse a file that lacks a contig, or has one of that name of another assembly.

        Args:
            contig: Name of a contig that is needed.
            length: Bases of the contig; None where they are not known yet.

        Raises:
            InputError: The file has no such contig, or one of another length.
        """
        given = f"{self.name}={self.path}"
        if contig not in self.lengths:
            if meant := match_contig_names([contig], self.lengths):
                problem = f"has no contig {contig}: it calls it {meant[contig]}"
                raise InputError(PLACE, given, problem, "name contigs as the genome does")
            problem = f"has no contig {contig}, but {shortened_list(list(self.lengths))}"
            raise InputError(PLACE, given, problem, "give a track of the genome's assembly")
        if length is not None and self.lengths[contig] != length:
            raise InputError(
                PLACE,
                given,
                f"{contig} has {self.lengths[contig]:,} bases in it, and {length:,} in the genome",
                "give a track of the genome's assembly",
            )

    def values(self, contig: str, start: int, end: int) -> NDArray[np.float32]:
        """Return the values of some bases.

        Args:
            contig: Name of a contig of the file.
            start: First base, 0-based.
            end: One past the last base, at most the length of the contig.

        Returns:
            Shape (end - start,), NaN where there is no value.

        Raises:
            InputError: The file is damaged, or a value is infinite.
        """
        try:
            values: NDArray[np.float32] = self._file.values(contig, start, end, numpy=True)
        except RuntimeError as error:
            _refuse(self.path, str(error).strip())
        if np.isinf(values).any():
            _refuse_values(self.path)
        return values

    def measure(self, contigs: Iterable[str], number: int) -> SignalScale:
        """Measure the scale of the track.

        The spread is the median of the absolute values that are not 0, and the bounds are those
        that `TAILS` of the values are beyond, or the least and the largest where these are equal.
        Values are counted in bins that are less than a hundredth of them wide, so that any genome
        takes the same little memory.

        Args:
            contigs: Names of the contigs that are measured.
            number: Number of the track among those of the data.

        Raises:
            InputError: A contig is missing, or has no value, or all values are equal.
        """
        counts = np.zeros(_BINS, np.int64)
        for contig in contigs:
            self.check_contig(contig)
            for start in range(0, self.lengths[contig], _READ):
                end = min(start + _READ, self.lengths[contig])
                values = self.values(contig, start, end)
                counts += np.bincount(_bins_of(values[~np.isnan(values)]), minlength=_BINS)
        present = np.flatnonzero(counts)
        numbers, weight = _values_of(present), counts[present]
        given = f"{self.name}={self.path}"
        if len(numbers) < 2:
            problem = "has no value" if not len(numbers) else f"is about {numbers[0]:g} everywhere"
            raise InputError(
                PLACE,
                given,
                f"{problem} on the training contigs, so that nothing can be learnt from it",
                "give a track that varies, with a value for every base that was measured",
            )
        some = numbers != 0
        spread = _quantile(np.abs(numbers[some]), weight[some], 0.5)
        compressed = np.arcsinh(numbers / spread)
        low, high = (_quantile(compressed, weight, part) for part in (TAILS, 1 - TAILS))
        if low == high:
            low, high = float(compressed[0]), float(compressed[-1])
        compressed = compressed.clip(low, high)
        mean = float(np.average(compressed, weights=weight))
        sd = float(np.average((compressed - mean) ** 2, weights=weight) ** 0.5)
        return SignalScale(
            name=self.name, number=number, spread=spread, low=low, high=high, mean=mean, sd=sd
        )


# Bins: the upper half of the bits of a float32, rounded, in the order of the numbers.

_MIDDLE, _LARGEST = 1 << 15, 0x7F7F


def _bins_of(values: NDArray[np.float32]) -> NDArray[np.int64]:
    bits = np.abs(values).view(np.uint32).astype(np.int64)
    size = np.minimum((bits + (1 << 15)) >> 16, _LARGEST)
    bins: NDArray[np.int64] = np.where(values < 0, _MIDDLE - size, _MIDDLE + size)
    return bins


def _values_of(bins: NDArray[np.int64]) -> NDArray[np.float64]:
    size = np.abs(bins - _MIDDLE).astype(np.uint32) << 16
    return np.sign(bins - _MIDDLE) * size.view(np.float32).astype(np.float64)


def _quantile(values: NDArray[np.float64], weight: NDArray[np.int64], fraction: float) -> float:
    """Return the value below or at which a fraction of the weight is."""
    order = np.argsort(values, kind="stable")
    reached = np.cumsum(weight[order])
    return float(values[order][np.searchsorted(reached, fraction * reached[-1])])


class SignalReader:
    """Open files of tracks, read as levels.

    Args:
        tracks: The tracks.

    Raises:
        InputError: A file cannot be read, or is no longer the one that was measured.
    """

    def __init__(self, tracks: Sequence[SignalTrack]) -> None:
        self._tracks = tuple(tracks)
        self._files: list[SignalFile] = []
        self._resources = ExitStack()

    def __enter__(self) -> Self:
        for track in self._tracks:
            file = self._resources.enter_context(SignalFile(track.scale.name, track.path))
            if file.sha256 != track.sha256:
                raise InputError(track.path, None, "changed while it was read", "start anew")
            self._files.append(file)
        return self

    def __exit__(self, *_: object) -> None:
        self._resources.close()

    @property
    def columns(self) -> int:
        """Levels of a base: one for each track up to that of the highest number."""
        return level_columns(track.scale for track in self._tracks)

    def levels(self, contig: str, length: int, start: int, end: int) -> NDArray[np.uint8]:
        """Return the levels of some bases.

        Args:
            contig: Name of the contig.
            length: Bases of the contig in the genome.
            start: First base, 0-based.
            end: One past the last base, at most `length`.

        Returns:
            Shape (end - start, columns), uint8; `NO_VALUE` in a column without a track.

        Raises:
            InputError: A file lacks the contig, or has one of another length, or is damaged.
        """
        levels = np.zeros((end - start, self.columns), np.uint8)
        for track, file in zip(self._tracks, self._files, strict=True):
            file.check_contig(contig, length)
            for first in range(start, end, _READ):
                last = min(first + _READ, end)
                encoded = track.scale.encode(file.values(contig, first, last))
                levels[first - start : last - start, track.scale.number] = encoded
        return levels


class _Numbers:
    """Reads numbers from a bigWig file.

    Args:
        path: The file, for the message.
        stream: Its content.
        size: Its bytes.
    """

    def __init__(self, path: AnyPath, stream: BinaryIO, size: int) -> None:
        self._path, self._stream, self.size = path, stream, size

    def at(self, place: int, shape: struct.Struct) -> tuple[Any, ...]:
        """Return the numbers at a place, or refuse the file if it is too short."""
        if place + shape.size > self.size:
            _refuse(self._path, "it is cut short")
        self._stream.seek(place)
        return shape.unpack(self._stream.read(shape.size))


def _check_structure(path: AnyPath, file: Path) -> None:
    """Check header, indices, contigs and summary of a bigWig file."""
    with file.open("rb") as stream:
        numbers = _Numbers(path, stream, file.stat().st_size)
        signature, _, zooms, tree, _, index, _, _, _, summary, *_ = numbers.at(0, _BIGWIG)
        if signature != _SIGNATURE:
            problem, remedy = "a bigWig file of another byte order", "write it anew"
            raise InputError(path, None, problem, remedy)
        if _BIGWIG.size + _ZOOM.size * zooms > tree:
            _refuse(path, f"no room for {zooms} zoom levels")
        levels = [numbers.at(_BIGWIG.size + _ZOOM.size * level, _ZOOM) for level in range(zooms)]
        indices = [index, *(level[-1] for level in levels)]
        for at, expected in ((tree, _TREE), *((at, _INDEX) for at in indices)):
            if numbers.at(at, _WORD)[0] != expected:
                _refuse(path, "an index is not where its header says")
        if not _lists_contigs(numbers, tree):
            _refuse(path, "its list of contigs has another form")
        # NaN among the values is read as no value; the sums of the file tell one from the other.
        if summary and not np.isfinite(numbers.at(summary, _SUMMARY)[1:]).all():
            _refuse_values(path)


def _lists_contigs(numbers: _Numbers, tree: int) -> bool:
    """Tell whether the tree of contigs is whole; pyBigWig takes their numbers for places in an
    array."""
    _, _, key, value, contigs, _ = numbers.at(tree, _CONTIGS)
    if value != _CONTIG.size or contigs * (key + value) > numbers.size:
        return False
    nodes, found = [tree + _CONTIGS.size], 0
    for _ in range(2 * contigs + 1):  # a tree has no more nodes, and a circle no end
        if not nodes:
            break
        node = nodes.pop()
        is_leaf, _, count = numbers.at(node, _NODE)
        for place in range(node + _NODE.size, numbers.size, key + value)[:count]:
            if not is_leaf:
                nodes += numbers.at(place + key, _CHILD)
                continue
            found += 1
            (name,) = numbers.at(place, struct.Struct(f"{key}s"))
            if numbers.at(place + key, _CONTIG)[0] >= contigs or b"\0" in name.rstrip(b"\0"):
                return False
    return not nodes and found == contigs


def _refuse(path: AnyPath, problem: str) -> NoReturn:
    raise InputError(path, None, f"damaged bigWig ({problem})", COPY_AGAIN)


def _refuse_values(path: AnyPath) -> NoReturn:
    problem = "holds values that are NaN or infinite"
    raise InputError(path, None, problem, "write the file anew, without them")

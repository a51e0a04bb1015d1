"""Read a genome from UCSC's 2bit format, contig by contig, as base codes.

py2bit decodes; it trusts the file, and crashes or gives wrong bases where one is damaged, so that
the structure is checked first. Whether it has masked (lower case) bases makes no difference here.
It keeps names and no descriptions, so that a simulated genome written as 2bit passes for real: give
that one as FASTA.
Format: https://genome.ucsc.edu/FAQ/FAQformat.html#format7
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple, NoReturn

import numpy as np
import py2bit

from hyena_ray.errors import InputError
from hyena_ray.files import sha256_file
from hyena_ray.genome.fasta import CODE_OF_LETTER, GIVE, Contig
from hyena_ray.genome.source import AGAIN, readable
from hyena_ray.storage import AnyPath, local_copy

_MARK = 0x1A412743
_HEADER = struct.Struct("<4I")
_WORD = 4
"""Bytes of a number; offsets have twice as many in version 1."""


class _Record(NamedTuple):
    begin: int
    """Byte in the file."""
    end: int
    bases: int


class TwoBit:
    """A 2bit file to iterate over; as `Fasta`, it holds one contig at a time.

    Memory is about three times the longest contig. `sha256` is known after the last contig.
    """

    def __init__(self, path: AnyPath) -> None:
        self.path = path
        self._sha256: str | None = None
        self._lengths: dict[str, int] | None = None
        self.done = 0.0
        """Share of the bases that have been read, 0 to 1."""

    @property
    def sha256(self) -> str:
        """Hex sha256 of the file as stored."""
        if self._sha256 is None:
            raise RuntimeError(f"{self.path} has not been read to its end")
        return self._sha256

    @property
    def lengths(self) -> Mapping[str, int] | None:
        """Bases of each contig, in file order, from the file's index; None before a file on S3 was
        read, which is copied for that.

        Raises:
            InputError: missing or damaged file, an empty or double name, or a contig of no bases.
        """
        if self._lengths is None and isinstance(self.path, Path):
            with readable(self.path, GIVE):
                self._lengths = self._checked(self.path)
        return self._lengths

    def __iter__(self) -> Iterator[Contig]:
        """Yield the contigs in file order.

        Raises:
            InputError: as `lengths`.
        """
        with readable(self.path, GIVE), local_copy(self.path) as file:
            self._lengths = self._checked(file)
            whole, read = sum(self._lengths.values()), 0
            with py2bit.open(str(file)) as stored:
                for name, length in self._lengths.items():
                    letters = stored.sequence(name).encode("ascii")
                    if len(letters) != length:
                        self._damaged(f"{name} has {len(letters)} of its {length} bases")
                    codes = np.frombuffer(letters.translate(CODE_OF_LETTER), np.uint8)
                    del letters  # memory is for one contig, not for its text too
                    read += length
                    self.done = read / whole
                    yield Contig(name, codes, "")
                    del codes
            self._sha256 = sha256_file(file)

    def _checked(self, file: Path) -> dict[str, int]:
        """Bases by contig, once all that py2bit will follow was found to lie inside the file."""
        size = file.stat().st_size
        if size < _HEADER.size:
            self._damaged("it ends inside its header")
        with file.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as m:
            content = memoryview(m)
            try:
                return self._index(content)
            finally:
                content.release()

    def _index(self, content: memoryview) -> dict[str, int]:
        mark, version, contigs, _ = _HEADER.unpack_from(content)
        if mark != _MARK or version > 1:
            raise InputError(
                self.path,
                None,
                "a 2bit file of another byte order or version",
                "write it anew, with twoBitToFa and faToTwoBit",
            )
        offset = struct.Struct("<Q" if version else "<I")
        at = _HEADER.size
        records: dict[str, _Record] = {}
        for number in range(1, contigs + 1):
            name_end = at + 1 + (content[at] if at < len(content) else 0)
            if name_end + offset.size > len(content):
                self._damaged(f"it ends inside the name of contig {number} of {contigs}")
            name = self._name(bytes(content[at + 1 : name_end]), number)
            if name in records:
                raise InputError(
                    self.path, name, "two contigs have this name", "give every contig its own"
                )
            (begin,) = offset.unpack_from(content, name_end)
            records[name] = self._record(content, name, begin)
            at = name_end + offset.size
        if not records:
            raise InputError(self.path, None, "the file has no contig", GIVE)
        for name, record in sorted(records.items(), key=lambda item: item[1].begin):
            if record.begin < at:
                self._damaged(f"{name} begins inside what stands before it")
            at = record.end
        return {name: record.bases for name, record in records.items()}

    def _name(self, stored: bytes, number: int) -> str:
        try:
            name = stored.decode("utf-8")
        except UnicodeDecodeError:
            self._damaged(f"the name of contig {number} is not UTF-8")
        if not name.isprintable():
            self._damaged(f"the name of contig {number} is not printable")
        if not name or " " in name:
            problem = f"the name of contig {number} is empty or has blanks"
            raise InputError(self.path, name or None, problem, "rename it")
        return name

    def _record(self, content: memoryview, name: str, begin: int) -> _Record:
        """Follow one contig's record: its length, N blocks, masked blocks, a zero, its bases."""
        at = begin

        def words(count: int) -> np.ndarray[tuple[int], np.dtype[np.uint32]]:
            nonlocal at
            if at + count * _WORD > len(content):
                self._damaged(f"it ends inside {name}")
            at += count * _WORD
            # A copy, since a view of the file would keep it open.
            return np.frombuffer(content, "<u4", count, at - count * _WORD).copy()

        bases = int(words(1)[0])
        if not bases:
            raise InputError(self.path, name, "the contig has no sequence", "leave it out")
        for what in ("N", "masked"):
            count = int(words(1)[0])
            start = words(count).astype(np.int64)
            end = start + words(count)
            ordered = (start[1:] >= end[:-1]).all() and (end > start).all()
            if count and not (ordered and end[-1] <= bases):
                self._damaged(f"the {what} blocks of {name} overlap or end past its {bases} bases")
        if words(1)[0]:
            self._damaged(f"no zero stands before the bases of {name}")
        end_of_bases = at + -(-bases // 4)
        if end_of_bases > len(content):
            self._damaged(f"it ends inside {name}")
        return _Record(begin, end_of_bases, bases)

    def _damaged(self, how: str) -> NoReturn:
        raise InputError(self.path, None, f"damaged 2bit ({how})", AGAIN)

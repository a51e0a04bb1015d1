"""Read a genome contig by contig, as base codes."""

from __future__ import annotations

import mmap
import struct
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple, NoReturn, Protocol

import numpy as np
import py2bit
from numpy.typing import NDArray

from hyena_ray.errors import InputError
from hyena_ray.files import sha256_file
from hyena_ray.genome.assemblies import located
from hyena_ray.genome.source import AGAIN, Source, choose_reader, readable
from hyena_ray.progress import Progress, State
from hyena_ray.storage import AnyPath, local_copy

N_CODE = 4
"""Base codes are A C G T = 0 1 2 3; this is any other IUPAC letter."""

_INVALID = 255
_CODES = bytearray([_INVALID]) * 256
for _letter in b"NRYSWKMBDHVU":
    _CODES[_letter] = _CODES[_letter | 32] = N_CODE
for _code, _letter in enumerate(b"ACGT"):
    # Lower case marks repeats (soft masking); it is sequence all the same.
    _CODES[_letter] = _CODES[_letter | 32] = _code
CODE_OF_LETTER = bytes(_CODES)
"""For `bytes.translate`: base codes, and 255 for what is no letter of DNA."""
GIVE = "give --genome a FASTA or 2bit file"
_BOM = b"\xef\xbb\xbf"


class Contig(NamedTuple):
    """One sequence of a genome."""

    name: str
    """First word of the header."""
    codes: NDArray[np.uint8]
    """(length,) base codes, read-only."""
    description: str
    """The rest of the header."""


class Fasta:
    """A FASTA file to iterate over once; holds one contig at a time.

    Memory is about three times the longest contig. `sha256` is known after the last contig.
    """

    lengths = None
    """No index is read, so that only reading tells."""

    def __init__(self, path: AnyPath) -> None:
        self.path = path
        self._source = Source(path, GIVE)

    @property
    def sha256(self) -> str:
        """Hex sha256 of the file as stored."""
        return self._source.sha256

    @property
    def done(self) -> float:
        """Share of the file that has been read, 0 to 1."""
        return self._source.done

    def __iter__(self) -> Iterator[Contig]:
        """Yield the contigs in file order.

        Raises:
            InputError: missing or damaged file, no header, empty or double name, empty record,
                ragged or blank lines, or a letter that is no IUPAC code; names file and line.
        """
        lines_of_name: dict[str, int] = {}
        line = 1
        for record in self._records():
            begin = record.find(b"\n") + 1 or len(record)
            name, description = self._names(record[:begin].rstrip(b"\r\n"), line)
            if name in lines_of_name:
                raise self._error(
                    line,
                    name,
                    f"the contig name stands in line {lines_of_name[name]} already",
                    "give every contig its own first word",
                )
            lines_of_name[name] = line
            codes = self._codes(name, record, begin, line + 1)
            line += record.count(b"\n")
            del record  # memory is for one contig, not for its text too
            yield Contig(name, codes, description)
            del codes

    def _records(self) -> Iterator[bytes]:
        """Cut the file before every line that begins with '>'."""
        chunks: list[bytes] = []
        previous = b""
        for block in self._source.blocks():
            if not previous:
                block = block.removeprefix(_BOM)
                self._check_start(block)
            cut = 0
            # A search for one byte is many times as fast as one for a line break and a byte.
            at = block.find(b">")
            while at >= 0:
                before = block[at - 1 : at] if at else previous
                if before == b"\n":
                    chunks.append(block[cut:at])
                    yield b"".join(chunks)
                    chunks.clear()
                    cut = at
                at = block.find(b">", at + 1)
            chunks.append(block[cut:])
            previous = block[-1:]
        if not previous:
            raise InputError(self.path, None, "the file is empty", GIVE)
        yield b"".join(chunks)

    def _check_start(self, block: bytes) -> None:
        if block.startswith(b">"):
            return
        first = repr(block.split(b"\n", 1)[0][:40])[2:-1]
        raise self._error(
            1,
            first,
            "a FASTA file begins with '>' and a contig's name",
            "give a FASTA file, plain, gzip or bgzip",
        )

    def _names(self, header: bytes, line: int) -> tuple[str, str]:
        try:
            text = header[1:].decode("utf-8")
        except UnicodeDecodeError:
            raise self._error(line, None, "the header is not UTF-8", "rename the contig") from None
        if not text or text[0].isspace():
            raise self._error(
                line, header.decode(), "the contig has no name", "write it directly after '>'"
            )
        name, *rest = text.split(maxsplit=1)
        return name, "".join(rest)

    def _codes(self, name: str, record: bytes, begin: int, line: int) -> NDArray[np.uint8]:
        if b"\r" in record:
            record = record[:begin] + record[begin:].replace(b"\r\n", b"\n").removesuffix(b"\r")
        end = len(record)
        while end > begin and record[end - 1] == ord("\n"):
            end -= 1
        body = record[begin:end]  # the one copy: a contig may be hundreds of megabytes
        if not body:
            raise self._error(line - 1, name, "the contig has no sequence", "remove its header")
        width = body.find(b"\n") if b"\n" in body else len(body)
        self._check_lines(body, width, line)
        codes = np.frombuffer(body.translate(CODE_OF_LETTER, b"\n"), np.uint8)
        if codes.max() == _INVALID:
            position = int(np.argmax(codes == _INVALID))
            byte = body[position + position // width :][:1]
            raise self._error(
                line + position // width,
                repr(byte)[1:],
                "not a DNA letter (A C G T, or IUPAC codes, read as N)",
                "give DNA; proteins, gaps and other signs cannot be read",
            )
        return codes

    def _check_lines(self, body: bytes, width: int, line: int) -> None:
        """All lines but the last have one width, else a line was lost or cut."""
        # Line breaks at every multiple of the width, and nowhere else: two passes in C.
        breaks = body[width :: width + 1]
        if width and breaks.count(b"\n") == len(breaks) == body.count(b"\n"):
            return
        for number, text in enumerate(body.split(b"\n"), line):
            if not text:
                raise self._error(
                    number, None, "a blank line inside a sequence", "remove it, or restore the line"
                )
            if len(text) != width:
                # The last line may be shorter, so it is wrong only by being longer.
                raise self._error(
                    number,
                    f"{len(text)} letters",
                    f"the lines of this contig have {width} letters up to its last one",
                    "check that no line was lost, then wrap the file anew",
                )
        raise AssertionError("the quick check and the slow one differ")

    def _error(self, line: int, value: object, problem: str, remedy: str) -> InputError:
        return InputError(f"{self.path}:{line}", value, problem, remedy)


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


class Genome(Protocol):
    """A genome to iterate over; one contig is in memory at a time."""

    path: AnyPath
    """The file that is read."""

    @property
    def lengths(self) -> Mapping[str, int] | None:
        """Bases of each contig, in file order; None where only reading tells."""

    @property
    def done(self) -> float:
        """Share of the file that has been read, 0 to 1; 0 where that is not known."""

    @property
    def sha256(self) -> str:
        """Hex sha256 of the file as stored, known after the last contig."""

    def __iter__(self) -> Iterator[Contig]:
        """Yield the contigs in file order.

        Raises:
            InputError: a missing or damaged file.
        """


GENOMES: dict[str, Callable[[AnyPath], Genome]] = {"FASTA": Fasta, "2bit": TwoBit}
"""By kind; text of no kind is for the first."""


def open_genome(path: AnyPath) -> Genome:
    """A genome from FASTA (plain, gzip, bgzip), 2bit, or the name of an assembly.

    An assembly that is not there yet is downloaded first.

    Raises:
        InputError: it cannot be read, is of another kind, or neither a file nor a known name.
        JobError: the assembly cannot be downloaded.
    """
    path = located(path)
    return choose_reader(GENOMES, path, GIVE)(path)


def with_progress(genome: Genome) -> Iterator[Contig]:
    """The contigs, while it is told how far they are.

    Raises:
        InputError: as the genome does.
    """
    with Progress("genome", 100, "%", brief=True) as progress:
        for contig in genome:
            percent = int(100 * genome.done)
            progress.update(State(done=percent, at_work=(contig.name,)))
            yield contig
            del contig  # memory is for one at a time
        progress.update(State(done=100))

"""Read a genome contig by contig, as base codes: FASTA (plain, gzip, bgzip) or UCSC's 2bit.

Contigs come in file order, and one is in memory at a time. No FASTA index is read or written, since
a stale one gives wrong bases without a word. Bases are codes A C G T = 0 1 2 3, anything else 4;
lower case (soft-masked) bases are sequence like all others, and which ones they are is kept only
where it is asked for: it takes a byte more for each base, and half the time again.
"""

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
from hyena_ray.genome.assemblies import GENOME_REMEDY, resolve_genome
from hyena_ray.genome.contig_names import check_contig_name
from hyena_ray.genome.source import COPY_AGAIN, Source, choose_reader, report_unreadable
from hyena_ray.progress import Progress, State
from hyena_ray.storage import AnyPath, local_copy

N_CODE = 4
"""Code of every base that is not A, C, G or T, whose codes are 0 to 3."""

_INVALID = 255
_CODES = bytearray([_INVALID]) * 256
for _letter in b"NRYSWKMBDHVU":
    _CODES[_letter] = _CODES[_letter | 32] = N_CODE
for _code, _letter in enumerate(b"ACGT"):
    _CODES[_letter] = _CODES[_letter | 32] = _code
LETTER_CODES = bytes(_CODES)
"""Translation table of `bytes.translate`: letter to base code, 255 for what is no DNA letter."""
_IS_LOWER_CASE = bytes(chr(byte).islower() and byte < 128 for byte in range(256))

_TWOBIT_SIGNATURE = 0x1A412743
_TWOBIT_HEADER = struct.Struct("<4I")
_WORD = 4
"""Bytes of a number in a 2bit file; offsets have twice as many in version 1."""


class Contig(NamedTuple):
    """One sequence of a genome."""

    name: str
    """First word of the FASTA header."""
    codes: NDArray[np.uint8]
    """(length,) base codes, read-only."""
    description: str
    """Rest of the FASTA header; empty in a 2bit file, which has none."""
    soft_masked: NDArray[np.bool_] | None = None
    """(length,) which bases are in lower case, as repeats are; None unless it was asked for."""


class Genome(Protocol):
    """A genome to iterate over once; one contig is in memory at a time."""

    path: AnyPath
    """File that is read."""

    @property
    def lengths(self) -> Mapping[str, int] | None:
        """Bases of each contig, in file order; None where that is known only after reading."""

    @property
    def fraction_read(self) -> float:
        """Fraction of the file that has been read, 0 to 1; 0 where that is not known."""

    @property
    def sha256(self) -> str:
        """Hex SHA-256 of the file as stored, known after the last contig."""

    def __iter__(self) -> Iterator[Contig]:
        """Yield the contigs in file order.

        Raises:
            InputError: The file is missing or damaged.
        """


def open_genome(path: AnyPath, *, masks: bool = False) -> Genome:
    """Open a FASTA file (plain, gzip, bgzip), a 2bit file, or an assembly by name.

    An assembly that is not in the cache is downloaded first.

    Args:
        path: File, or name of an assembly such as `hg38`.
        masks: Whether to keep which bases are soft-masked.

    Returns:
        The genome, to iterate over once.

    Raises:
        InputError: The file cannot be read or is of another kind, or the path is neither a file
            nor a known assembly.
        JobError: The assembly cannot be downloaded.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "genome.fa"
        ...     _ = path.write_text(">chr1 first\\nACGTN\\nacg\\n")
        ...     [(contig.name, contig.codes.tolist()) for contig in open_genome(path)]
        [('chr1', [0, 1, 2, 3, 4, 0, 1, 2])]
    """
    path = resolve_genome(path)
    return choose_reader(GENOME_READERS, path, GENOME_REMEDY)(path, masks)


def with_progress(genome: Genome) -> Iterator[Contig]:
    """Iterate over a genome while its progress is shown.

    Args:
        genome: The genome to read.

    Yields:
        Its contigs, in file order.

    Raises:
        InputError: The file is missing or damaged.
    """
    with Progress("genome", 100, "%", brief=True) as progress:
        for contig in genome:
            percent = int(100 * genome.fraction_read)
            progress.update(State(done=percent, at_work=(contig.name,)))
            yield contig
            del contig  # memory is for one at a time
        progress.update(State(done=100))


class Fasta:
    """A FASTA file (plain, gzip, bgzip) to iterate over once; it holds one contig at a time.

    Memory is about three times the longest contig. `sha256` is known after the last contig.

    Args:
        path: The file.
        masks: Whether to keep which bases are soft-masked.
    """

    lengths = None
    """None: without an index, lengths are known only after reading."""

    def __init__(self, path: AnyPath, masks: bool = False) -> None:
        self.path = path
        self._masks = masks
        self._source = Source(path, GENOME_REMEDY)

    @property
    def sha256(self) -> str:
        """Hex SHA-256 of the file as stored."""
        return self._source.sha256

    @property
    def fraction_read(self) -> float:
        """Fraction of the file that has been read, 0 to 1."""
        return self._source.fraction_read

    def __iter__(self) -> Iterator[Contig]:
        """Yield the contigs in file order.

        Raises:
            InputError: The file is missing or damaged, has no header, an empty or repeated name,
                an empty record, ragged or blank lines, or a letter that is no IUPAC code; names
                file and line.
        """
        name_lines: dict[str, int] = {}
        line = 1
        for record in self._records():
            begin = record.find(b"\n") + 1 or len(record)
            name, description = self._parse_header(record[:begin].rstrip(b"\n"), line)
            if name in name_lines:
                raise self._error(
                    line,
                    name,
                    f"line {name_lines[name]} already has a contig of this name",
                    "give every contig its own first word",
                )
            name_lines[name] = line
            codes = self._parse_sequence(name, record, begin, line + 1)
            masked = _soft_masked(record[begin:]) if self._masks else None
            line += record.count(b"\n")
            del record  # memory is for one contig, not for its text too
            yield Contig(name, codes, description, masked)
            del codes, masked

    def _records(self) -> Iterator[bytes]:
        """Cut the file before every line that begins with '>'."""
        chunks: list[bytes] = []
        previous = b""
        for block in self._source.text_blocks():
            if not previous:
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
            raise InputError(self.path, None, "the file is empty", GENOME_REMEDY)
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

    def _parse_header(self, header: bytes, line: int) -> tuple[str, str]:
        try:
            text = header[1:].decode("utf-8")
        except UnicodeDecodeError:
            raise self._error(line, None, "the header is not UTF-8", "rename the contig") from None
        if not text or text[0].isspace():
            raise self._error(
                line, header.decode(), "the contig has no name", "write it directly after '>'"
            )
        name, *rest = text.split(maxsplit=1)
        check_contig_name(f"{self.path}:{line}", name)
        return name, "".join(rest)

    def _parse_sequence(self, name: str, record: bytes, begin: int, line: int) -> NDArray[np.uint8]:
        end = len(record)
        while end > begin and record[end - 1] == ord("\n"):
            end -= 1
        body = record[begin:end]  # the one copy: a contig may be hundreds of megabytes
        if not body:
            raise self._error(line - 1, name, "the contig has no sequence", "remove its header")
        width = body.find(b"\n")
        if width >= 0:
            self._check_lines(body, width, line)
        else:
            width = len(body)
        letters = body.translate(LETTER_CODES, b"\n")
        position = letters.find(_INVALID)
        if position >= 0:
            byte = body[position + position // width :][:1]
            raise self._error(
                line + position // width,
                repr(byte)[1:],
                "not a DNA letter (A C G T, or IUPAC codes, read as N)",
                "give DNA; proteins, gaps and other signs cannot be read",
            )
        return np.frombuffer(letters, np.uint8)

    def _check_lines(self, body: bytes, width: int, line: int) -> None:
        """Check that all lines but the last have one width; else a line was lost or cut."""
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


def _soft_masked(text: bytes) -> NDArray[np.bool_]:
    """Return which letters are in lower case; line breaks are no letters."""
    return np.frombuffer(text.translate(_IS_LOWER_CASE, b"\n"), np.bool_)


class _TwoBitRecord(NamedTuple):
    begin: int
    """First byte in the file."""
    end: int
    """One past the last byte."""
    bases: int
    """Length of the contig."""


class TwoBit:
    """A 2bit file to iterate over once; it holds one contig at a time.

    py2bit decodes. It trusts the file, and crashes or gives wrong bases where one is damaged, so
    the structure is checked first. A 2bit file keeps names and no descriptions, so a simulated
    genome written as 2bit passes for real: give that one as FASTA.
    Format: https://genome.ucsc.edu/FAQ/FAQformat.html#format7

    Memory is about three times the longest contig. `sha256` is known after the last contig.

    Args:
        path: The file.
        masks: Whether to keep which bases are soft-masked.
    """

    def __init__(self, path: AnyPath, masks: bool = False) -> None:
        self.path = path
        self._masks = masks
        self._sha256: str | None = None
        self._lengths: dict[str, int] | None = None
        self.fraction_read = 0.0
        """Fraction of the bases that have been read, 0 to 1."""

    @property
    def sha256(self) -> str:
        """Hex SHA-256 of the file as stored."""
        if self._sha256 is None:
            raise RuntimeError(f"{self.path} has not been read to its end")
        return self._sha256

    @property
    def lengths(self) -> Mapping[str, int] | None:
        """Bases of each contig, in file order, from the file's index.

        None for a file on S3 that has not been read, since it would be copied for that.

        Raises:
            InputError: The file is missing or damaged, or a contig has an empty or repeated name
                or no bases.
        """
        if self._lengths is None and isinstance(self.path, Path):
            with report_unreadable(self.path, GENOME_REMEDY), local_copy(self.path) as file:
                self._lengths = self._check_structure(file)
        return self._lengths

    def __iter__(self) -> Iterator[Contig]:
        """Yield the contigs in file order.

        Raises:
            InputError: As `lengths`.
        """
        with report_unreadable(self.path, GENOME_REMEDY), local_copy(self.path) as file:
            self._lengths = self._check_structure(file)
            whole, read = sum(self._lengths.values()), 0
            with py2bit.open(str(file), self._masks) as stored:
                for name, length in self._lengths.items():
                    letters = stored.sequence(name).encode("ascii")
                    if len(letters) != length:
                        self._refuse_damage(f"{name} has {len(letters)} of its {length} bases")
                    codes = np.frombuffer(letters.translate(LETTER_CODES), np.uint8)
                    masked = _soft_masked(letters) if self._masks else None
                    del letters  # memory is for one contig, not for its text too
                    read += length
                    self.fraction_read = read / whole
                    yield Contig(name, codes, "", masked)
                    del codes, masked
            self._sha256 = sha256_file(file)

    def _check_structure(self, file: Path) -> dict[str, int]:
        """Check that all that py2bit will follow is inside the file; return bases by contig."""
        size = file.stat().st_size
        if size < _TWOBIT_HEADER.size:
            self._refuse_damage("it ends inside its header")
        with file.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as m:
            content = memoryview(m)
            try:
                return self._parse_index(content)
            finally:
                content.release()

    def _parse_index(self, content: memoryview) -> dict[str, int]:
        signature, version, contigs, _ = _TWOBIT_HEADER.unpack_from(content)
        if signature != _TWOBIT_SIGNATURE or version > 1:
            raise InputError(
                self.path,
                None,
                "a 2bit file of another byte order or version",
                "write it anew, with twoBitToFa and faToTwoBit",
            )
        offset = struct.Struct("<Q" if version else "<I")
        at = _TWOBIT_HEADER.size
        records: dict[str, _TwoBitRecord] = {}
        for number in range(1, contigs + 1):
            name_end = at + 1 + (content[at] if at < len(content) else 0)
            if name_end + offset.size > len(content):
                self._refuse_damage(f"it ends inside the name of contig {number} of {contigs}")
            name = self._parse_name(bytes(content[at + 1 : name_end]), number)
            if name in records:
                raise InputError(
                    self.path, name, "two contigs have this name", "give every contig its own"
                )
            (begin,) = offset.unpack_from(content, name_end)
            records[name] = self._parse_record(content, name, begin)
            at = name_end + offset.size
        if not records:
            raise InputError(self.path, None, "the file has no contig", GENOME_REMEDY)
        for name, record in sorted(records.items(), key=lambda item: item[1].begin):
            if record.begin < at:
                self._refuse_damage(f"{name} begins inside what is before it")
            at = record.end
        return {name: record.bases for name, record in records.items()}

    def _parse_name(self, stored: bytes, number: int) -> str:
        try:
            name = stored.decode("utf-8")
        except UnicodeDecodeError:
            self._refuse_damage(f"the name of contig {number} is not UTF-8")
        if not name.isprintable():
            self._refuse_damage(f"the name of contig {number} is not printable")
        if not name or " " in name:
            problem = f"the name of contig {number} is empty or has blanks"
            raise InputError(self.path, name or None, problem, "rename it")
        check_contig_name(f"{self.path}: contig {number}", name)
        return name

    def _parse_record(self, content: memoryview, name: str, begin: int) -> _TwoBitRecord:
        """Follow one contig's record: its length, N blocks, masked blocks, a zero, its bases."""
        at = begin

        def read_words(count: int) -> np.ndarray[tuple[int], np.dtype[np.uint32]]:
            nonlocal at
            if at + count * _WORD > len(content):
                self._refuse_damage(f"it ends inside {name}")
            at += count * _WORD
            # A copy, since a view of the file would keep it open.
            return np.frombuffer(content, "<u4", count, at - count * _WORD).copy()

        bases = int(read_words(1)[0])
        if not bases:
            raise InputError(self.path, name, "the contig has no sequence", "leave it out")
        for block in ("N", "masked"):
            count = int(read_words(1)[0])
            start = read_words(count).astype(np.int64)
            end = start + read_words(count)
            ordered = (start[1:] >= end[:-1]).all() and (end > start).all()
            if count and not (ordered and end[-1] <= bases):
                self._refuse_damage(
                    f"the {block} blocks of {name} overlap or end past its {bases} bases"
                )
        if read_words(1)[0]:
            self._refuse_damage(f"no zero is before the bases of {name}")
        end_of_bases = at + -(-bases // 4)
        if end_of_bases > len(content):
            self._refuse_damage(f"it ends inside {name}")
        return _TwoBitRecord(begin, end_of_bases, bases)

    def _refuse_damage(self, problem: str) -> NoReturn:
        raise InputError(self.path, None, f"damaged 2bit ({problem})", COPY_AGAIN)


GENOME_READERS: dict[str, Callable[[AnyPath, bool], Genome]] = {"FASTA": Fasta, "2bit": TwoBit}
"""Readers of genomes by kind of file; text of no known kind is read as FASTA."""

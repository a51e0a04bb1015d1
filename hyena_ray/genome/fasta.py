"""Read a genome contig by contig, as base codes.

In: FASTA (plain, gzip, bgzip).  Out: `Contig`s in file order.  No index is read or written, since
a stale one gives wrong bases without a word.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hyena_ray.errors import InputError
from hyena_ray.genome.source import Source
from hyena_ray.storage import AnyPath

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

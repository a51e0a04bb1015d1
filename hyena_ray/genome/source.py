"""Read an input file once, plain or gzip, and recognise what kind of file it is.

The file is hashed while it is read, and damage is reported as an `InputError`. The content decides
what kind a file is; text tables have no mark of their own, so their name does, and later their
columns. Lines end with a line feed, a carriage return, or both; whoever reads text reads it here,
so that no format loses the lines behind a carriage return.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import zlib
from collections.abc import Generator, Iterator, Mapping
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from hyena_ray.errors import InputError
from hyena_ray.storage import AnyPath, reopenable

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

BLOCK = 1 << 20
"""Bytes that are read at once."""
GZIP_MAGIC = b"\x1f\x8b"
BGZF_EOF = bytes.fromhex("1f8b08040000000000ff0600424302001b0003000000000000000000")
"""Empty block that closes every bgzip file; without it, whole blocks may be missing."""
GZIP_ENDINGS = (".gz", ".bgz", ".bgzip")
"""Endings of a file's name that say nothing about its content."""
COPY_AGAIN = "copy or download the file again"
"""Remedy for a damaged file."""
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
"""What some programs write before UTF-8 text."""

MOST_RATIO, GRACE = 100, 1 << 27
"""Most bytes that a byte of gzip may unpack to, beyond the first ones: bases give four and tables
ten, and only runs of N give a thousand."""
MOST_TEXT = 1 << 29
"""Most bytes of a table, which is read as a whole."""

Reader = TypeVar("Reader")


class FileKind(NamedTuple):
    """A kind of file, and how it is recognised."""

    name: str
    magic: tuple[bytes, ...] = ()
    """Byte strings that its content may begin with; empty where only the name is decisive."""
    endings: tuple[str, ...] = ()
    """Endings of its name, in lower case."""
    within_gzip: bool = True
    """Whether it can be read inside gzip; readers that seek in the file cannot."""


def _both_byte_orders(magic: int) -> tuple[bytes, bytes]:
    return magic.to_bytes(4, "little"), magic.to_bytes(4, "big")


FILE_KINDS = (
    FileKind("FASTA", (b">", BYTE_ORDER_MARK + b">"), (".fa", ".fasta", ".fna")),
    FileKind("2bit", _both_byte_orders(0x1A412743), (".2bit",), within_gzip=False),
    FileKind("bigBed", _both_byte_orders(0x8789F2EB), (".bb", ".bigbed"), within_gzip=False),
    FileKind("bigWig", _both_byte_orders(0x888FFC26), (".bw", ".bigwig"), within_gzip=False),
    FileKind("narrowPeak", (), (".narrowpeak",)),
    FileKind("broadPeak", (), (".broadpeak",)),
    FileKind("bedGraph, a table of values,", (), (".bedgraph", ".bdg", ".bg")),
    FileKind("wiggle, a table of values,", (), (".wig", ".wiggle")),
    FileKind("BEDPE, a table of pairs,", (), (".bedpe",)),
    FileKind("a table of pairs", (b"## pairs format",), (".pairs", ".interact")),
    FileKind("GTF or GFF", (b"##gff", b"##gtf"), (".gtf", ".gff", ".gff3")),
    FileKind("VCF", (b"##fileformat=VCF",), (".vcf",)),
    FileKind("BCF", (b"BCF\x02",), (".bcf",)),
    FileKind("FASTQ", (), (".fq", ".fastq")),
    FileKind("BAM", (b"BAM\x01",)),
    FileKind("Parquet", (b"PAR1",)),
    FileKind("zip", (b"PK\x03\x04",)),
    FileKind("bzip2", (b"BZh",)),
    FileKind("xz", (b"\xfd7zXZ\x00",)),
    FileKind("zstd", (b"\x28\xb5\x2f\xfd",)),
)
"""Kinds that are read, and kinds that are often given in their place."""


def check_is_file(path: AnyPath, remedy: str) -> None:
    """Refuse a folder, and a file that is not there. Opens nothing: a pipe can be read once.

    Args:
        path: The file that will be read.
        remedy: What to do otherwise, such as "give --genome a FASTA file".

    Raises:
        InputError: There is no such file.
    """
    if path.is_dir():
        raise InputError(path, None, "is a folder, not a file", remedy)
    if not path.exists():
        raise InputError(path, None, "there is no such file", remedy)


@contextmanager
def report_unreadable(path: AnyPath, remedy: str) -> Iterator[None]:
    """Turn the errors of opening and reading a file inside the block into one line.

    Args:
        path: The file that is read.
        remedy: What to do when it cannot be read, such as "give --genome a FASTA file".

    Raises:
        InputError: The file is missing, a folder, or not readable.
    """
    try:
        if path.is_dir():
            raise InputError(path, None, "is a folder, not a file", remedy)
        yield
    except FileNotFoundError:
        raise InputError(path, None, "there is no such file", remedy) from None
    except OSError as error:
        raise InputError(
            path, None, f"cannot be read ({error.strerror or error})", remedy
        ) from None


class Source:
    """One pass over the bytes of a file, decompressed when it begins as gzip does.

    Args:
        path: The file; it is opened when the first block is asked for.
        remedy: What to do when it cannot be opened, such as "give --genome a FASTA file".
    """

    def __init__(self, path: AnyPath, remedy: str) -> None:
        self.path = path
        self._remedy = remedy
        self._sha256: str | None = None
        self.is_gzip = False
        """Whether the file is gzip, known once the first block has been read."""
        self.fraction_read = 0.0
        """Fraction of the stored file that has been read, 0 to 1; 0 for a pipe."""

    @property
    def sha256(self) -> str:
        """Hex sha256 of the file as stored, known once `blocks` is exhausted."""
        if self._sha256 is None:
            raise RuntimeError(f"{self.path} has not been read to its end")
        return self._sha256

    def blocks(self) -> Generator[bytes, None, None]:
        """Yield the decompressed content in blocks of up to 1 MiB.

        Raises:
            InputError: The file is missing, a folder, unreadable, or damaged gzip, or unpacks to
                far more than any genome or table does.
        """
        with report_unreadable(self.path, self._remedy), reopenable(self.path).open("rb") as file:
            stored, size = _HashedFile(file), _file_size(file)
            try:
                for block in self._decompressed(io.BufferedReader(stored, BLOCK)):
                    self.fraction_read = stored.count / size if size else 0.0
                    yield block
            except (EOFError, gzip.BadGzipFile, zlib.error) as error:
                raise InputError(self.path, None, f"damaged gzip ({error})", COPY_AGAIN) from None
            self._sha256 = stored.sha256.hexdigest()

    def text_blocks(self) -> Iterator[bytes]:
        """Yield the content as text whose lines all end with a line feed, without its mark.

        Raises:
            InputError: As `blocks`.
        """
        expected_mark, held = BYTE_ORDER_MARK, b""
        for block in self.blocks():
            block = held + block.removeprefix(expected_mark)
            expected_mark = held = b""
            if b"\r" in block:
                if block.endswith(b"\r"):  # its line feed may be in the next block
                    block, held = block[:-1], b"\r"
                block = block.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
            if block:
                yield block
        if held:
            yield b"\n"

    def read_text(self, what: str) -> str:
        """Return the whole text, for files that are small next to a genome.

        Args:
            what: What the file should be, with its article, such as "a BED text file".

        Raises:
            InputError: As `blocks`, or the content is larger than any table or not UTF-8.
        """
        blocks, size = [], 0
        for block in self.text_blocks():
            blocks.append(block)
            size += len(block)
            if size > MOST_TEXT:
                problem = f"holds more than {MOST_TEXT >> 20} MiB"
                raise InputError(self.path, None, problem, self._remedy)
        content = b"".join(blocks)
        try:
            return content.decode("utf-8")
        except UnicodeDecodeError as error:
            line = content.count(b"\n", 0, error.start) + 1
            place = f"{self.path}:{line}"
            raise InputError(place, None, "not UTF-8", f"give {what}") from None

    def _decompressed(self, stored: io.BufferedReader) -> Iterator[bytes]:
        head = stored.peek(18)[:18]
        if not head.startswith(GZIP_MAGIC):
            while block := stored.read(BLOCK):
                yield block
            return
        self.is_gzip = True
        raw, size = stored.raw, 0
        assert isinstance(raw, _HashedFile)
        with gzip.GzipFile(fileobj=stored) as stream:
            while block := stream.read(BLOCK):
                size += len(block)
                if size > GRACE + MOST_RATIO * raw.count:
                    raise InputError(
                        self.path,
                        None,
                        f"unpacks to more than {MOST_RATIO} times its size",
                        "unpack it yourself, if it is what you think",
                    )
                yield block
        if head[12:14] == b"BC" and raw.tail != BGZF_EOF:
            raise EOFError("bgzip's closing block is missing: the file is cut short")


def detect_kind(path: AnyPath, remedy: str) -> str | None:
    """Return the name of a file's kind, before any reader trusts the file.

    Args:
        path: Plain or gzip file.
        remedy: What to do when it cannot be opened.

    Returns:
        A name in `FILE_KINDS`, or None for text that neither content nor name identifies.

    Raises:
        InputError: The file cannot be read, is called like a binary kind without its content, or
            is a kind that cannot be read inside gzip.
    """
    source = Source(path, remedy)
    with closing(source.blocks()) as blocks:
        start = next(blocks, b"")
    by_content = next((kind for kind in FILE_KINDS if start.startswith(kind.magic)), None)
    if by_content is not None:
        if source.is_gzip and not by_content.within_gzip:
            raise InputError(
                path,
                None,
                f"{by_content.name} inside gzip, where it cannot be read",
                "unpack it with gunzip",
            )
        return by_content.name
    name = _name_without_gzip(path)
    by_name = next((kind for kind in FILE_KINDS if name.endswith(kind.endings)), None)
    if by_name is not None and not by_name.within_gzip:
        raise InputError(
            path,
            None,
            f"is called {by_name.name}, and does not begin as one",
            "copy or download the file again, or give it the name of what it is",
        )
    # A FASTA file without its mark is refused by its reader, which names the line.
    return None if by_name is None or by_name.name == "FASTA" else by_name.name


def choose_reader(readers: Mapping[str, Reader], path: AnyPath, remedy: str) -> Reader:
    """Return the reader for the kind of a file.

    Args:
        readers: Readers by name of the kind; the first one reads text of no known kind.
        path: The file.
        remedy: What to do when it cannot be used.

    Returns:
        One of the readers.

    Raises:
        InputError: The file cannot be read, or is of a kind that has no reader.
    """
    kind = detect_kind(path, remedy) or next(iter(readers))
    if kind not in readers:
        raise InputError(path, None, f"is {kind}; what is read is {', '.join(readers)}", remedy)
    return readers[kind]


def _name_without_gzip(path: AnyPath) -> str:
    name = path.name.lower()
    for ending in GZIP_ENDINGS:
        name = name.removesuffix(ending)
    return name


def _file_size(file: io.BufferedReader) -> int:
    """Return the size in bytes; 0 for a pipe, which has none."""
    if not file.seekable():
        return 0
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    return size


class _HashedFile(io.RawIOBase):
    """A file that is hashed as it is read, which saves a second pass, and whose end is kept."""

    def __init__(self, file: io.BufferedReader) -> None:
        self._file = file
        self.sha256 = hashlib.sha256()
        self.tail = b""
        self.count = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        count = self._file.readinto(buffer) or 0
        read = memoryview(buffer)[:count]
        self.sha256.update(read)
        self.count += count
        self.tail = (self.tail + bytes(read[-len(BGZF_EOF) :]))[-len(BGZF_EOF) :]
        return count

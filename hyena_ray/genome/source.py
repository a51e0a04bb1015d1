"""Read an input file once, plain or gzip, and recognise what kind of file it is."""

from __future__ import annotations

import gzip
import hashlib
import io
import zlib
from collections.abc import Generator, Iterator, Mapping
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from hyena_ray.errors import InputError
from hyena_ray.storage import AnyPath

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

BLOCK = 1 << 20
GZIP_MAGIC = b"\x1f\x8b"
BGZF_END = bytes.fromhex("1f8b08040000000000ff0600424302001b0003000000000000000000")
"""The empty block that closes every bgzip file; without it whole blocks may be missing."""

AGAIN = "copy or download the file again"


@contextmanager
def readable(path: AnyPath, remedy: str) -> Iterator[None]:
    """What opens and reads a file inside the block says in one line that it cannot be done.

    Raises:
        InputError: missing, a folder, or not readable.
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
        path: the file; it is opened when the first block is asked for.
        remedy: what to do when it cannot be opened, such as "give --genome a FASTA file".
    """

    def __init__(self, path: AnyPath, remedy: str) -> None:
        self.path = path
        self._remedy = remedy
        self._sha256: str | None = None
        self.packed = False
        """Whether it is gzip, known once the first block was read."""
        self.done = 0.0
        """Share of the stored file that has been read, 0 to 1; 0 of a pipe."""

    @property
    def sha256(self) -> str:
        """Hex sha256 of the file as stored, known once `blocks` is exhausted."""
        if self._sha256 is None:
            raise RuntimeError(f"{self.path} has not been read to its end")
        return self._sha256

    def blocks(self) -> Generator[bytes, None, None]:
        """Yield the content in blocks of up to 1 MiB.

        Raises:
            InputError: missing, a folder, unreadable, or damaged gzip.
        """
        with readable(self.path, self._remedy), self.path.open("rb") as file:
            stored, size = _HashedFile(file), _size(file)
            try:
                for block in self._content(io.BufferedReader(stored, BLOCK)):
                    self.done = stored.count / size if size else 0.0
                    yield block
            except (EOFError, gzip.BadGzipFile, zlib.error) as error:
                raise InputError(self.path, None, f"damaged gzip ({error})", AGAIN) from None
            self._sha256 = stored.sha256.hexdigest()

    def read(self) -> bytes:
        """The whole content; for files that are small beside a genome."""
        return b"".join(self.blocks())

    def _content(self, stored: io.BufferedReader) -> Iterator[bytes]:
        head = stored.peek(18)[:18]
        if not head.startswith(GZIP_MAGIC):
            while block := stored.read(BLOCK):
                yield block
            return
        self.packed = True
        with gzip.GzipFile(fileobj=stored) as stream:
            while block := stream.read(BLOCK):
                yield block
        raw = stored.raw
        if head[12:14] == b"BC" and isinstance(raw, _HashedFile) and raw.tail != BGZF_END:
            raise EOFError("bgzip's closing block is missing: the file is cut short")


def _size(file: io.BufferedReader) -> int:
    """Bytes; 0 of a pipe, which does not tell."""
    if not file.seekable():
        return 0
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    return size


class _HashedFile(io.RawIOBase):
    """Hash what is read, so that the hash costs no second pass; keep the last bytes."""

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
        self.tail = (self.tail + bytes(read[-len(BGZF_END) :]))[-len(BGZF_END) :]
        return count


PACKED = (".gz", ".bgz", ".bgzip")
"""Endings that say nothing about what is inside."""


class Kind(NamedTuple):
    """A kind of file."""

    name: str
    marks: tuple[bytes, ...] = ()
    """What its content may begin with; empty where the name alone tells it."""
    endings: tuple[str, ...] = ()
    """Of names, in lower case."""
    packs: bool = True
    """Whether gzip may hold it; readers of the others jump about in the file."""


def _both_orders(mark: int) -> tuple[bytes, bytes]:
    return mark.to_bytes(4, "little"), mark.to_bytes(4, "big")


KINDS = (
    Kind("FASTA", (b">", b"\xef\xbb\xbf>"), (".fa", ".fasta", ".fna")),
    Kind("2bit", _both_orders(0x1A412743), (".2bit",), packs=False),
    Kind("bigBed", _both_orders(0x8789F2EB), (".bb", ".bigbed"), packs=False),
    Kind("bigWig", _both_orders(0x888FFC26), (".bw", ".bigwig"), packs=False),
    Kind("narrowPeak", (), (".narrowpeak",)),
    Kind("broadPeak", (), (".broadpeak",)),
    Kind("GTF or GFF", (b"##gff", b"##gtf"), (".gtf", ".gff", ".gff3")),
    Kind("VCF", (b"##fileformat=VCF",)),
    Kind("FASTQ", (), (".fq", ".fastq")),
    Kind("BAM", (b"BAM\x01",)),
    Kind("Parquet", (b"PAR1",)),
    Kind("zip", (b"PK\x03\x04",)),
    Kind("bzip2", (b"BZh",)),
    Kind("xz", (b"\xfd7zXZ\x00",)),
    Kind("zstd", (b"\x28\xb5\x2f\xfd",)),
)
"""Those that are read, and those that are given in their place."""


def kind_of(path: AnyPath, remedy: str) -> str | None:
    """The name of a file's kind; None for text that neither content nor name tells.

    Args:
        path: plain or gzip.
        remedy: what to do when it cannot be opened.

    Raises:
        InputError: it cannot be read; it has the name of a binary kind without its content; or gzip
            holds what is read by jumping about.
    """
    source = Source(path, remedy)
    with closing(source.blocks()) as blocks:
        start = next(blocks, b"")
    marked = next((kind for kind in KINDS if start.startswith(kind.marks)), None)
    if marked is not None:
        if source.packed and not marked.packs:
            raise InputError(
                path,
                None,
                f"{marked.name} inside gzip, where it cannot be read",
                "unpack it with gunzip",
            )
        return marked.name
    name = _bare_name(path)
    named = next((kind for kind in KINDS if name.endswith(kind.endings)), None)
    if named is not None and not named.packs:
        raise InputError(
            path,
            None,
            f"is called {named.name}, and does not begin as one",
            "copy or download the file again, or give it the name of what it is",
        )
    # A FASTA file without its mark is for the reader to refuse, which names the line.
    return None if named is None or named.name == "FASTA" else named.name


def _bare_name(path: AnyPath) -> str:
    name = path.name.lower()
    for ending in PACKED:
        name = name.removesuffix(ending)
    return name


Reader = TypeVar("Reader")


def choose_reader(table: Mapping[str, Reader], path: AnyPath, remedy: str) -> Reader:
    kind = kind_of(path, remedy) or next(iter(table))
    if kind not in table:
        raise InputError(path, None, f"is {kind}; what is read is {', '.join(table)}", remedy)
    return table[kind]

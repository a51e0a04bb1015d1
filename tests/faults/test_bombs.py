"""A small file that unpacks to a large one is refused in a line, and memory stays flat."""

from __future__ import annotations

import gzip
import random
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hyena_ray.dataset.reader import PreparedData
from hyena_ray.errors import InputError
from hyena_ray.genome import source
from hyena_ray.genome.contigs import open_genome
from hyena_ray.genome.region_files import read_regions
from hyena_ray.runs.table_file import read_table

MEMBER = 1 << 26
"""Bytes of a part of a gzip file; parts may follow each other."""


@contextmanager
def room(size: int) -> Iterator[None]:
    """Let this process allocate no more than this besides what it has."""
    now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (now + size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def bomb(path: Path, begin: bytes, content: bytes) -> Path:
    """Write 6 GiB as gzip of 6 MB."""
    part = gzip.compress(content * (MEMBER // len(content)))
    path.write_bytes(gzip.compress(begin) + part * 96)
    assert path.stat().st_size < 40 << 20
    return path


BOMBS: dict[str, tuple[str, bytes, bytes, Callable[[Path], object]]] = {
    "one contig": ("a.fa.gz", b">chr1\n", b"A", lambda path: list(open_genome(path))),
    "lines": ("a.fa.gz", b">chr1\n", b"ACGT" * 16 + b"\n", lambda path: list(open_genome(path))),
    "contigs": ("a.fa.gz", b">chr1\nA\n", b">a\n\n", lambda path: list(open_genome(path))),
    "regions": ("a.bed.gz", b"chr1\t1\t2\n", b"chr1\t1\t2\n", read_regions),
    "a line": ("a.bed.gz", b"chr1\t1\t2\n", b"#", read_regions),
}


@pytest.mark.parametrize("case", BOMBS)
def test_a_gzip_that_unpacks_to_gigabytes_is_refused(case: str, tmp_path: Path) -> None:
    name, begin, content, read = BOMBS[case]
    path = bomb(tmp_path / name, begin, content)
    with room(2 << 30), pytest.raises(InputError, match=name):
        read(path)


def test_what_compresses_as_a_genome_does_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "GRACE", 1 << 16)
    path = tmp_path / "a.fa.gz"
    bases = bytes(random.Random(0).choices(b"ACGT", k=100_000))
    path.write_bytes(gzip.compress(b">chr1\n" + b"N" * 60_000 + bases))
    (contig,) = open_genome(path)
    assert len(contig.codes) == 160_000


def test_a_small_file_of_more_windows_than_prepare_writes_is_refused(
    small_data: Path, tmp_path: Path
) -> None:
    data = PreparedData.open(small_data)
    file = data.manifest.files[0]
    table = pq.read_table(small_data / file.path)
    many = pa.concat_tables([table.slice(0, 1)] * 40_000).combine_chunks()
    path = tmp_path / file.path
    path.parent.mkdir(parents=True)
    pq.write_table(many, path, compression="zstd")
    listed = file.model_copy(update={"rows": 40_000})
    manifest = data.manifest.model_copy(update={"files": (listed,)})
    with pytest.raises(InputError, match="40000 rows: a file has 32768 at most"):
        PreparedData(tmp_path, manifest).window_ids(file.length, file.split)


def test_a_small_table_of_many_rows_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "trials.parquet"
    column = pa.DictionaryArray.from_arrays(pa.array([0] * 1_000_000, pa.int32()), ["complete"])
    with pq.ParquetWriter(path, pa.schema([("state", column.type)])) as writer:
        for _ in range(40):
            writer.write_table(pa.table({"state": column}))
    assert path.stat().st_size < 1 << 20
    with room(1 << 30), pytest.raises(InputError, match="40,000,000 rows: more than"):
        read_table(path, ("state",))

"""Files of variants, read strictly: VCF, or a table of contig, position, ref and alt.

Positions are 1-based in both files, as everywhere that variants are exchanged, and 0-based in what
is returned. A row may have several alternative alleles. What can be no allele is refused with file
and line; alleles that are none of bases (symbolic ones, breakends, `*`) are returned as the file
has them, for the caller to skip.
Format: https://samtools.github.io/hts-specs/VCFv4.3.pdf
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from hyena_ray.errors import InputError
from hyena_ray.genome.contig_names import match_contig_names, renaming_command
from hyena_ray.genome.source import Source, choose_reader
from hyena_ray.progress import shortened_list
from hyena_ray.storage import AnyPath

VARIANTS_REMEDY = "give --vcf a VCF, or a table of contig, position, ref and alt with tabs between"
"""Remedy for a file of variants that cannot be used."""
MOST_ROWS = 1 << 22
"""Most rows of a file: they are in memory, half a kilobyte each."""
VCF_COLUMNS = ("#CHROM", "POS", "ID", "REF", "ALT", "QUAL", "FILTER", "INFO")
"""Columns that every VCF begins with."""
TABLE_COLUMNS = ("contig", "position", "ref", "alt")
"""Columns of a table; they may be named in its first line."""
SORT = "sort it, for example with `bcftools sort`"

_POSITION = re.compile(r"[1-9][0-9]{0,17}")
_BASES = re.compile(r"[ACGTNRYSWKMBDHVacgtnryswkmbdhv]+")
_OTHER_ALLELE = re.compile(
    r"\*|\.|<[^<>\s,]+>|[A-Za-z.]*[\[\]][^\[\]\s,]+[\[\]][A-Za-z.]*|\.[A-Za-z]+|[A-Za-z]+\."
)
"""Alleles that are no bases: missing, overlapped by a deletion, symbolic, and breakends."""


class VariantRow(NamedTuple):
    """A row of a file of variants."""

    line: int
    """Number of its line, from 1."""
    contig: str
    """Name of the contig."""
    start: int
    """First base of the reference allele, 0-based."""
    ref: str
    """Reference allele, in upper case."""
    alts: tuple[str, ...]
    """Alternative alleles as the file has them, bases in upper case."""
    fields: tuple[str, ...]
    """Columns of a VCF as the file has them; empty for a table."""


class Variants(NamedTuple):
    """A file of variants."""

    path: AnyPath
    """File that was read."""
    sha256: str
    """Hex SHA-256 of the file as stored."""
    rows: dict[str, list[VariantRow]]
    """Rows by contig, in the order of the file, which is that of positions on each contig."""
    header: tuple[str, ...] | None
    """Lines of a VCF before its first row; None for a table."""

    def locate(self, row: VariantRow) -> str:
        """Return the place of a row.

        Args:
            row: The row.
        """
        return f"{self.path}:{row.line}"

    def check_contigs(self, sizes: Mapping[str, int]) -> None:
        """Check that the genome has every contig of the file, and every position on it.

        Args:
            sizes: Bases of every contig of the genome, in its order.

        Raises:
            InputError: A contig is missing, and is perhaps called something else; or a reference
                allele ends past its contig.
        """
        unknown = [contig for contig in self.rows if contig not in sizes]
        if unknown:
            raise self._unknown_contig(unknown, sizes)
        for contig, rows in self.rows.items():
            for row in rows:
                if row.start + len(row.ref) > sizes[contig]:
                    raise InputError(
                        self.locate(row),
                        f"{contig}:{row.start + 1}",
                        f"the allele ends past the contig, which has {sizes[contig]} bases",
                        "give the variants of this very assembly",
                    )

    def _unknown_contig(self, unknown: list[str], sizes: Mapping[str, int]) -> InputError:
        first = unknown[0]
        problem = "the genome has no such contig"
        if len(unknown) > 1:
            problem += f", nor {len(unknown) - 1} more of this file"
        meant = match_contig_names(unknown, sizes)
        remedy = f"the genome has {shortened_list(sizes)}: give variants of this very assembly"
        if first in meant:
            command = "rename with `bcftools annotate --rename-chrs`"
            if self.header is None:
                command = renaming_command(self.path, meant, complete=len(meant) == len(self.rows))
            remedy = f"the genome calls it {meant[first]}: {command}"
        return InputError(self.locate(self.rows[first][0]), first, problem, remedy)


def read_variants(path: AnyPath) -> Variants:
    """Read a VCF, or a table of contig, position, ref and alt, plain or gzip.

    Args:
        path: The file.

    Raises:
        InputError: The file cannot be read, is of another kind (BCF is), or breaks the rules of its
            kind; or positions are not in order.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "variants.tsv"
        ...     _ = path.write_text("chr1\\t5\\tA\\tC,AT\\n")
        ...     read_variants(path).rows["chr1"][0][:5]
        (1, 'chr1', 4, 'A', ('C', 'AT'))
    """
    return choose_reader(VARIANT_READERS, path, VARIANTS_REMEDY)(path)


def read_vcf(path: AnyPath) -> Variants:
    """Read a VCF, plain or gzip.

    Args:
        path: The file.

    Raises:
        InputError: As `read_variants`.
    """
    source = Source(path, VARIANTS_REMEDY)
    lines = _lines(source, "a VCF text file")
    if not lines or not lines[0].startswith("##fileformat=VCF"):
        problem = "the header is missing: a VCF begins with ##fileformat=VCF"
        raise InputError(f"{path}:1", lines[0] if lines else None, problem, VARIANTS_REMEDY)
    meta = next((n for n, line in enumerate(lines) if not line.startswith("##")), len(lines))
    columns = lines[meta].split("\t") if meta < len(lines) else []
    if tuple(columns[: len(VCF_COLUMNS)]) != VCF_COLUMNS:
        problem = "the header has no line #CHROM POS ID REF ALT QUAL FILTER INFO with tabs between"
        shown = lines[meta] if meta < len(lines) else None
        raise InputError(f"{path}:{meta + 1}", shown, problem, "restore the header")
    rows = _Rows(path)
    for number, line in enumerate(lines[meta + 1 :], start=meta + 2):
        if not line:
            continue
        fields = tuple(line.split("\t"))
        if len(fields) != len(columns):
            problem = f"the header names {len(columns)} columns"
            raise InputError(
                f"{path}:{number}", f"{len(fields)} columns", problem, "correct the row"
            )
        contig, position, _, ref, alt = fields[:5]
        rows.add(number, contig, position, ref, alt, fields)
    return rows.variants(source.sha256, tuple(lines[: meta + 1]))


def read_table(path: AnyPath) -> Variants:
    """Read a table of contig, position (1-based), ref and alt with tabs between, plain or gzip.

    Lines that begin with `#` and blank lines are skipped, and so is a first line with the names of
    the columns.

    Args:
        path: The file.

    Raises:
        InputError: As `read_variants`.
    """
    source = Source(path, VARIANTS_REMEDY)
    rows = _Rows(path)
    for number, line in enumerate(_lines(source, "a text table"), start=1):
        fields = line.split("\t")
        if not line.strip() or line.startswith("#") or tuple(fields) == TABLE_COLUMNS:
            continue
        if len(fields) != len(TABLE_COLUMNS):
            problem = f"a table has {', '.join(TABLE_COLUMNS)}, with tabs between, and a VCF "
            problem += "begins with ##fileformat=VCF"
            shown = f"{len(fields)} columns"
            raise InputError(f"{path}:{number}", shown, problem, VARIANTS_REMEDY)
        contig, position, ref, alt = fields
        rows.add(number, contig, position, ref, alt, ())
    return rows.variants(source.sha256, None)


VARIANT_READERS = {"a table of variants": read_table, "VCF": read_vcf}
"""Readers by kind of file; a text of no known kind is a table."""


def _lines(source: Source, what: str) -> list[str]:
    return source.read_text(what).removesuffix("\n").split("\n")


class _Rows:
    """The rows of a file, as they are read."""

    def __init__(self, path: AnyPath) -> None:
        self._path = path
        self._rows: dict[str, list[VariantRow]] = {}
        self._contig: str | None = None
        self._count = 0

    def add(
        self, line: int, contig: str, position: str, ref: str, alt: str, fields: tuple[str, ...]
    ) -> None:
        """Check a row, and keep it."""
        place = f"{self._path}:{line}"
        self._count += 1
        if self._count > MOST_ROWS:
            problem = f"the file has more than {MOST_ROWS:,} rows"
            raise InputError(place, None, problem, "split it, for example by contig")
        if not contig or contig != contig.strip():
            raise InputError(place, contig or "''", "is no name of a contig", "correct the row")
        if not _POSITION.fullmatch(position):
            problem = "the position is no whole number from 1 on"
            raise InputError(place, position or "''", problem, "positions are 1-based")
        if not _BASES.fullmatch(ref):
            raise InputError(place, ref or "''", "the reference allele has no bases", "correct it")
        alts = tuple(alt.split(","))
        for one in alts:
            if not (_BASES.fullmatch(one) or _OTHER_ALLELE.fullmatch(one)):
                raise InputError(place, one or "''", "is no alternative allele", "correct it")
        start = int(position) - 1
        rows = self._rows.setdefault(contig, [])
        if rows and contig != self._contig:
            problem = f"not sorted: rows of {contig} are also before those of {self._contig}"
            raise InputError(place, f"{contig}:{position}", problem, SORT)
        if rows and start < rows[-1].start:
            problem = f"not sorted: it comes after {rows[-1].start + 1}"
            raise InputError(place, f"{contig}:{position}", problem, SORT)
        self._contig = contig
        bases = tuple(one.upper() if _BASES.fullmatch(one) else one for one in alts)
        rows.append(VariantRow(line, contig, start, ref.upper(), bases, fields))

    def variants(self, sha256: str, header: tuple[str, ...] | None) -> Variants:
        """Return all rows, of which there must be one."""
        if not self._rows:
            raise InputError(self._path, None, "the file has no variants", VARIANTS_REMEDY)
        return Variants(self._path, sha256, self._rows, header)

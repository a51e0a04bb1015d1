"""Scored variants as a VCF: the rows of the file that was read, with INFO fields of their own.

The file is bgzip, so that `tabix` indexes it and `bcftools` reads parts of it.
Format: https://samtools.github.io/hts-specs/VCFv4.3.pdf, and SAMv1.pdf for BGZF.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import pyarrow as pa

from hyena_ray.files import atomic_file
from hyena_ray.genome.source import BGZF_EOF
from hyena_ray.genome.variant_files import VCF_COLUMNS, VariantRow, Variants
from hyena_ray.prediction.variant_shards import CheckedVariants
from hyena_ray.prediction.variant_tables import shown
from hyena_ray.storage import AnyPath

VCF = "variants.vcf.gz"
"""Name of the file."""
BLOCK = 0xFF00
"""Most bytes of text in a block of bgzip, as htslib writes them."""
_HEAD = struct.Struct("<4BI2BH2B2H")
_TAIL = struct.Struct("<2I")
_CONTIG = re.compile(r"^##contig=<ID=([^,>]+)")


class InfoField(NamedTuple):
    """A field of INFO with one value for each alternative allele."""

    name: str
    """Its ID."""
    column: str
    """Column of the table of alleles."""
    kind: str
    """Type of its values."""
    description: str
    """What it is, without quotes."""


INFO_FIELDS = (
    InfoField("HR_REF", "highest_ref", "Float", "Highest probability in the reference window"),
    InfoField("HR_ALT", "highest_alt", "Float", "Highest probability in the window of the allele"),
    InfoField("HR_CHANGE", "change", "Float", "Change of the highest probability"),
    InfoField("HR_SD", "change_sd", "Float", "Standard deviation of HR_CHANGE over the models"),
    InfoField("HR_SUM", "summed_change", "Float", "Change of the summed log-odds of the window"),
    InfoField(
        "HR_SUM_SD", "summed_change_sd", "Float", "Standard deviation of HR_SUM over the models"
    ),
    InfoField(
        "HR_LARGEST", "largest_change", "Float", "Largest change of the probability of a base"
    ),
    InfoField("HR_AT", "changed_at", "Integer", "Position of that base, 1-based"),
    InfoField("HR_RANK", "rank", "Integer", "Rank by the size of HR_SUM, 1 for the largest"),
    InfoField("HR_CALL", "call", "String", "Call at the threshold: gained or lost"),
    InfoField("HR_DISTANCE", "region_distance", "Integer", "Bases to the nearest region"),
)
"""Fields that are written, those without any value left out."""


def write_vcf(
    variants: Variants, checked: CheckedVariants, table: pa.Table, folder: AnyPath
) -> None:
    """Write the VCF of a run atomically.

    Rows and other fields are as in the file that was read; of a table a VCF is made. A skipped
    allele has no values.

    Args:
        variants: The file that was read.
        checked: Its alleles.
        table: Table of scored alleles.
        folder: Folder of the run.
    """
    with atomic_file(folder / VCF) as path, path.open("wb") as stream:
        lines = (f"{line}\n".encode() for line in vcf_lines(variants, checked, table))
        stream.writelines(bgzip_blocks(lines))


def vcf_lines(variants: Variants, checked: CheckedVariants, table: pa.Table) -> Iterator[str]:
    """Yield the lines of the VCF.

    Args:
        variants: The file that was read.
        checked: Its alleles.
        table: Table of scored alleles.
    """
    fields = [
        field
        for field in INFO_FIELDS
        if field.column in table.column_names and table[field.column].null_count < table.num_rows
    ]
    yield from _header(variants, checked.sizes, fields)
    values = zip(*(table[field.column].to_pylist() for field in fields), strict=True)
    places = iter(checked.alleles)
    for rows in variants.rows.values():
        for row in rows:
            own = [next(places) for _ in row.alts]
            scored = [next(values) if one.allele is not None else None for one in own]
            yield _row(row, fields, scored)


def _header(
    variants: Variants, sizes: Mapping[str, int], fields: Iterable[InfoField]
) -> Iterator[str]:
    header = variants.header or ("##fileformat=VCFv4.3", "\t".join(VCF_COLUMNS))
    *meta, columns = (line for line in header if not line.startswith("##INFO=<ID=HR_"))
    yield from meta
    named = {found[1] for line in meta if (found := _CONTIG.match(line))}
    for contig in variants.rows:
        if contig not in named:
            yield f"##contig=<ID={contig},length={sizes[contig]}>"
    for field in fields:
        yield (
            f"##INFO=<ID={field.name},Number=A,Type={field.kind},"
            f'Description="{field.description}",Source="hyena-ray">'
        )
    yield columns


def _row(row: VariantRow, fields: Iterable[InfoField], scored: list[tuple[Any, ...] | None]) -> str:
    own = row.fields or (row.contig, str(row.start + 1), ".", row.ref, ",".join(row.alts), *"...")
    info = [part for part in own[7].split(";") if part != "." and not part.startswith("HR_")]
    for at, field in enumerate(fields):
        texts = [_text(None if values is None else values[at]) for values in scored]
        if any(text != "." for text in texts):
            info.append(f"{field.name}={','.join(texts)}")
    return "\t".join((*own[:7], ";".join(info) or ".", *own[8:]))


def _text(value: object) -> str:
    return str(shown(value)) or "."


def bgzip_blocks(parts: Iterable[bytes]) -> Iterator[bytes]:
    """Yield text as blocks of bgzip, which are a gzip file together.

    Args:
        parts: The text.

    Example:
        >>> import gzip
        >>> gzip.decompress(b"".join(bgzip_blocks([b"chr1", b"\\t5\\n"])))
        b'chr1\\t5\\n'
    """
    held = bytearray()
    for part in parts:
        held += part
        while len(held) >= BLOCK:
            yield _block(bytes(held[:BLOCK]))
            del held[:BLOCK]
    if held:
        yield _block(bytes(held))
    yield BGZF_EOF


def _block(text: bytes) -> bytes:
    packer = zlib.compressobj(6, zlib.DEFLATED, -15)
    packed = packer.compress(text) + packer.flush()
    size = _HEAD.size + len(packed) + _TAIL.size
    # Of gzip: its mark, an extra field of 6 bytes, no time; in it the size of the block, less 1.
    head = _HEAD.pack(0x1F, 0x8B, 8, 4, 0, 0, 0xFF, 6, ord("B"), ord("C"), 2, size - 1)
    return head + packed + _TAIL.pack(zlib.crc32(text), len(text))

"""Files of variants are read strictly, and what is wrong is named with its line."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from hyena_ray.errors import InputError
from hyena_ray.genome.variant_files import read_variants

HEADER = "##fileformat=VCFv4.2\n"
COLUMNS = "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"


def row(*fields: str) -> str:
    return "\t".join((*fields, ".", "PASS", ".")) + "\n"


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("packed", [False, True])
def test_a_vcf_and_a_table_say_the_same(tmp_path: Path, end: str, packed: bool) -> None:
    rows = [("c1", 5, "a", "C,gt"), ("c1", 5, "A", "<DEL>"), ("c2", 1, "NA", "*,.")]
    texts = {
        "v.vcf": HEADER + COLUMNS + "".join(row(c, str(at), "id", r, a) for c, at, r, a in rows),
        "v.tsv": "contig\tposition\tref\talt\n"
        + "".join(f"{c}\t{at}\t{r}\t{a}\n" for c, at, r, a in rows),
    }
    found = []
    for name, text in texts.items():
        content = text.replace("\n", end).encode()
        path = tmp_path / (f"{name}.gz" if packed else name)
        path.write_bytes(gzip.compress(content) if packed else content)
        variants = read_variants(path)
        found.append([own[1:5] for rows_of in variants.rows.values() for own in rows_of])
    assert found[0] == found[1]
    assert found[0] == [
        ("c1", 4, "A", ("C", "GT")),
        ("c1", 4, "A", ("<DEL>",)),
        ("c2", 0, "NA", ("*", ".")),
    ]


BAD: dict[str, tuple[str, str]] = {
    "no header": (row("c1", "5", ".", "A", "C"), r"x\.vcf:1: .*the header is missing"),
    "no columns": (HEADER + row("c1", "5", ".", "A", "C"), r"x\.vcf:2: .*no line #CHROM"),
    "nothing but meta": (HEADER, r"x\.vcf:2: the header has no line #CHROM"),
    "no rows": (HEADER + COLUMNS, r"x\.vcf: the file has no variants"),
    "columns": (HEADER + COLUMNS + "c1\t5\tA\tC\n", r"x\.vcf:3: 4 columns: .*names 8"),
    "position": (HEADER + COLUMNS + row("c1", "0", ".", "A", "C"), r"x\.vcf:3: 0: .*from 1 on"),
    "text": (HEADER + COLUMNS + row("c1", "1e3", ".", "A", "C"), r"x\.vcf:3: 1e3: .*whole"),
    "ref": (HEADER + COLUMNS + row("c1", "5", ".", "", "C"), r"x\.vcf:3: '': .*no bases"),
    "alt": (HEADER + COLUMNS + row("c1", "5", ".", "A", "C,"), r"x\.vcf:3: '': is no altern"),
    "formula": (HEADER + COLUMNS + row("c1", "5", ".", "A", "=1"), r"x\.vcf:3: =1: is no altern"),
    "unsorted": (
        HEADER + COLUMNS + row("c1", "5", ".", "A", "C") + row("c1", "4", ".", "A", "C"),
        r"x\.vcf:4: c1:4: not sorted: it comes after 5; .*bcftools sort",
    ),
    "contigs apart": (
        HEADER + COLUMNS + "".join(row(c, "5", ".", "A", "C") for c in ("c1", "c2", "c1")),
        r"x\.vcf:5: c1:5: not sorted",
    ),
    "BCF": ("BCF\x02\x02", r"x\.vcf: is BCF; what is read is a table of variants, VCF"),
    "FASTA": (">c1\nACGT\n", r"x\.vcf: is FASTA"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_wrong_is_named_with_its_line(tmp_path: Path, case: str) -> None:
    text, message = BAD[case]
    path = tmp_path / "x.vcf"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        read_variants(path)


def test_a_table_has_four_columns(tmp_path: Path) -> None:
    path = tmp_path / "x.tsv"
    path.write_text("#a comment\n\nc1\t5\t.\tA\tC\n")
    with pytest.raises(InputError, match=r"x\.tsv:3: 5 columns: a table has contig, position"):
        read_variants(path)

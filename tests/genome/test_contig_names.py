"""A contig under another name is recognised, and the command that renames it works."""

from __future__ import annotations

import gzip
import subprocess
from pathlib import Path

import numpy as np
import pytest

from hyena_ray.errors import InputError
from hyena_ray.genome.contig_names import (
    match_contig_names,
    normalise_contig_name,
    renaming_command,
)
from hyena_ray.genome.contigs import open_genome
from hyena_ray.genome.region_files import read_regions
from hyena_ray.genome.splits import parse_split
from hyena_ray.storage import S3Path
from tests.binary_files import twobit_bytes


@pytest.mark.parametrize(
    "names",
    [
        ["1", "chr1", "Chr1", "01", "chr01", "NC_000001.10", "NC_000001.11", "CM000663.2"],
        ["X", "chrX", "x", "NC_000023.11", "CM000685.2", "NC_060947.1"],
        ["Y", "chrY", "NC_000024.10", "CM000686.2", "NC_060948.1"],
        ["MT", "chrM", "M", "chrMT", "NC_012920.1", "NC_005089.1"],
        ["19", "NC_000085.7", "CM001012.3"],
        ["22", "NC_000022.11", "NC_060946.1", "chr22"],
        ["chr1_KI270706v1_random", "1_KI270706v1_random"],
        ["0", "chr0", "00"],
    ],
)
def test_all_names_of_a_contig_are_one(names: list[str]) -> None:
    assert len({normalise_contig_name(name) for name in names}) == 1


def test_other_contigs_have_other_names() -> None:
    names = ["1", "10", "11", "X", "Y", "MT", "chrUn", "KI270706.1", "NC_000002.12", "NC_000067.7"]
    assert len({normalise_contig_name(name) for name in [*names[1:], "chr3"]}) == len(names)
    assert normalise_contig_name("NC_000067.7") == normalise_contig_name("NC_000001.11")  # of mouse
    assert match_contig_names(["1", "2"], ["chr2", "02"]) == {"2": "chr2"}


STYLES: dict[str, tuple[list[str], list[str], str]] = {
    "Ensembl": (["1", "X", "MT"], ["chr1", "chr2", "chrX", "chrM"], "sed -E "),
    "Ensembl without M": (["1", "X"], ["chr1", "chrX"], "sed -E "),
    "UCSC": (["chr1", "chrX", "chrM"], ["1", "2", "X", "MT"], "sed 's/^chrM/MT/; s/^chr//'"),
    "UCSC and M": (["chr1", "chrM"], ["1", "M"], "awk "),
    "RefSeq": (["NC_000001.11", "NC_000023.11"], ["chr1", "chrX"], "awk "),
    "to RefSeq": (["chr1", "chr10"], ["NC_000001.11", "NC_000010.11"], "awk "),
    "only some": (["chr1", "2", "X"], ["chr1", "chr2", "chrX"], "awk "),
    "zeros": (["01", "2"], ["1", "2"], "awk "),
}
HEADER = "track name=x\n#chrom\tstart\tend\n\n"


@pytest.mark.parametrize("case", STYLES)
@pytest.mark.parametrize("name", ["my regions.bed", "x.bed.gz", "x.narrowPeak"])
def test_the_command_in_the_message_makes_the_file_fit(
    tmp_path: Path, case: str, name: str
) -> None:
    given, genome, tool = STYLES[case]
    rest = "\tp\t0\t.\t1\t1\t1\t0" if name.endswith("Peak") else ""
    text = HEADER + "".join(f"{contig}\t5\t{9 + n}{rest}\n" for n, contig in enumerate(given))
    path = tmp_path / name
    path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    with pytest.raises(InputError) as refusal:
        read_regions(path).check_contigs(genome)
    command = str(refusal.value).partition("rename with ")[2]
    assert tool in command
    subprocess.run(["/bin/sh", "-c", command], cwd=tmp_path, check=True)
    renamed = tmp_path / f"renamed_{name.removesuffix('.gz')}"
    assert renamed.read_text().startswith(HEADER)
    regions = read_regions(renamed)
    regions.check_contigs(genome)
    assert [normalise_contig_name(contig) for contig in regions.rows] == [
        normalise_contig_name(contig) for contig in given
    ]


def message(tmp_path: Path, contigs: list[str], genome: list[str]) -> str:
    path = tmp_path / "x.bed"
    path.write_text("".join(f"{contig}\t1\t5\n" for contig in contigs))
    with pytest.raises(InputError) as refusal:
        read_regions(path).check_contigs(genome)
    return str(refusal.value).removeprefix(f"{tmp_path}/")


def test_a_file_of_another_assembly_is_distinguished_from_a_few_unknown_contigs(
    tmp_path: Path,
) -> None:
    genome = ["chr1", "chr2", "chr3"]
    none = message(tmp_path, ["1", "2"], genome)
    assert none.startswith(
        "x.bed:1: 1: the genome has none of the 2 contigs of this file; the genome calls it chr1: "
    )
    some = message(tmp_path, ["chr1", "2", "3"], genome)
    assert some.startswith(
        "x.bed:2: 2: the genome has no such contig, nor 1 more of this file; the genome calls it "
    )
    assert message(tmp_path, ["part_7"], [f"chr{n}" for n in range(9)]) == (
        "x.bed:1: part_7: the genome has no such contig; the genome has chr0, chr1, chr2, chr3, "
        "5 more: give regions of this very assembly"
    )


def test_a_name_that_a_shell_would_interpret_is_in_no_command(tmp_path: Path) -> None:
    said = message(tmp_path, ["chr1'$(rm)"], ["1'$(rm)"])
    assert said.endswith("the genome calls it 1'$(rm): rename the 1 that differ")


def test_a_bigbed_is_unpacked_first_and_s3_is_copied(tmp_path: Path) -> None:
    assert renaming_command(Path("a/x.bb"), {"1": "chr1"}, complete=True).startswith(
        "rename with bigBedToBed a/x.bb stdout | sed -E "
    )
    assert " x.bed > renamed_x.bed" in renaming_command(
        S3Path("b/x.bed"), {"chr1": "1"}, complete=True
    )


def test_a_split_names_contigs_as_the_genome_does() -> None:
    split = parse_split("contig:train=chr1;val=2;test=3")
    with pytest.raises(InputError, match=r"--split: 2: .*; the genome calls it chr2"):
        split.check_contigs(["chr1", "chr2", "chr3"])


UNWRITABLE = ["=cmd|x", "@SUM", "+1", "-x", "#chr1", "!x", ">x", "track", "Browser1", '"a', "'a"]


@pytest.mark.parametrize("name", [*UNWRITABLE, "a\x1b[31mb", "a\u202eb"])
def test_a_name_that_a_table_or_terminal_would_change_is_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / "genome.fa"
    path.write_text(f">chr1\nACGT\n>{name} of a test\nACGT\n")
    with pytest.raises(InputError) as refusal:
        list(open_genome(path))
    assert str(refusal.value).startswith(f"{path}:3: ")
    assert str(refusal.value).isprintable()
    (tmp_path / "genome.2bit").write_bytes(twobit_bytes([(name, "ACGT")]))
    with pytest.raises(InputError):
        list(open_genome(tmp_path / "genome.2bit"))


def test_a_table_of_splits_can_name_every_contig(tmp_path: Path) -> None:
    names = {"a,b": "train", "a;b": "train", "c=d": "val", 'e"f': "test", "g h": "test"}
    table = tmp_path / "splits.tsv"
    table.write_text("".join(f"{name}\t{split}\r\n" for name, split in names.items()))
    split = parse_split(f"file:{table}")
    assert split.names == ("train", "val", "test")
    positive = np.ones(1, bool)
    assert {name: split.names[split.assign(name, positive, [0])[0]] for name in names} == names
    assert split.assign("other", positive, [0]).tolist() == [-1]
    split.check_contigs(names)


BAD_TABLES = {
    "a\ttrain\na\tval\n": ":2: a: the contig is named twice",
    "a\ttrian\n": ":1: trian: unknown split, did you mean train",
    "a train\n": ":1: a train: not a contig and its split",
    "\n": ": the file has no contig",
}


@pytest.mark.parametrize("text", BAD_TABLES)
def test_a_table_of_splits_that_cannot_be_read_is_refused(tmp_path: Path, text: str) -> None:
    table = tmp_path / "splits.tsv"
    table.write_text(text)
    with pytest.raises(InputError) as refusal:
        parse_split(f"file:{table}")
    assert str(refusal.value).startswith(f"{table}{BAD_TABLES[text]}")

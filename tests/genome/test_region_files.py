"""Regions in every kind of file give the same intervals; other kinds are refused by their name."""

from __future__ import annotations

import gzip
import hashlib
from pathlib import Path

import pyBigWig
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hyena_ray.errors import InputError
from hyena_ray.genome.contigs import open_genome
from hyena_ray.genome.region_files import Regions, read_regions
from hyena_ray.storage import S3Path
from tests.binary_files import NARROW_PEAK, Item, bigbed_bytes, twobit_bytes

SIZES = {"chr1": 2000, "chr10": 900, "chr2": 50, "chrX": 300}
INTERVALS = [("chr1", 10, 25), ("chr1", 160, 175), ("chr1", 170, 400), ("chr10", 0, 1)]
INTERVALS += [("chrX", 5, 9), ("chrX", 200, 300)]
GOOD_9 = "chr1\t1\t9\tp\t0\t.\t1\t9\t0"
PEAK = "peak{n}\t{n}\t.\t7.5\t1e-3\t-1"


def rows(*columns: str) -> str:
    """A row for each interval, with the given columns behind it."""
    return "".join(
        "\t".join((contig, str(start), str(end), *columns)).format(n=number) + "\n"
        for number, (contig, start, end) in enumerate(INTERVALS)
    )


def bigbed(rest: str = "", sql: str = "") -> bytes:
    items = [Item(*interval, rest.format(n=n)) for n, interval in enumerate(INTERVALS)]
    return bigbed_bytes(items, SIZES, sql=sql)


FILES: dict[str, bytes] = {
    "x.bed": rows().encode(),
    "x.txt": rows("name", "0", "+").encode(),
    "x.bed.gz": gzip.compress(rows().encode()),
    "x.narrowPeak": rows(PEAK, "0").encode(),
    "X.NARROWPEAK.GZ": gzip.compress(rows(PEAK, "-1").encode()),
    "crlf.narrowPeak": (
        'track type=narrowPeak name="x"\n# chrom\n' + rows(PEAK, "0").replace("\n", "\r\n")
    ).encode(),
    "x.broadPeak": rows(PEAK).encode(),
    "x.broadPeak.gz": gzip.compress(rows(PEAK).encode()),
    "x.bb": bigbed(),
    "x.bigBed": bigbed("name\t0\t+"),
    "peaks.bb": bigbed(PEAK + "\t0", NARROW_PEAK),
    "called_bed.bed": bigbed(),
}


def intervals(regions: Regions) -> list[tuple[str, int, int]]:
    return [
        (contig, int(start), int(end))
        for contig, of in regions.rows.items()
        for start, end in zip(of.start, of.end, strict=True)
    ]


@pytest.mark.parametrize("name", FILES)
def test_every_kind_of_file_has_the_same_intervals(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(FILES[name])
    regions = read_regions(tmp_path / name)
    assert intervals(regions) == INTERVALS
    assert regions.sha256 == hashlib.sha256(FILES[name]).hexdigest()


@pytest.mark.parametrize("name", ["x.narrowPeak", "peaks.bb"])
def test_regions_are_read_from_s3(bucket: S3Path, name: str) -> None:
    (bucket / name).write_bytes(FILES[name])
    assert intervals(read_regions(bucket / name)) == INTERVALS


SPAN = st.tuples(st.sampled_from(sorted(SIZES)), st.integers(0, 40), st.integers(1, 10))


@settings(deadline=None, max_examples=40)
@given(st.sets(SPAN, min_size=1, max_size=30), st.integers(1, 5))
def test_what_was_written_as_bigbed_is_read(
    tmp_path_factory: pytest.TempPathFactory, spans: set[tuple[str, int, int]], per_block: int
) -> None:
    items = sorted(Item(contig, start, start + size, "a\t1") for contig, start, size in spans)
    path = tmp_path_factory.mktemp("bigbed") / "x.bb"
    path.write_bytes(bigbed_bytes(items, SIZES, per_block=per_block))
    assert intervals(read_regions(path)) == [item[:3] for item in items]


TWICE = [("chr1", 10, 25), ("chr1", 10, 25)]


@pytest.mark.parametrize("kind", ["narrowPeak", "bb"])
def test_a_peak_with_two_summits_is_one_interval(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"x.{kind}"
    rest = [f"p\t0\t.\t1\t1\t1\t{summit}" for summit in (3, 9, 9)]

    def write(count: int) -> None:
        if kind == "bb":
            items = [Item("chr1", 10, 25, of) for of in rest[:count]]
            path.write_bytes(bigbed_bytes(items, SIZES, sql=NARROW_PEAK))
        else:
            path.write_text("".join(f"chr1\t10\t25\t{of}\n" for of in rest[:count]))

    write(2)
    assert intervals(read_regions(path)) == TWICE
    assert read_regions(path).merged("chr1", 100).end.tolist() == [25]
    write(3)
    place = "x.bb: item 3" if kind == "bb" else "x.narrowPeak:3"
    with pytest.raises(InputError, match=f"{place}: chr1:10-25: repeats the interval of .* 2; "):
        read_regions(path)


def test_an_item_of_a_bigbed_that_ends_past_its_contig_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.bb").write_bytes(FILES["x.bb"])
    regions = read_regions(tmp_path / "x.bb")
    with pytest.raises(InputError, match=r"x\.bb: item 3: chr1:170-400: ends past the contig, whi"):
        regions.merged("chr1", 399)


LINE_ENDS = st.sampled_from(["\n", "\r\n", "\r"])
LINES = ["# regions", 'track name="x"', "browser position chr1", *rows("High Signal").splitlines()]


@settings(deadline=None, max_examples=60)
@given(st.permutations(LINES), st.lists(LINE_ENDS, min_size=len(LINES), max_size=len(LINES)))
def test_no_line_end_hides_a_row(
    tmp_path_factory: pytest.TempPathFactory, lines: list[str], ends: list[str]
) -> None:
    path = tmp_path_factory.mktemp("ends") / "x.bed"
    path.write_bytes("".join(map("".join, zip(lines, ends, strict=True))).encode())
    assert sorted(intervals(read_regions(path))) == INTERVALS


BLOCKS = [("chr1", 100, 120), ("chr1", 1080, 1100), ("chr2", 5, 9)]
BED12 = [
    ("chr1", 100, 1100, "gene\t0\t+\t100\t1100\t0\t2\t20,20,\t0,980,"),
    ("chr2", 5, 9, "one\t0\t-\t5\t9\t0\t1\t4\t0"),
]


@pytest.mark.parametrize("further", ["", "\t7.5\t-1\t-1"], ids=["BED12", "gappedPeak"])
@pytest.mark.parametrize("name", ["x.bed", "x.bb"])
def test_of_a_row_with_blocks_the_blocks_are_regions(
    tmp_path: Path, name: str, further: str
) -> None:
    path = tmp_path / name
    if name == "x.bb":
        items = [Item(*item[:3], item[3] + further) for item in BED12]
        path.write_bytes(bigbed_bytes(items, SIZES))
    else:
        path.write_text("".join("\t".join(map(str, row)) + f"{further}\n" for row in BED12))
    assert intervals(read_regions(path)) == BLOCKS


def test_transcripts_that_share_a_span_or_a_block_are_no_repetition(tmp_path: Path) -> None:
    row = "chr1\t0\t100\tt{}\t0\t+\t0\t100\t0\t{}\n"
    path = tmp_path / "x.bed"
    texts = [row.format(1, "2\t10,10\t0,90"), row.format(2, "2\t10,30\t0,70")]
    path.write_text("".join(texts))
    assert read_regions(path).merged("chr1", 100).start.tolist() == [0, 70]
    path.write_text("".join([*texts, row.format(3, "2\t10,10\t0,90")]))
    with pytest.raises(InputError, match=r"x\.bed:3: chr1:0-100: repeats the interval of line 1; "):
        read_regions(path)


WHOLE_GENOME = "chr1\t0\t1000\t0\nchr1\t1000\t1020\t5.5\nchr1\t1020\t2000\t0\n"
PAIRS = "chr1\t0\t9\tchr2\t20\t29\tp1\nchr2\t0\t9\t.\t-1\t-1\tp2\n"
INTERACT = "chr1\t0\t90\tn\t0\t7\te\t0\tchr1\t0\t9\ta\t+\tchr1\t80\t90\tb\t-\n"
WIGGLE = "fixedStep chrom=chr1 start=1 step=1\n5\n6\n"
NO_REGIONS: dict[str, tuple[str, str, str]] = {
    "bedGraph by its track line": ("x.bed", f"track type=bedGraph\n{WHOLE_GENOME}", ":1: type=bed"),
    "quoted type": ("x.txt", 'track name=x type="wiggle_0"\n' + WIGGLE, ":1: type=wiggle_0: "),
    "wiggle by its declaration": ("x.bed", WIGGLE, ":1: fixedStep chrom=chr1 start=1"),
    "bedGraph by its columns": ("x.bed", WHOLE_GENOME, ":1: 0: column 4 is a number"),
    "bedGraph by its name": ("x.bedGraph.gz", WHOLE_GENOME, ": is bedGraph"),
    "bdg": ("X.BDG", WHOLE_GENOME, ": is bedGraph"),
    "wiggle by its name": ("x.wig", WIGGLE, ": is wiggle"),
    "pairs by their columns": ("x.bed", PAIRS, ":1: chr2 20 29 p1: a second interval"),
    "pairs by their name": ("x.bedpe", PAIRS, ": is BEDPE"),
    "pairs by their mark": ("x.txt", "## pairs format v1.0\n", ": is a table of pairs"),
    "interact by its track line": (
        "x.bed",
        f"track type=interact\n{INTERACT}",
        ":1: type=interact",
    ),
    "interact by its columns": ("x.bed", INTERACT, ":1: n 0 7 e"),
    "12 columns without blocks": ("x.bed", f"{GOOD_9}\ta\tb\tc\n", ":1: a b c: columns 10 to 12"),
    "more sizes than blocks": ("x.bed", f"{GOOD_9}\t1\t4,4\t0,4\n", ":1: 1 4,4 0,4: blockCount"),
    "blocks that overlap": ("x.bed", f"{GOOD_9}\t2\t5,5\t0,3\n", ":1: 2 5,5 0,3: blocks are"),
    "blocks past the end": ("x.bed", f"{GOOD_9}\t2\t4,5\t0,4\n", ":1: 2 4,5 0,4: blocks do not"),
    "blocks behind the start": ("x.bed", f"{GOOD_9}\t1\t4\t4\n", ":1: 1 4 4: blocks do not span"),
}


@pytest.mark.parametrize("case", NO_REGIONS)
def test_a_table_that_is_no_list_of_regions_is_refused(tmp_path: Path, case: str) -> None:
    name, text, message = NO_REGIONS[case]
    content = text.encode()
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    with pytest.raises(InputError) as refusal:
        read_regions(tmp_path / name)
    assert str(refusal.value).startswith(f"{tmp_path / name}{message}")


REGION_TABLES = {
    "names that are numbers": "chr1\t0\t9\t1\nchr1\t20\t29\tp2\n",
    "a score": "chr1\t0\t9\tname\t5\nchr1\t20\t29\tname\t7\n",
    "BED9": "chr1\t0\t9\tn\t0\t+\t0\t9\t0\nchr1\t20\t29\tn\t0\t-\t20\t29\t0\n",
    "bedMethyl": "".join(
        f"chr1\t{s}\t{s + 9}\tm\t5\t+\t{s}\t{s + 9}\t0\t5\t40.0\t2\t3\n" for s in (0, 20)
    ),
    "a track of BED": "track type=bed name=x\nchr1\t0\t9\nchr1\t20\t29\n",
    "blank lines": "chr1\t0\t9\n  \nchr1\t20\t29\n\t\n",
}


@pytest.mark.parametrize("case", REGION_TABLES)
def test_a_list_of_regions_is_read_whatever_its_further_columns(tmp_path: Path, case: str) -> None:
    (tmp_path / "x.bed").write_text(REGION_TABLES[case])
    assert intervals(read_regions(tmp_path / "x.bed")) == [("chr1", 0, 9), ("chr1", 20, 29)]


def bigwig(folder: Path) -> bytes:
    path = folder / "made.bw"
    with pyBigWig.open(str(path), "w") as track:
        track.addHeader([("chr1", 100)])
        track.addEntries(["chr1"], [0], ends=[10], values=[1.0])
    return path.read_bytes()


GOOD = "chr1\t1\t9\tp\t0\t.\t1\t1\t1"
BAD: dict[str, tuple[str, str | bytes, str]] = {
    "narrowPeak of nine": (
        "x.narrowPeak",
        f"{GOOD}\n",
        "x.narrowPeak:1: 9 columns: narrowPeak has 10: chrom, chromStart, chromEnd, name, score, "
        "strand, signalValue, pValue, qValue, peak; restore the columns, or give the file a name "
        "that ends in .broadPeak",
    ),
    "broadPeak of three": (
        "x.broadPeak.gz",
        gzip.compress(b"chr1\t1\t9\n"),
        "x.broadPeak.gz:1: 3 columns: broadPeak has 9: chrom, chromStart, chromEnd, name, score, "
        "strand, signalValue, pValue, qValue; restore the columns, or give the file a name that "
        "ends in .bed",
    ),
    "score": (
        "x.broadPeak",
        GOOD + "\n" + GOOD.replace("p\t0", "p\thigh") + "\n",
        "x.broadPeak:2: high: score, column 5 of broadPeak, is a number; correct it, or give the "
        "file a name that ends in .bed, for its first three columns",
    ),
    "strand": (
        "x.broadPeak",
        GOOD.replace(".", "*"),
        "x.broadPeak:1: *: strand, column 6 of broadPeak, is one of + - .; ",
    ),
    "summit past the end": (
        "x.narrowPeak",
        f"{GOOD}\t8\n",
        "x.narrowPeak:1: 8: peak, column 10 of narrowPeak, is -1, or a base of the interval, "
        "counted from 0 (8 bases); ",
    ),
    "summit in the genome": ("x.narrowPeak", f"{GOOD}\t10.5", "x.narrowPeak:1: 10.5: peak, col"),
    "end before start": (
        "x.narrowPeak",
        f"{GOOD}\t0\n".replace("\t9\t", "\t1\t"),
        "x.narrowPeak:1: chr1:1-1: end 1 is not after start 1; BED is 0-based, half-open",
    ),
    "BED called bigBed": (
        "x.bb",
        "chr1\t1\t9\n",
        "x.bb: is called bigBed, and does not begin as one; copy or download the file again, or "
        "give it the name of what it is",
    ),
    "bigBed in gzip": (
        "x.bb.gz",
        gzip.compress(FILES["x.bb"]),
        "x.bb.gz: bigBed inside gzip, where it cannot be read; unpack it with gunzip",
    ),
    "2bit": (
        "x.bed",
        twobit_bytes([("a", "ACGT")]),
        "x.bed: is 2bit; what is read is BED, narrowPeak, broadPeak, bigBed; give --regions a BED",
    ),
    "FASTA": ("x.bed", ">chr1\nACGT\n", "x.bed: is FASTA; what is read is BED, "),
    "GTF": ("x.gtf.gz", gzip.compress(b"chr1\ta\tb\n"), "x.gtf.gz: is GTF or GFF; what is read is"),
    "VCF": ("x", "##fileformat=VCFv4.2\n", "x: is VCF; what is read is BED, "),
    "zip": ("x.bed.zip", b"PK\x03\x04rest", "x.bed.zip: is zip; what is read is BED, "),
    "BAM": ("x.bam", gzip.compress(b"BAM\x01"), "x.bam: is BAM; what is read is BED, "),
    "truncated gzip": ("x.bed.gz", FILES["x.bed.gz"][:-9], "x.bed.gz: damaged gzip ("),
    "header of a bigBed": ("x.bb", FILES["x.bb"][:40], "x.bb: damaged bigBed (it is cut short); "),
    "bigBed without its end": ("x.bb", FILES["x.bb"][:-120], "x.bb: damaged bigBed ("),
    "bigBed of another order": (
        "x.bb",
        FILES["x.bb"][3::-1] + FILES["x.bb"][4:],
        "x.bb: a bigBed file of another byte order; write it anew, with bedToBigBed",
    ),
    "bigBed with a changed block": (
        "x.bb",
        FILES["x.bb"].replace(b"\x78\x9c", b"\x78\x00"),
        "x.bb: damaged bigBed (",
    ),
    "bigBed of which items are missing": (
        "x.bb",
        bigbed_bytes([Item("a", 1, 2)], {"a": 9}).replace(
            (1).to_bytes(8, "little") + b"\x78\x9c", (2).to_bytes(8, "little") + b"\x78\x9c"
        ),
        "x.bb: damaged bigBed (1 of 2 items could be read); copy or download the file again",
    ),
    "no item": ("x.bb", bigbed_bytes([], {"a": 9}), "x.bb: the file has no intervals; "),
}


@pytest.mark.parametrize("case", BAD)
def test_a_file_of_another_kind_is_refused_by_its_kind(tmp_path: Path, case: str) -> None:
    name, content, message = BAD[case]
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError) as refusal:
        read_regions(path)
    assert str(refusal.value).startswith(f"{tmp_path}/{message}")
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("name", ["x.bw", "x.bb", "x.bed"])
def test_a_bigwig_is_refused_as_regions(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(bigwig(tmp_path))
    with pytest.raises(InputError, match=f"{name}: is bigWig; what is read is BED, "):
        read_regions(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.fa", FILES["x.bb"], "is bigBed; what is read is FASTA, 2bit; give --genome a FASTA or"),
        ("x.2bit", b"ACGT\n", "is called 2bit, and does not begin as one"),
        ("x.2bit", b"", "is called 2bit, and does not begin as one"),
        ("x.2bit.gz", gzip.compress(twobit_bytes([("a", "A")])), "2bit inside gzip, where it can"),
        ("x.fq.gz", gzip.compress(b"@read\nA\n+\nI\n"), "is FASTQ; what is read is FASTA, 2bit; "),
    ],
)
def test_a_genome_of_another_kind_is_refused_by_its_kind(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError) as refusal:
        open_genome(tmp_path / name)
    assert str(refusal.value).startswith(f"{tmp_path / name}: {message}")

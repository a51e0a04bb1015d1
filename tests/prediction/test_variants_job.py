"""The job of variants writes what a loop finds, through any death of actors; bcftools reads it."""

from __future__ import annotations

import csv
import gzip
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from hyena_ray.cluster.pool import ShardError
from hyena_ray.cluster.resources import Cluster
from hyena_ray.dataset.tokens import codes_to_tokens
from hyena_ray.errors import InputError
from hyena_ray.files import read_json
from hyena_ray.genome.variant_alleles import cut_windows, encoded, normalise
from hyena_ray.model.build import build_model
from hyena_ray.model.saved import load_window_model, save_window_model
from hyena_ray.model.settings import LoraSettings, ModelSettings, Readout
from hyena_ray.outcomes import Outcome
from hyena_ray.prediction import variant_shards as module
from hyena_ray.prediction.variant_scores import Places, VariantScorer
from hyena_ray.tasks import TASKS
from tests.command_line import run_job
from tests.prediction.pattern_model import save_pattern_model

WINDOW = 10  # of the pattern model, which calls the middle base of GATCC, and looks at no other
GENOME = {
    "c10": "AAAAAAAAAAAAGATCCAAAAAAAAAAAAAAAAGATACAAAAAAAAAAA",
    "c2": "TTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTT",
}
HEADER = """\
##fileformat=VCFv4.2
##contig=<ID=c2>
##INFO=<ID=AF,Number=A,Type=Float,Description="Frequency">
##INFO=<ID=HR_REF,Number=1,Type=String,Description="Of an earlier run">
##FILTER=<ID=PASS,Description="All filters passed">
##FORMAT=<ID=GT,Number=1,Type=String,Description="Genotype">
#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT\tone
"""
ROWS = [
    ("c2", "8", "none", "T", "A,<DEL>", ".", "PASS", "AF=0.1,0.2;HR_REF=old", "GT", "0/1"),
    ("c2", "9", ".", "A", "G", ".", "PASS", ".", "GT", "0/1"),  # another base than the genome's
    ("c10", "15", "breaks", "T", "G,A", "7", "PASS", "AF=0.5,0.1", "GT", "1/2"),
    ("c10", "15", "deletes", "TC", "T", ".", "PASS", ".", "GT", "0/1"),
    ("c10", "37", "makes", "A", "C", ".", "PASS", ".", "GT", "0/1"),
]


@pytest.fixture(scope="module", autouse=True)
def small_shards() -> Iterator[None]:
    """By default, the few alleles of these tests would be one shard."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "SHARD_BASES", 2 * 2 * WINDOW)
        yield


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`genome.fa`, `variants.vcf`, `variants.tsv`, `regions.bed`, the models `pattern/`, `first/`
    and `second/`, and `promoter/`, which reads sequences."""
    folder = tmp_path_factory.mktemp("variants")
    text = "".join(f">{name}\n{bases}\n" for name, bases in GENOME.items())
    (folder / "genome.fa").write_text(text)
    (folder / "variants.vcf").write_text(HEADER + "".join("\t".join(row) + "\n" for row in ROWS))
    table = "".join("\t".join((row[0], row[1], row[3], row[4])) + "\n" for row in ROWS)
    (folder / "variants.tsv").write_text(table)
    (folder / "regions.bed").write_text("c10\t12\t17\nc10\t40\t42\n")
    save_pattern_model(folder / "pattern")
    readout = Readout(window=WINDOW, flank=4, lookahead=4)
    for seed, name in enumerate(("first", "second")):
        sizes = ModelSettings(d_model=8, n_layer=1)
        model = build_model(sizes, readout, LoraSettings(), TASKS["zdna"], seed=seed)
        save_window_model(model, folder / name)
    sequences = build_model(
        ModelSettings(d_model=8, n_layer=1, pooling="mean"),
        Readout(window=WINDOW, flank=0, lookahead=0),
        LoraSettings(),
        TASKS["promoter"],
        seed=0,
    )
    save_window_model(sequences, folder / "promoter")
    return folder


def job(inputs: Path, out: Path, *more: object) -> Outcome:
    """Run it; of an option that is given twice the later one counts."""
    given = ["--model", inputs / "pattern", "--genome", inputs / "genome.fa", "--cpu", "0.5"]
    given += ["--vcf", inputs / "variants.vcf", "--max-mismatches", "0.3"]
    return run_job("variants", *given, "--out", out, *more)


@pytest.fixture(scope="module")
def calm(inputs: Path, cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("calm") / "out"
    outcome = job(inputs, out, "--regions", inputs / "regions.bed", "--actors", "1")
    assert {key: outcome.found[key] for key in ("rows", "alleles", "scored", "mismatches")} == {
        "rows": 5,
        "alleles": 7,
        "scored": 5,
        "mismatches": 1,
    }
    assert (outcome.found["gained"], outcome.found["lost"]) == (1, 3)
    return out


def table_of(out: Path) -> dict[tuple[str, int, str, str], dict[str, Any]]:
    rows = pq.read_table(out / "variants.parquet").to_pylist()
    return {(row["contig"], row["position"], row["ref"], row["alt"]): row for row in rows}


def vcf_text(out: Path) -> str:
    return gzip.decompress((out / "variants.vcf.gz").read_bytes()).decode()


def test_planted_variants_break_and_make_the_pattern(calm: Path) -> None:
    rows = table_of(calm)
    assert list(rows) == [
        ("c2", 8, "T", "A"),
        ("c10", 15, "T", "G"),
        ("c10", 15, "T", "A"),
        ("c10", 15, "TC", "T"),
        ("c10", 37, "A", "C"),
    ]
    nothing, breaks, also, deletes, makes = rows.values()
    assert nothing["change"] == pytest.approx(0, abs=1e-6)
    assert (nothing["call"], nothing["region_distance"]) == ("", None)
    for row in (breaks, also, deletes):
        assert row["change"] == pytest.approx(-0.5, abs=1e-3)
        assert (row["call"], row["region_distance"]) == ("lost", 0)
        assert (row["region_start"], row["region_end"]) == (12, 17)
    assert breaks["changed_at"] == 15
    assert makes["change"] == pytest.approx(0.5, abs=1e-3)
    assert (makes["call"], makes["changed_at"], makes["region_distance"]) == ("gained", 36, 4)
    assert sorted(row["rank"] for row in rows.values()) == [1, 2, 3, 4, 5]
    assert nothing["rank"] == 5
    assert breaks["change_sd"] is None


def test_the_csv_says_what_the_table_says_and_skipped_ones_have_a_reason(calm: Path) -> None:
    rows = list(table_of(calm).values())
    with (calm / "variants.csv").open(newline="") as stream:
        for row, text in zip(rows, csv.DictReader(stream), strict=True):
            for name, value in row.items():
                if isinstance(value, float):
                    assert float(text[name]) == pytest.approx(value, rel=1e-5)
                else:
                    assert text[name] == ("" if value is None else str(value))
    assert (calm / "skipped.csv").read_text().splitlines() == [
        "line,contig,position,ref,alt,reason",
        "8,c2,8,T,<DEL>,a symbolic allele",
        "9,c2,9,A,G,reference mismatch",
    ]
    assert not (calm / "sequences").exists()
    assert run_job("verify", calm).found["kind"] == "variants"


def test_bcftools_and_tabix_read_the_vcf_and_all_that_was_in_it(calm: Path, tmp_path: Path) -> None:
    pysam, bcftools = map(pytest.importorskip, ("pysam", "pysam.bcftools"))
    # Contigs keep the order of the file, in which positions ascend, as tabix wants it.
    path = tmp_path / "v.vcf.gz"
    path.write_bytes((calm / "variants.vcf.gz").read_bytes())
    pysam.tabix_index(str(path), preset="vcf", force=True)
    rows = list(table_of(calm).values())
    with pysam.VariantFile(str(path)) as file:
        assert file.header.info["HR_REF"].number == "A"
        assert file.header.info["HR_CHANGE"].type == "Float"
        assert file.header.contigs["c10"].length == len(GENOME["c10"])
        records = list(file)
        assert [record.id for record in file.fetch("c10", 14, 15)] == ["breaks", "deletes"]
    assert [record.pos for record in records] == [int(row[1]) for row in ROWS]
    assert [record.alts for record in records] == [tuple(row[4].split(",")) for row in ROWS]
    first, wrong, breaks = records[:3]
    assert np.allclose(first.info["AF"], (0.1, 0.2))
    assert first.info["HR_ALT"][1] is None
    assert not [name for name in wrong.info if name.startswith("HR_")]
    assert [sample["GT"] for sample in breaks.samples.values()] == [(1, 2)]
    assert breaks.qual == 7
    assert np.allclose(breaks.info["HR_CHANGE"], [rows[1]["change"], rows[2]["change"]], atol=1e-6)
    assert breaks.info["HR_CALL"] == ("lost", "lost")
    assert breaks.info["HR_AT"] == (rows[1]["changed_at"], rows[2]["changed_at"])
    found = bcftools.query("-f", "%ID\t%HR_DISTANCE\n", "-i", 'HR_CALL="gained"', str(path))
    assert found == "makes\t4\n"


def test_a_table_has_the_scores_of_the_vcf_and_becomes_one(
    inputs: Path, calm: Path, cluster: Cluster, tmp_path: Path
) -> None:
    given = ["--vcf", inputs / "variants.tsv", "--regions", inputs / "regions.bed"]
    job(inputs, tmp_path / "out", *given)
    assert (tmp_path / "out/variants.csv").read_bytes() == (calm / "variants.csv").read_bytes()
    lines = vcf_text(tmp_path / "out").splitlines()
    assert lines[0] == "##fileformat=VCFv4.3"
    assert [line.split("\t")[:5] for line in lines if line[0] != "#"] == [
        [row[0], row[1], ".", row[3], row[4]] for row in ROWS
    ]


def test_several_models_have_a_mean_and_a_spread(
    inputs: Path, cluster: Cluster, tmp_path: Path
) -> None:
    folders = [inputs / name for name in ("first", "second")]
    several = ",".join(map(str, folders))
    job(inputs, tmp_path / "out", "--model", several, "--threshold", "0.5")
    codes = {name: encoded(bases) for name, bases in GENOME.items()}
    single = []
    for folder in folders:
        with VariantScorer(load_window_model(folder), batch=1) as scorer:
            own = []
            for contig, position, ref, alt in table_of(tmp_path / "out"):
                allele = normalise(codes[contig], position - 1, ref, alt)
                pair = codes_to_tokens(cut_windows(codes[contig], allele, WINDOW, 4))
                before = allele.start - allele.window_start(WINDOW)
                sizes = (before, len(allele.ref), len(allele.alt))
                places = Places(*(np.array([size]) for size in sizes))
                own.append(scorer.score(pair[None], places))
        single.append(own)
    for row, *scores in zip(table_of(tmp_path / "out").values(), *single, strict=True):
        for figure in ("change", "summed_change"):
            values = [getattr(one, figure)[0] for one in scores]
            assert row[figure] == pytest.approx(np.mean(values), abs=1e-4)
            assert row[f"{figure}_sd"] == pytest.approx(np.std(values, ddof=1), abs=1e-4)
    assert "HR_SD=" in vcf_text(tmp_path / "out")
    with pytest.raises(InputError, match="--threshold: is missing: several models"):
        job(inputs, tmp_path / "none", "--model", several)


def test_a_dry_run_counts_and_writes_nothing(
    inputs: Path, cluster: Cluster, tmp_path: Path
) -> None:
    plan = job(inputs, tmp_path / "out", "--dry-run").found
    assert (plan["alleles"], plan["scored"], plan["shards"]) == (7, 5, 3)
    assert plan["skipped"] == {"a symbolic allele": 1, "reference mismatch": 1}
    assert not (tmp_path / "out").exists()


def test_a_page_draws_both_windows_of_the_strongest(calm: Path) -> None:
    page = (calm / "report.html").read_text()
    assert "1 call gained, 3 lost" in page
    drawn = re.findall(r'id="(variant-\d)"', page)
    assert drawn == [f"variant-{rank}" for rank in (1, 2, 3, 4)]  # the last one changes nothing
    assert "a symbolic allele" in page


@pytest.mark.slow
def test_actors_that_are_killed_and_a_resumed_run_leave_what_a_calm_one_leaves(
    inputs: Path, calm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, out = module.run_shard, tmp_path / "out"
    regions = ["--regions", inputs / "regions.bed"]

    def killed(scorer: object, plan: object, index: int, folder: Path) -> None:
        marker = folder / f"killed-{index}"
        if index == 2 or not marker.exists():
            marker.touch()
            (folder / "shards" / ".part-00002.parquet.999.tmp").write_text("half a shard")
            os.kill(os.getpid(), signal.SIGKILL)
        whole(scorer, plan, index, folder)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(module, "run_shard", killed)
        with pytest.raises(ShardError, match=r"shard 2 .* failed 4 times"):
            job(inputs, out, *regions, "--actors", "2")
    assert not (out / "manifest.json").exists()
    job(inputs, out, *regions, "--resume")
    names = set(read_json(calm / "manifest.json")["outputs"].values()) - {"manifest.json"}
    for name in names:
        assert (out / name).read_bytes() == (calm / name).read_bytes(), name


def vcf(*rows: tuple[str, ...]) -> str:
    columns = HEADER.splitlines()[-1].split("\t")[:8]
    lines = ["\t".join((*row, ".", ".", ".")) for row in rows]
    return "\n".join(["##fileformat=VCFv4.2", "\t".join(columns), *lines, ""])


BAD: dict[str, tuple[str, str]] = {
    "no header": ("c2\t8\t.\tT\tA\t.\t.\t.\n", r"bad\.vcf:1: .*the header is missing"),
    "another assembly": (
        vcf(("c2", "8", ".", "A", "T"), ("c2", "9", ".", "G", "T"), ("c2", "9", ".", "T", "A")),
        r"bad\.vcf:3: A: is not what the genome has there, and so are 2 of 3 .*--max-mismatches",
    ),
    "symbolic": (
        vcf(("c2", "8", ".", "T", "<DEL>"), ("c2", "9", ".", "T", "T]c2:4]")),
        r"bad\.vcf: none of its alleles can be scored .*symbolic.*: 1.*breakend",
    ),
    "long": (
        vcf(("c10", "13", ".", "GATCCAAAAAAAA", "G")),
        r"bad\.vcf: none .*longer than 4 bases, half a window: 1",
    ),
    "past the end": (
        vcf(("c2", "33", ".", "T", "A")),
        r"bad\.vcf:3: c2:33: the allele ends past the contig, which has 32 bases",
    ),
    "unsorted": (
        vcf(("c2", "9", ".", "T", "A"), ("c2", "8", ".", "T", "A")),
        r"bad\.vcf:4: c2:8: not sorted",
    ),
    "other naming": (
        vcf(("chrc2", "8", ".", "T", "A")),
        r"bad\.vcf:3: chrc2: the genome has no such contig; the genome calls it c2: .*rename-chrs",
    ),
    "no such contig": (
        vcf(("x9", "8", ".", "T", "A")),
        r"bad\.vcf:3: x9: the genome has no such contig; the genome has c10, c2",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_scored_is_refused_in_one_line_and_nothing_is_written(
    inputs: Path, tmp_path: Path, case: str
) -> None:
    text, message = BAD[case]
    (tmp_path / "bad.vcf").write_text(text)
    with pytest.raises(InputError, match=message) as refused:
        job(inputs, tmp_path / "out", "--vcf", tmp_path / "bad.vcf")
    assert len(refused.value.lines) == 1
    assert not (tmp_path / "out").exists()


OPTIONS: dict[str, tuple[list[str], str]] = {
    "promoter": (["--model", "{}/promoter"], "promoter: labels whole sequences"),
    "vcf": (["--vcf", "nowhere.vcf"], r"nowhere\.vcf: there is no such file; give --vcf"),
    "regions": (["--regions", "nowhere.bed"], r"nowhere\.bed: there is no such file"),
    "genome": (["--genome", "nowhere.fa"], r"nowhere\.fa: there is no such file; give --genome"),
    "share": (["--max-mismatches", "2"], "--max-mismatches: 2: .*less than or equal to 1"),
    "track": (["--track", "dnase=x.bw"], r"x\.bw: there is no such file; give --track"),
}


@pytest.mark.parametrize("case", OPTIONS)
def test_a_wrong_option_is_named(inputs: Path, tmp_path: Path, case: str) -> None:
    more, message = OPTIONS[case]
    with pytest.raises(InputError, match=message):
        job(inputs, tmp_path / "out", *(word.format(inputs) for word in more))
    assert not (tmp_path / "out").exists()


def test_a_run_is_resumed_with_the_inputs_of_its_start(inputs: Path, calm: Path) -> None:
    with pytest.raises(InputError, match=r"plan\.json: inputs\.regions"):
        job(inputs, calm, "--resume")
    given = ["--regions", inputs / "regions.bed", "--threshold", "0.9"]
    with pytest.raises(InputError, match=r"plan\.json: threshold"):
        job(inputs, calm, "--resume", *given)

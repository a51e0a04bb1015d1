"""Pages of prepared data, of a prediction and of a pretraining."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from hyena_ray.dataset.manifest import ContigEntry
from hyena_ray.dataset.reader import PreparedData
from hyena_ray.errors import InputError
from hyena_ray.genome.called_regions import RegionSettings
from hyena_ray.model.provenance import ContigUse, Provenance
from hyena_ray.prediction.expected_precision import ExpectedPrecision, ReachedPrecision
from hyena_ray.prediction.pieces import Piece, PredictionPlan, Span
from hyena_ray.prediction.prediction_record import PredictionRecord
from hyena_ray.prediction.region_tables import COLUMNS, CONTIG_COLUMNS
from hyena_ray.prediction.results import PredictionResult
from hyena_ray.report._page import BROWSER, Figure, Headline, Section, Table
from hyena_ray.report.contents import read_contents
from hyena_ray.report.run_contents import read_predicted
from hyena_ray.report.sections import page_of
from hyena_ray.report.write import write_report
from hyena_ray.runs.run import Output, start
from hyena_ray.training.pretrain_record import HeldOutEvaluation, PretrainRecord
from hyena_ray.training.settings import Objective, PretrainSettings

REGIONS = (("b", 10, 14, 0.7, 0.95), ("a", 5, 25, 0.6, 0.8), ("a", 40, 42, 0.9, 0.9))
"""Contig, start, end, mean and highest probability."""


def sections(folder: Path) -> dict[str, Section]:
    return {section.name: section for section in page_of(read_contents(folder)).sections}


def tables(section: Section) -> list[Table]:
    """Those of its figures too."""
    found = [block for block in section.blocks if isinstance(block, Table)]
    drawn = [block.table for block in section.blocks if isinstance(block, Figure)]
    return found + [table for table in drawn if table is not None]


def words(section: Section) -> str:
    return " ".join(
        f"{block.value} {block.text}" if isinstance(block, Headline) else block
        for block in section.blocks
        if isinstance(block, Headline | str)
    )


def predicted(
    folder: Path,
    regions: tuple[tuple[str, int, int, float, float], ...],
    *,
    simulated: bool = True,
    genome: str = "genome.fa",
) -> Path:
    """What predict.py leaves."""
    folder.mkdir()
    plan = PredictionPlan(
        genome="0" * 64,
        model="1" * 64,
        simulated=simulated,
        window=20,
        flank=4,
        overlap=10,
        batch=2,
        contigs=(ContigEntry(name="a", length=1000), ContigEntry(name="b", length=500)),
        pieces=tuple(
            Piece(spans=(Span(contig=name, start=0, end=end),))
            for name, end in (("a", 1000), ("b", 500))
        ),
    )
    with start(Output(folder), plan, inputs={"genome": Path(genome)}) as run:
        run.reopen()
    surest = sorted(range(len(regions)), key=lambda row: -regions[row][3])
    ranks = [surest.index(row) + 1 for row in range(len(regions))]
    with (folder / "regions.csv").open("w", newline="") as stream:
        rows = csv.writer(stream)
        rows.writerow(COLUMNS)
        for number, (contig, first, end, mean, highest) in enumerate(regions, start=1):
            figures = (mean, highest, first, ranks[number - 1])
            masked, bases = ("0.50" if number == 1 else "0.00"), "acgt"[: end - first].upper()
            rows.writerow(
                (contig, first, end, f"region{number}", end - first, *figures, masked, bases)
            )
    with (folder / "contigs.csv").open("w", newline="") as stream:
        rows = csv.writer(stream)
        rows.writerow(CONTIG_COLUMNS)
        for name, size in (("a", 1000), ("b", 500)):
            own = [region for region in regions if region[0] == name]
            inside = sum(region[2] - region[1] for region in own)
            rate = f"{1e6 * len(own) / size:.2f}"
            rows.writerow((name, size, size, inside, len(own), inside, rate, int(name == "a")))
    result = PredictionResult(
        contigs=2,
        bases=1500,
        scored=1400,
        called=28,
        regions=len(regions),
        in_regions=26,
        repeats=1,
        digest="2",
        batch=128,
    )
    expected = ExpectedPrecision(
        split="test",
        contigs=("chr20",),
        labels="regions.bed",
        prevalence=0.01,
        precision=0.4,
        precision_interval=(0.35, 0.45),
        recall=0.8,
        recall_interval=(0.7, 0.9),
    )
    reached = ReachedPrecision(
        wanted=0.3,
        threshold=0.55,
        there=expected.model_copy(update={"split": "val", "precision": 0.31}),
        own_threshold=0.2,
        own_recall=0.95,
    )
    PredictionRecord.make(
        fingerprint=plan.fingerprint,
        simulated=plan.simulated,
        outputs={},
        genome=plan.genome,
        model=plan.model,
        window=plan.window,
        overlap=plan.overlap,
        regions_settings=RegionSettings(threshold=0.55),
        reached=reached,
        expected=expected,
        **result.model_dump(),
    ).write(folder)
    return folder


def pretrained(folder: Path, objective: Objective, perplexity: dict[str, float]) -> Path:
    """What pretrain.py leaves."""
    folder.mkdir()
    settings = PretrainSettings(objective=objective)
    contigs = [
        ContigUse(name="a", length=9, sha256="0", use="trained", trained=9),
        ContigUse(name="b", length=9, sha256="0", use="held_out", trained=0),
        ContigUse(name="c", length=9, sha256="0", use="left_out", trained=0),
    ]
    evaluations = [
        HeldOutEvaluation(step=step, length=64, train_loss=1.3, perplexity=perplexity)
        for step in (50, 100)
    ]
    PretrainRecord.make(
        fingerprint="0",
        simulated=False,
        outputs={},
        settings=settings,
        provenance=Provenance(
            objective=objective,
            genome="g.fa",
            genome_sha256="3",
            simulated=False,
            contigs=tuple(contigs),
            began_from=None,
            before=None,
        ),
        history=tuple(evaluations),
        markov={"1": {"b": 3.9, "all": 3.9}, "2": {"b": 3.5, "all": 3.5}} if perplexity else {},
        bases_per_second=None,
    ).write(folder)
    return folder


def test_prepared_data_are_counted_by_split_and_contig(small_data: Path) -> None:
    found = sections(small_data)
    assert list(found) == ["answer", "windows", "run"]
    manifest = PreparedData.open(small_data).manifest
    assert manifest.stretches is not None
    windows, stretches = (
        sum(count.positive + count.negative for count in counts)
        for counts in (manifest.counts, manifest.stretches.counts)
    )
    assert words(found["answer"]).startswith(f"{windows:,} training windows of 40 bases")
    assert f"{stretches:,} stretches of 80 bases" in words(found["answer"])
    by_contig = tables(found["windows"])[1]
    assert [row[:4] for row in by_contig.rows] == [
        [count.contig, count.split, f"{count.length}", f"{count.positive:,}"]
        for count in (*manifest.counts, *manifest.stretches.counts)
    ]


def test_a_prediction_lists_its_regions_the_surest_first(tmp_path: Path) -> None:
    folder = predicted(tmp_path / "tracks", REGIONS)
    found = sections(folder)
    assert list(found) == ["answer", "regions", "run"]
    assert "3 regions on 2 contigs, 2,142.9 per Mb: 28 bases" in words(found["answer"])
    said = words(found["answer"])
    assert "40% (35% to 45%) may be right, at a recall of 80% (70% to 90%)" in said
    assert "A precision of 30% was asked for" in said
    assert "the model's own threshold 0.2 has a recall of 95% there" in said
    assert "Soft-masked, as repeats are, by half or more: 1 region." in said
    assert "the test split of the model's data (chr20), where 1.000% of the bases" in said
    surest, by_contig, lengths, probabilities = tables(found["regions"])
    assert [row[1] for row in surest.rows] == ["a:40-42", "b:10-14", "a:5-25"]
    assert [row[0] for row in surest.rows] == ["1", "2", "3"]
    assert [row[-1] for row in surest.rows] == ["AC", "ACGT", "ACGT"]
    assert list(by_contig.rows) == [
        ["a", "1,000", "2", "22", "2,000.0", "1"],
        ["b", "500", "1", "4", "2,000.0", "0"],
    ]
    for table in (lengths, probabilities):
        assert sum(int(row[1]) for row in table.rows) == 3
    assert "Simulated" in write_report(folder).read_text()


@pytest.mark.parametrize(
    ("genome", "simulated", "given", "assembly"),
    [
        ("cache/hg38.2bit", False, None, "hg38"),
        ("genome.fa", False, "rn7", "rn7"),
        ("hg38.2bit", False, "hg19", "hg19"),
        ("genome.fa", False, None, None),
        ("hg38.2bit", True, "hg38", None),
    ],
)
def test_regions_lead_to_a_browser_where_the_assembly_is_known(
    tmp_path: Path, genome: str, simulated: bool, given: str | None, assembly: str | None
) -> None:
    """Nothing of a simulated genome is in a browser. UCSC's positions begin at 1."""
    folder = predicted(tmp_path / "tracks", REGIONS, simulated=simulated, genome=genome)
    page = page_of(read_contents(folder, assembly=given))
    (regions,) = (section for section in page.sections if section.name == "regions")
    surest = tables(regions)[0].rows[0][1]
    assert surest == "a:40-42"
    link = getattr(surest, "href", None)
    ends = f"?db={assembly}&position=a%3A41-42"
    assert link is None if assembly is None else link == f"{BROWSER}{ends}"


def test_a_prediction_without_a_region_has_a_page_too(tmp_path: Path) -> None:
    found = sections(predicted(tmp_path / "tracks", ()))
    assert words(found["answer"]).startswith("0 regions")
    assert [row[2] for row in tables(found["regions"])[0].rows] == ["0", "0"]


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (3.4, "lower than that of every Markov model, of orders 1 and 2"),
        (3.7, "lower than that of Markov models of order 1, and higher than that of order 2"),
        (4.0, "Every Markov model, of orders 1 and 2, has a lower one"),
    ],
)
def test_a_pretraining_is_placed_among_markov_models(
    tmp_path: Path, value: float, said: str
) -> None:
    folder = pretrained(tmp_path / "pretrained", "next_base", {"b": value, "all": value})
    found = sections(folder)
    assert list(found) == ["answer", "perplexity", "run"]
    assert f"Perplexity {value:.3f} of the next base, on held-out windows of b." in words(
        found["answer"]
    )
    assert said in words(found["answer"])
    assert "Trained on a; nothing of c was read." in words(found["answer"])
    assert tables(found["perplexity"])[0].rows[-1] == ["all", f"{value:.3f}", "3.900", "3.500"]


def test_masked_bases_are_not_placed_among_markov_models(tmp_path: Path) -> None:
    folder = pretrained(tmp_path / "pretrained", "masked", {"b": 3.0, "all": 3.0})
    assert "cannot be compared with Markov models" in words(sections(folder)["answer"])


def test_a_pretraining_that_held_nothing_out_has_a_page_too(tmp_path: Path) -> None:
    found = sections(pretrained(tmp_path / "pretrained", "next_base", {}))
    assert list(found) == ["answer", "run"]
    assert "Nothing was held out" in words(found["answer"])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("regions.csv", "regions.csv: cannot be read"),
        ("contigs.csv", "contigs.csv: cannot be read"),
    ],
)
def test_a_prediction_without_a_file_is_refused(tmp_path: Path, damage: str, message: str) -> None:
    folder = predicted(tmp_path / "tracks", REGIONS)
    (folder / damage).unlink()
    with pytest.raises(InputError, match=message):
        write_report(folder)
    assert not (folder / "report.html").exists()


def test_contigs_that_are_named_by_numbers_alone_have_names(tmp_path: Path) -> None:
    path = tmp_path / "contigs.csv"
    path.write_text(",".join(CONTIG_COLUMNS) + "\n1,10,10,0,0,0,0.00,\n2,10,10,0,0,0,0.00,\n")
    table = read_predicted(path)
    assert table["contig"].to_pylist() == ["1", "2"]
    assert table["repeats"].null_count == 2

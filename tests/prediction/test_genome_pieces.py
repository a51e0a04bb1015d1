"""Pieces of a genome: what is planned, kept, refused, and written as track and regions."""

from __future__ import annotations

import csv
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyBigWig
import pytest
import torch

from hyena_ray.dataset.reader import PreparedData
from hyena_ray.dataset.tokens import N_TOKEN
from hyena_ray.errors import InputError, JobError
from hyena_ray.genome.called_regions import RegionSettings
from hyena_ray.genome.region_files import read_regions
from hyena_ray.model.build import build_model
from hyena_ray.model.predictor import CPU_BATCH, Scorer
from hyena_ray.model.settings import LoraSettings, ModelSettings, Readout
from hyena_ray.model.window import WindowModel
from hyena_ray.prediction.pieces import (
    PredictionPlan,
    make_scorer,
    missing_pieces,
    piece_is_complete,
    piece_path,
    plan_prediction,
    read_piece,
    require_base_labels,
    run_piece,
    write_sequences,
)
from hyena_ray.prediction.results import (
    TRACK_PRECISION,
    PredictionResult,
    write_results,
)
from hyena_ray.tasks import TASKS
from tests.prediction.pattern_model import FLANK, PATTERN, REVERSED, pattern_model

ORDER = ("chr2", "chr10", "chr1", "tiny", "gaps")
"""In the file, which is no alphabet's."""


@pytest.fixture(scope="module")
def sequences() -> dict[str, str]:
    rng = np.random.default_rng(3)
    made = {name: "".join(rng.choice(list("ACGTacgt"), 2_000)) for name in ORDER[:3]}
    made["chr1"] = PATTERN + made["chr1"][:995] + REVERSED
    made["chr2"] = made["chr2"][:700] + "N" * 900 + made["chr2"][700:] + "NN"
    return made | {"tiny": f"A{PATTERN}", "gaps": "N" * 500}


@pytest.fixture(scope="module")
def genome(sequences: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("genome") / "genome.fa"
    path.write_text("".join(f">{name}\n{bases}\n" for name, bases in sequences.items()))
    return path


def planned(genome: Path, piece: int = 300, **options: object) -> PredictionPlan:
    given = {"contigs": None, "overlap": None} | options
    return plan_prediction(pattern_model(), genome, piece=piece, **given)  # type: ignore[arg-type]


def run(plan: PredictionPlan, genome: Path, folder: Path, threshold: float = 0.4, **settings: int):
    write_sequences(plan, genome, folder)
    scorer = make_scorer(pattern_model(), plan)
    for index in missing_pieces(plan, folder)[::-1]:
        run_piece(scorer, plan, index, folder)
    return write_results(plan, RegionSettings(threshold=threshold, **settings), genome, folder)


def planted(sequences: dict[str, str]) -> list[tuple[str, int]]:
    """Contig and base of every pattern on either strand, sorted."""
    return [
        (name, place + FLANK)
        for name, bases in sorted(sequences.items())
        for place in range(len(bases) - 4)
        if bases[place : place + 5].upper() in (PATTERN, REVERSED)
    ]


def test_every_known_base_is_in_one_piece_and_pieces_of_n_are_left_out(
    genome: Path, sequences: dict[str, str]
) -> None:
    plan = planned(genome)
    spans = [span for piece in plan.pieces for span in piece.spans]
    places = [(span.contig, base) for span in spans for base in range(span.start, span.end)]
    assert places == sorted(set(places))
    known = {(n, i) for n, bases in sequences.items() for i, b in enumerate(bases) if b != "N"}
    assert known <= set(places)
    assert ("chr2", 1_000) not in places
    assert {span.contig for span in spans} == {*ORDER} - {"gaps"}
    assert plan.lengths == {name: len(sequences[name]) for name in sorted(ORDER)}
    assert pickle.loads(pickle.dumps(plan)).fingerprint == plan.fingerprint


@pytest.mark.parametrize("piece", [40, 300, 10_000])
def test_track_and_regions_are_right_to_the_base_however_the_genome_is_cut(
    genome: Path, sequences: dict[str, str], tmp_path: Path, piece: int
) -> None:
    result = run(planned(genome, piece), genome, tmp_path)
    expected = planted(sequences)
    assert len(expected) > 5
    with (tmp_path / "regions.bed").open() as stream:
        bed = list(csv.reader(stream, delimiter="\t"))
    assert [(row[0], int(row[1]), int(row[2])) for row in bed] == [
        (contig, base, base + 1) for contig, base in expected
    ]
    assert [row[3:] for row in bed] == [
        [f"region{number}", "500", ".", str(base), str(base + 1)]
        for number, (_, base) in enumerate(expected, 1)
    ]
    with pyBigWig.open(str(tmp_path / "probabilities.bw")) as track:
        assert track.isBigWig()
        assert list(track.chroms().items()) == sorted(
            (name, len(bases)) for name, bases in sequences.items()
        )
        assert track.intervals("gaps") is None
        for name in ORDER[:4]:
            values = np.array(track.values(name, 0, len(sequences[name])))
            shown = np.zeros(len(values))
            shown[[base for contig, base in expected if contig == name]] = 0.5
            shown[[base == "N" for base in sequences[name]]] = np.nan
            np.testing.assert_array_equal(values, shown)
    scored = sum(len(bases) - bases.count("N") for bases in sequences.values())
    assert (result.contigs, result.scored, result.called) == (4, scored, len(expected))
    assert (result.regions, result.in_regions) == (len(expected), len(expected))
    assert [path.name for path in tmp_path.glob(".*")] == []


def test_the_table_has_every_region_with_its_probabilities(genome: Path, tmp_path: Path) -> None:
    gap = 400
    result = run(planned(genome), genome, tmp_path, merge_gap=gap, min_length=2)
    with (tmp_path / "regions.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == result.regions > 1
    assert sum(int(row["length"]) for row in rows) == result.in_regions
    found: dict[str, np.ndarray] = {}
    plan = planned(genome)
    for index, piece in enumerate(plan.pieces):
        values = read_piece(plan, index, tmp_path).values
        for span in piece.spans:
            whole = found.setdefault(span.contig, np.full(3_000, np.nan, np.float32))
            whole[span.start : span.end], values = np.split(values, [span.bases])
    for row in rows:
        values = found[row["contig"]][int(row["start"]) : int(row["end"])]
        assert float(row["mean"]) == pytest.approx(np.nanmean(values), abs=1e-6)
        assert float(row["max"]) == 0.5
        assert values[int(row["summit"]) - int(row["start"])] == 0.5
        assert len(values) == int(row["length"]) >= 2


def test_pieces_that_are_done_are_kept_and_other_ones_are_not_taken(
    genome: Path, tmp_path: Path
) -> None:
    plan = planned(genome)
    digest = run(plan, genome, tmp_path).digest
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("shards/piece-*")}
    piece_path(tmp_path, 3).write_bytes(piece_path(tmp_path, 3).read_bytes()[:-50])
    assert missing_pieces(plan, tmp_path) == [3]
    assert run(plan, genome, tmp_path).digest == digest
    changed = [path.name for path, time in before.items() if path.stat().st_mtime_ns != time]
    assert changed == ["piece-000003.parquet"]
    other = planned(genome, overlap=3)
    assert not piece_is_complete(other, 0, tmp_path)
    assert other.differences(plan) == ["overlap"]
    with pytest.raises(InputError, match="not a shard of this plan"):
        read_piece(other, 0, tmp_path)


def test_results_are_written_while_pieces_arrive_and_stop_with_them(
    genome: Path, tmp_path: Path
) -> None:
    plan, settings = planned(genome), RegionSettings(threshold=0.4)
    expected = run(plan, genome, tmp_path / "whole")
    folder, stopped = tmp_path / "out", threading.Event()
    write_sequences(plan, genome, folder)
    with ThreadPoolExecutor(1) as thread:
        results = thread.submit(write_results, plan, settings, genome, folder, stopped)
        scorer = make_scorer(pattern_model(), plan)
        for index in missing_pieces(plan, folder):
            assert not results.done()
            run_piece(scorer, plan, index, folder)
        assert results.result(timeout=60) == expected
        for name in ("probabilities.bw", "regions.bed", "regions.csv", "contigs.csv"):
            assert (folder / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
            (folder / name).unlink()
        piece_path(folder, 4).unlink()
        results = thread.submit(write_results, plan, settings, genome, folder, stopped)
        stopped.set()
        with pytest.raises(JobError, match=plan.pieces[4].label):
            results.result(timeout=60)
    assert {path.name for path in folder.iterdir()} == {"shards", "sequences"}


def test_a_prediction_records_the_smallest_batch_of_its_pieces(
    genome: Path, tmp_path: Path
) -> None:
    plan = planned(genome)
    write_sequences(plan, genome, tmp_path)
    for batch, indices in ((64, range(3)), (16, range(3, 5)), (None, range(len(plan.pieces)))):
        for index in indices:
            run_piece(Scorer(pattern_model(), batch), plan, index, tmp_path)
    assert read_piece(plan, 4, tmp_path).batch == 16
    assert read_piece(plan, 5, tmp_path).batch == CPU_BATCH
    assert write_results(plan, RegionSettings(threshold=0.4), genome, tmp_path).batch == 16


def test_neither_another_model_nor_another_genome_is_taken_on_the_way(
    genome: Path, tmp_path: Path
) -> None:
    plan = planned(genome)
    with pytest.raises(InputError, match="not the model that the plan was made for"):
        make_scorer(pattern_model("forward"), plan)
    changed = tmp_path / "changed.fa"
    changed.write_text(genome.read_text().replace("A", "C"))
    with pytest.raises(InputError, match="changed while it was read"):
        write_sequences(plan, changed, tmp_path / "new")


def test_small_contigs_share_pieces_and_no_score_changes(tmp_path: Path) -> None:
    """Files and passes follow the bases, not the contigs, and contigs keep their ends."""
    rng = np.random.default_rng(0)
    contigs = {
        f"c{number}": PATTERN + "".join(rng.choice(list("ACGTN"), int(size)))
        for number, size in enumerate(rng.integers(1, 90, size=200))
    }
    genome = tmp_path / "genome.fa"
    genome.write_text("".join(f">{name}\n{bases}\n" for name, bases in contigs.items()))
    bases = sum(map(len, contigs.values()))
    together, alone = planned(genome, piece=1_000), planned(genome, piece=40)
    assert len(together.pieces) < 2 + bases // (1_000 - 95)
    assert len(alone.pieces) > 10 * len(together.pieces)
    results = [run(plan, genome, tmp_path / str(len(plan.pieces))) for plan in (together, alone)]
    assert len(list((tmp_path / str(len(together.pieces)) / "shards").iterdir())) == len(
        together.pieces
    )
    shown = {"called", "scored", "regions", "in_regions", "contigs", "bases"}
    assert results[0].model_dump(include=shown) == results[1].model_dump(include=shown)
    assert results[0].scored == bases - sum(text.count("N") for text in contigs.values())
    for name in ("regions.bed", "regions.csv"):
        texts = [(tmp_path / str(len(p.pieces)) / name).read_text() for p in (together, alone)]
        assert texts[0] == texts[1]


def test_work_grows_with_contigs_no_faster_than_their_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Passes of the model, which small contigs of the same bases share."""
    rng, passes = np.random.default_rng(0), []
    sequence = "".join(rng.choice(list("ACGT"), 24_000))
    for size in (120, 24_000):
        genome = tmp_path / f"of_{size}.fa"
        parts = [sequence[at : at + size] for at in range(0, len(sequence), size)]
        genome.write_text("".join(f">c{n:04d}\n{part}\n" for n, part in enumerate(parts)))
        plan = planned(genome, piece=5_000)
        folder = tmp_path / f"run_{size}"
        write_sequences(plan, genome, folder)
        scorer = make_scorer(pattern_model(), plan)
        given: list[int] = []
        monkeypatch.setattr(
            scorer, "_pass", lambda tokens, s=scorer, g=given: _counted(s, tokens, g)
        )
        for index in missing_pieces(plan, folder):
            run_piece(scorer, plan, index, folder)
        passes.append(len(given))
    assert passes[0] <= 1.5 * passes[1]


def _counted(scorer: Scorer, tokens: torch.Tensor, given: list[int]) -> tuple[torch.Tensor, ...]:
    given.append(len(tokens))
    return Scorer._pass(scorer, tokens)


def test_windows_have_the_scores_that_evaluation_gives_them(
    small_data: Path, tmp_path: Path
) -> None:
    """Flanks, tracks, ends of contigs: all that a window comes with is what was prepared."""
    model = build_model(
        ModelSettings(d_model=16, n_layer=2, max_seq_len=130),
        Readout(window=40, flank=8, lookahead=8, tracks=("zhunt",)),
        LoraSettings(),
        TASKS["zdna"],
        seed=0,
    ).eval()
    with torch.no_grad():  # so that the tracks are heard
        torch.nn.init.normal_(model.classifier.tracks.out_proj.weight)
    genome = small_data.parent / "genome.fa"
    plan = plan_prediction(model, genome, contigs=["sim1"], overlap=0, piece=17_001)
    write_sequences(plan, genome, tmp_path)
    found = np.full(plan.lengths["sim1"], np.nan)
    scorer = make_scorer(model, plan)
    for index, piece in enumerate(plan.pieces):
        run_piece(scorer, plan, index, tmp_path)
        (span,) = piece.spans
        found[span.start : span.end] = read_piece(plan, index, tmp_path).values
    data, compared = PreparedData.open(small_data), 0
    for split in data.manifest.splits:
        windows = data.read(40, split)
        windows = windows.rows(windows.contig == "sim1")
        if not len(windows.start):
            continue
        with torch.inference_mode():
            scores = model.predict(torch.from_numpy(windows.tokens)).softmax(-1)[..., 1].numpy()
        of_windows = found[windows.start[:, None] + np.arange(40)]
        known = np.isfinite(of_windows)
        assert (known == (windows.tokens[:, 8:48] != N_TOKEN)).all()
        np.testing.assert_allclose(of_windows[known], scores[known], atol=3e-6)
        compared += len(scores)
    assert compared > 100
    assert np.nanstd(found) > 0.01


def test_the_track_is_rounded_but_regions_are_not(genome: Path, tmp_path: Path) -> None:
    plan = planned(genome)
    run(plan, genome, tmp_path, threshold=TRACK_PRECISION / 100)
    scored = [read_piece(plan, index, tmp_path).values for index in range(len(plan.pieces))]
    called = sum(int((values > 0).sum()) for values in scored)
    assert (tmp_path / "regions.bed").read_text().count("\n") == called > 0


def test_only_the_contigs_that_are_named_are_scored(genome: Path, tmp_path: Path) -> None:
    result: PredictionResult = run(planned(genome, contigs=["tiny", "chr1"]), genome, tmp_path)
    assert (result.contigs, result.bases) == (2, 6 + 1_005)


NAMES = ['a"b', "a,b;c", "x'y", "chr1=2", "é", "NA", "01", "c|d", "a#b", "x" * 200]


def test_whatever_a_contig_may_be_called_is_read_back(tmp_path: Path) -> None:
    genome = tmp_path / "genome.fa"
    genome.write_text("".join(f">{name} of a test\nAC{PATTERN}AC\n" for name in NAMES))
    run(planned(genome), genome, tmp_path)
    bed = [line.split("\t") for line in (tmp_path / "regions.bed").read_text().splitlines()]
    assert [row[0] for row in bed] == sorted(NAMES)
    assert list(read_regions(tmp_path / "regions.bed").rows) == sorted(NAMES)
    with (tmp_path / "regions.csv").open(newline="") as stream:
        assert [row["contig"] for row in csv.DictReader(stream)] == sorted(NAMES)
    with pyBigWig.open(str(tmp_path / "probabilities.bw")) as track:
        assert list(track.chroms()) == sorted(NAMES)


REFUSED: dict[str, tuple[dict[str, object], str]] = {
    "contig": ({"contigs": ["chrX"]}, r"--contigs: chrX: unknown contig of the genome.*chr10"),
    "only N": ({"contigs": ["gaps"]}, "--contigs: gaps: every base is N"),
    "overlap": ({"overlap": 10}, "--overlap: 10: the model reads windows of 10 bases; give 0 to 9"),
    "negative": ({"overlap": -1}, "--overlap: -1: "),
    "batch": ({"batch": 0}, "--batch: 0: below 1"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_planned_is_refused(genome: Path, case: str) -> None:
    options, message = REFUSED[case]
    with pytest.raises(InputError, match=message):
        planned(genome, **options)


def test_a_model_of_sequences_is_refused() -> None:
    promoter = build_model(
        ModelSettings(d_model=8, n_layer=1),
        Readout(window=20, flank=0, lookahead=0),
        LoraSettings(),
        TASKS["promoter"],
        seed=0,
    )
    assert isinstance(promoter, WindowModel)
    with pytest.raises(InputError, match=r"run/model: labels whole sequences: .*base by base"):
        require_base_labels(promoter, Path("run/model"))

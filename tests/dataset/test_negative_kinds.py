"""Negatives by kind in prepared data, against a loop over bases and the package of Z-HUNT."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path

import numpy as np
import pytest
import zhuntrs

from hyena_ray.dataset.manifest import Manifest
from hyena_ray.dataset.preparation import PrepareSettings, prepare
from hyena_ray.dataset.reader import PreparedData
from hyena_ray.dataset.recount import count_faults
from hyena_ray.errors import InputError
from hyena_ray.genome.contigs import open_genome
from hyena_ray.genome.negatives import KINDS
from hyena_ray.genome.region_files import read_regions
from hyena_ray.genome.simulation import SimulatedGenome, simulate_genome

LENGTH, STRETCH = 100, 1024


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> SimulatedGenome:
    folder = tmp_path_factory.mktemp("kinds")
    return simulate_genome(folder, contig_length=60_000, tracts=100, decoys=200)


def recipe(made: SimulatedGenome, **changes: object) -> PrepareSettings:
    values = {
        "task": "zdna",
        "genome": str(made.genome),
        "regions": str(made.regions),
        "flank": 8,
        **changes,
    }
    return PrepareSettings.parse(values, "test")


@pytest.fixture(scope="module")
def mixed(made: SimulatedGenome) -> PreparedData:
    folder = made.genome.parent / "mixed"
    prepare(recipe(made, negatives="random:2,gc:0.25,tract:0.25"), folder)
    return PreparedData.open(folder)


def called_by_the_package(codes: np.ndarray) -> np.ndarray:
    """Call every base that a window of 12 known bases with a score of at least 400 holds."""
    text = np.frombuffer(b"ACGTN", np.uint8)[codes].tobytes()
    found = zhuntrs.Engine(6, 6).predict(text)
    called = np.zeros(len(codes), bool)
    for start, score in zip(found.start, found.zhscore, strict=True):
        if score >= 400 and start + 12 <= len(codes) and (codes[start : start + 12] < 4).all():
            called[start : start + 12] = True
    return called


@pytest.fixture(scope="module")
def truth(made: SimulatedGenome) -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Codes, labels and called bases of every contig."""
    regions, found = read_regions(made.regions), {}
    for contig in open_genome(made.genome):
        labels = np.zeros(len(contig.codes), bool)
        for start, end in zip(*regions.merged(contig.name, len(contig.codes)), strict=True):
            labels[start:end] = True
        found[contig.name] = contig.codes.copy(), labels, called_by_the_package(contig.codes)
    return found


def test_a_number_draws_what_it_drew_before_there_were_kinds(tmp_path: Path) -> None:
    small = simulate_genome(tmp_path, contig_length=30_000, tracts=100, decoys=100)
    prepare(recipe(small, negatives=3, held_out_negatives="3"), tmp_path / "data")
    data = PreparedData.open(tmp_path / "data")
    digests = {
        split: hashlib.sha256(windows.window_id.astype("<i8").tobytes()).hexdigest()[:16]
        for split, windows in (
            ("train", data.read(LENGTH, "train")),
            ("val", data.read_held_out("val")),
            ("test", data.read_held_out("test")),
        )
    }
    assert digests == {
        "train": "2271a6ecbb5aa092",
        "val": "bf13345bd25d2635",
        "test": "22c1797f20d11f8e",
    }


def test_tract_negatives_are_those_of_a_loop(
    mixed: PreparedData, truth: dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]
) -> None:
    windows = mixed.read(LENGTH, "train")
    for count in mixed.manifest.counts_of(LENGTH, "train"):
        _, labels, called = truth[count.contig]
        expected = {
            start
            for start in range(0, len(labels) - LENGTH + 1, LENGTH)
            if called[start : start + LENGTH].any()
            and not labels[max(0, start - 100) : start + LENGTH + 100].any()
        }
        chosen = (windows.contig == count.contig) & (windows.kind == KINDS["tract"])
        drawn = windows.start[chosen].tolist()
        assert set(drawn) <= expected
        assert count.kinds["tract"].candidates == len(expected)
        assert count.kinds["tract"].drawn == len(drawn) > 0


def test_kinds_are_disjoint_and_hold_their_ratios(mixed: PreparedData) -> None:
    windows = mixed.read(LENGTH, "train")
    assert len(np.unique(windows.window_id)) == len(windows.window_id)
    labelled = (windows.labels == 1).any(1)
    assert np.array_equal(labelled, windows.kind == KINDS["labelled"])
    numbers = np.bincount(windows.kind, minlength=5).tolist()
    positives = numbers[0]
    assert numbers == [positives, 2 * positives, round(positives / 4), round(positives / 4), 0]
    assert mixed.manifest.stored_kinds(LENGTH, "train") == {
        name: numbers[number] for name, number in KINDS.items() if numbers[number]
    }
    assert not count_faults(mixed)


def test_gc_negatives_have_the_histogram_of_the_labelled_windows(
    made: SimulatedGenome, tmp_path: Path
) -> None:
    prepare(recipe(made, negatives="gc:2"), tmp_path / "data")
    data = PreparedData.open(tmp_path / "data")
    windows = data.read(LENGTH, "train")
    inner = windows.tokens[:, 8:-8]
    strong, known = ((inner == 8) | (inner == 9)).sum(1), ((inner >= 7) & (inner <= 10)).sum(1)
    bins = np.minimum(20 * strong // np.maximum(known, 1), 19)
    positive = np.bincount(bins[windows.kind == KINDS["labelled"]], minlength=20)
    drawn = np.bincount(bins[windows.kind == KINDS["gc"]], minlength=20)
    assert drawn.sum() > 1.5 * positive.sum()
    assert (drawn <= 2 * positive).all()
    # All but the rarest: the bins of most windows with a label have enough without.
    assert (drawn == 2 * positive)[positive > 5].mean() > 0.5
    assert (windows.kind != KINDS["random"]).all()


def test_strata_divide_the_unlabelled_stretches_by_their_tracts(
    mixed: PreparedData, truth: dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]
) -> None:
    assert mixed.manifest.held_out == "tract:3,other:1"
    for split in ("val", "test"):
        stretches = mixed.read_held_out(split)
        for count in mixed.manifest.counts_of(STRETCH, split):
            _, labels, called = truth[count.contig]
            rows = len(labels) // STRETCH
            shape = rows, STRETCH
            labelled = np.any(labels[: rows * STRETCH].reshape(shape), axis=1)
            tract = np.any(called[: rows * STRETCH].reshape(shape), axis=1)
            assert count.positive == labelled.sum()
            assert count.kinds["tract"].candidates == (tract & ~labelled).sum()
            assert count.kinds["other"].candidates == (~tract & ~labelled).sum()
            of_contig = stretches.contig == count.contig
            row = stretches.start[of_contig] // STRETCH
            unlabelled = np.where(tract[row], KINDS["tract"], KINDS["other"])
            expected = np.where(labelled[row], KINDS["labelled"], unlabelled)
            assert np.array_equal(stretches.kind[of_contig], expected)


def test_a_scan_asks_for_no_tracts(
    made: SimulatedGenome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr("hyena_ray.dataset.genome_windows.called_bases", fail)
    split = "contig:train=sim1;test=sim2"
    scan = recipe(made, scan=True, held_out_negatives="random:3", split=split)
    manifest = prepare(scan, tmp_path / "data")
    assert all(count.negative == count.candidates for count in manifest.counts_of(STRETCH, "test"))


def test_the_predictor_is_called_only_where_it_is_needed(
    made: SimulatedGenome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hyena_ray.dataset import genome_windows

    read, called = genome_windows.called_bases, []

    def counted(codes, pieces, *rest):  # type: ignore[no-untyped-def]
        called.append(int((pieces.end - pieces.start).sum()))
        return read(codes, pieces, *rest)

    monkeypatch.setattr(genome_windows, "called_bases", counted)
    split = "contig:train=sim1,sim2;val=sim3;test=sim4"
    lengths = {contig.name: len(contig.codes) for contig in open_genome(made.genome)}
    for negatives, contigs in (("random:1", ("sim3", "sim4")), ("tract:1", tuple(lengths))):
        called.clear()
        prepare(recipe(made, negatives=negatives, split=split), tmp_path / negatives[:4])
        assert sum(called) == sum(lengths[name] for name in contigs)


def test_contigs_and_splits_without_a_kind_are_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tract, plain = "A" * 300 + "CG" * 10 + "A" * 380, "A" * 700
    genome, regions = tmp_path / "genome.fa", tmp_path / "regions.bed"
    genome.write_text(f">a\n{tract}\n>b\n{plain}\n>c\n{plain}\n>d\n{plain}\n")
    regions.write_text("".join(f"{name}\t610\t620\n" for name in "abcd"))
    values = {
        "task": "zdna",
        "genome": str(genome),
        "regions": str(regions),
        "lengths": [50],
        "stretch": 50,
        "flank": 0,
        "negatives": "tract:1",
    }
    settings = PrepareSettings.parse(values | {"split": "contig:train=a,b;val=c;test=d"}, "test")
    with caplog.at_level(logging.WARNING):
        manifest = prepare(settings, tmp_path / "data")
    assert "train, length 50: no tract negative on b" in caplog.text
    assert "the genome has 1 tract negatives fewer than asked for" in caplog.text
    counts = {count.contig: count.kinds["tract"] for count in manifest.counts}
    assert (counts["a"].drawn, counts["b"].candidates) == (1, 0)
    settings = PrepareSettings.parse(values | {"split": "contig:train=b;val=a,c;test=d"}, "test")
    with pytest.raises(InputError, match="--negatives: tract:1: train has no tract negative"):
        prepare(settings, tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_kinds_that_the_files_do_not_hold_are_found(mixed: PreparedData) -> None:
    manifest = mixed.manifest
    first, *rest = manifest.counts
    kinds = first.kinds | {"tract": first.kinds["tract"].model_copy(update={"drawn": 1})}
    kinds |= {"gc": first.kinds["gc"].model_copy(update={"candidates": 0})}
    changed: Manifest = manifest.model_copy(
        update={"counts": (first.model_copy(update={"kinds": kinds}), *rest)}
    )
    faults = [fault.problem for fault in count_faults(PreparedData(mixed.folder, changed))]
    assert len(faults) == 2
    assert "says tract 1" in faults[1] or "says tract 1" in faults[0]

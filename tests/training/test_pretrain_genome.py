"""What of a genome is trained on, held out, left out, and what is written down about it."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from hyena_ray.files import sha256_file
from hyena_ray.genome.simulation import SIMULATED
from hyena_ray.training.pretrain_genome import Genome, held_out_windows, read_genome
from hyena_ray.training.settings import PretrainSettings

GENOME = f""">a first
{"ACGTT" * 8}
>b
{"ccgta" * 4}NN{"GATTA" * 5}R{"A" * 4}
>c
{"TTGCA" * 6}
"""


def settings_of(**changes: object) -> PretrainSettings:
    small = {"training.lengths": [4, 10], "training.tokens_per_step": 40}
    given = {key.replace("__", "."): value for key, value in changes.items()}
    return PretrainSettings().updated(small | given, "test")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "g.fa").write_text(GENOME)
    return tmp_path / "g.fa"


def trained_on(genome: Genome) -> list[tuple[str, str]]:
    """Contig and letters of every stretch."""
    bases = genome.train
    return [
        (genome.contigs[index].name, "".join("ACGT"[code] for code in bases.stretch(number)))
        for number, index in enumerate(bases.contigs)
    ]


def test_contigs_are_trained_on_held_out_or_left_out_as_asked(path: Path) -> None:
    genome = read_genome(path, settings_of(), leave_out=["c"], held_out=["a"])
    assert [(c.name, c.length, c.use, c.trained) for c in genome.contigs] == [
        ("a", 40, "held_out", 0),
        ("b", 52, "trained", 52),
        ("c", 30, "left_out", 0),
    ]
    assert trained_on(genome) == [("b", "CCGTA" * 4), ("b", "GATTA" * 5), ("b", "AAAA")]
    windows = dict(held_out_windows(genome, settings_of()))
    assert list(windows) == ["a"]
    assert windows["a"].shape == (4, 10)


def test_the_genome_and_every_contig_have_a_checksum(path: Path) -> None:
    genome = read_genome(path, settings_of(), leave_out=["c"])
    assert (genome.name, genome.sha256) == ("g.fa", sha256_file(path))
    letters = f"{'CCGTA' * 4}NN{'GATTA' * 5}NAAAA"
    assert genome.contigs[1].sha256 == hashlib.sha256(letters.encode()).hexdigest()
    # Also of what is left out: another file may have the same contig.
    assert genome.contigs[2].sha256 == hashlib.sha256(b"TTGCA" * 6).hexdigest()


def test_a_genome_with_a_simulated_contig_is_simulated(path: Path) -> None:
    assert not read_genome(path, settings_of()).simulated
    path.write_text(GENOME.replace(">c", f">c {SIMULATED} seed=0"))
    assert read_genome(path, settings_of(), leave_out=["c"]).simulated


def test_without_held_out_contigs_the_last_share_of_each_is(path: Path) -> None:
    genome = read_genome(path, settings_of(held_out__share=0.5), leave_out=["c"])
    # Of what is cut off, only stretches that hold a window of the longest length are scored.
    assert trained_on(genome) == [("a", "ACGTT" * 4), ("b", "CCGTA" * 4), ("b", "GATT")]
    assert [contig.trained for contig in genome.contigs] == [20, 26, 0]
    windows = dict(held_out_windows(genome, settings_of()))
    assert {name: len(codes) for name, codes in windows.items()} == {"a": 2, "b": 2}
    nothing = read_genome(path, settings_of(held_out__share=0))
    assert dict(held_out_windows(nothing, settings_of())) == {}


def test_scored_windows_are_tiles_evenly_over_a_contig(path: Path) -> None:
    codes = np.tile(np.arange(4, dtype=np.uint8), 250)
    codes[::10] = np.arange(100) % 4  # tile i begins with i mod 4
    letters = "".join("ACGT"[code] for code in codes)
    path.write_text(f">a\n{letters}\n>b\n{'ACGT' * 10}\n")
    settings = settings_of(held_out__windows=7)
    genome = read_genome(path, settings, held_out=["a"])
    found = dict(held_out_windows(genome, settings))["a"]
    rows = [number * 100 // 7 for number in range(7)]
    assert (found == codes.reshape(100, 10)[rows]).all()

"""The simulated genome: what is planted is labelled, and differs from the background."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from hyena_ray.genome.contigs import Fasta
from hyena_ray.genome.intervals import label_bases, merge_intervals
from hyena_ray.genome.region_files import read_bed
from hyena_ray.genome.simulation import SIMULATED, SimulatedGenome, simulate_genome

A, C, G, T = range(4)


@pytest.fixture(scope="module")
def simulation(tmp_path_factory: pytest.TempPathFactory) -> SimulatedGenome:
    return simulate_genome(tmp_path_factory.mktemp("simulated"), 3)


def test_a_simulation_takes_less_than_three_seconds(tmp_path: Path) -> None:
    began = time.process_time()
    simulate_genome(tmp_path)
    assert time.process_time() - began < 3


def test_the_bed_holds_exactly_the_planted_tracts(simulation: SimulatedGenome) -> None:
    regions = read_bed(simulation.regions)
    found = [
        "".join("ACGTN"[code] for code in contig.codes[start:end])
        for contig in Fasta(simulation.genome)
        for start, end in zip(*regions.rows[contig.name][:2], strict=True)
    ]
    assert tuple(found) == simulation.tracts
    assert len(found) == 1500
    assert {len(tract) for tract in found} == set(range(12, 31))


def test_tracts_alternate_and_their_edges_do_not(simulation: SimulatedGenome) -> None:
    regions = read_bed(simulation.regions)
    for contig in Fasta(simulation.genome):
        purine = np.isin(contig.codes, (A, G))
        for start, end in zip(*regions.rows[contig.name][:2], strict=True):
            assert (purine[start + 1 : end] != purine[start : end - 1]).all()
            assert purine[start - 1] == purine[start]
            assert purine[end] == purine[end - 1]
            assert "TA" not in "".join("ACGT"[code] for code in contig.codes[start:end])


def test_kmers_are_those_inside_tracts() -> None:
    simulation = SimulatedGenome(Path("x"), Path("y"), ("CGCGC", "CACAC", "CG"))
    assert simulation.kmers(4) == {"CGCG", "GCGC", "CACA", "ACAC"}


def test_a_rule_without_learning_finds_the_tracts_but_not_for_free(
    simulation: SimulatedGenome,
) -> None:
    """Long alternation without TA finds them; alternation alone, or CpG alone, does not."""
    regions = read_bed(simulation.regions)
    counts = {"rule": np.zeros(3), "alternation": np.zeros(3)}
    for contig in Fasta(simulation.genome):
        codes = contig.codes
        labels = label_bases(regions.merged(contig.name, len(codes)), len(codes)) > 0
        purine = (codes == A) | (codes == G)
        step = (purine[1:] != purine[:-1]) & (codes[1:] < 4) & (codes[:-1] < 4)
        no_ta = ~((codes[:-1] == T) & (codes[1:] == A))
        for name, good in (("rule", step & no_ta), ("alternation", step)):
            edges = np.flatnonzero(np.diff(np.concatenate(([False], good, [False])).astype(int)))
            first, last = edges[::2], edges[1::2] + 1
            long = last - first >= 12
            found = label_bases(merge_intervals(first[long], last[long]), len(codes)) > 0
            counts[name] += [(found & labels).sum(), found.sum(), labels.sum()]
    f1 = {name: 2 * hit / (found + true) for name, (hit, found, true) in counts.items()}
    assert f1["rule"] > 0.9
    assert f1["alternation"] < f1["rule"] - 0.1


def test_the_background_has_human_dinucleotide_frequencies(simulation: SimulatedGenome) -> None:
    contig = next(iter(Fasta(simulation.genome)))
    codes = contig.codes[500:].astype(int)
    pairs = np.bincount(codes[:-1] * 4 + codes[1:], minlength=16).reshape(4, 4) / len(codes)
    assert pairs[C, G] < pairs[C, A] / 2
    assert pairs[A, A] == pytest.approx(pairs[T, T], rel=0.15)


def test_it_is_soft_masked_marked_and_begins_with_n(simulation: SimulatedGenome) -> None:
    text = simulation.genome.read_bytes()
    lower = sum(text.count(letter) for letter in (b"a", b"c", b"g", b"t"))
    assert 0.05 < lower / len(text) < 0.15
    for contig in Fasta(simulation.genome):
        assert contig.description.startswith(SIMULATED)
        assert (contig.codes == 4).sum() == 500
        assert len(contig.codes) == 400_000


def test_the_seed_fixes_every_byte(tmp_path: Path) -> None:
    content = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        folder = tmp_path / name
        folder.mkdir()
        made = simulate_genome(folder, seed, contigs=2, contig_length=9_000, tracts=20, decoys=20)
        content.append((made.genome.read_bytes(), made.regions.read_bytes()))
    assert content[0] == content[1]
    assert content[0][0] != content[2][0]


def test_more_tracts_than_fit_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="do not fit"):
        simulate_genome(tmp_path, contig_length=10_000)

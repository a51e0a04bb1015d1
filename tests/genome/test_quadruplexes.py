"""Simulated quadruplexes: what is planted folds, its decoys do not, and a rule can tell."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from hyena_ray.genome.contigs import Fasta
from hyena_ray.genome.intervals import label_bases, merge_intervals
from hyena_ray.genome.region_files import read_bed
from hyena_ray.genome.simulation import MOTIFS, SimulatedGenome, simulate_genome

FOLDS = re.compile("G{3,5}(?:[ACT]{1,7}G{3,5}){3}")
OPPOSITE = str.maketrans("ACGT", "TGCA")
G4 = MOTIFS["g4"]


def letters(codes: np.ndarray) -> str:
    return "".join("ACGTN"[code] for code in codes)


def opposite(sequence: str) -> str:
    return sequence.translate(OPPOSITE)[::-1]


@pytest.fixture(scope="module")
def simulation(tmp_path_factory: pytest.TempPathFactory) -> SimulatedGenome:
    return simulate_genome(tmp_path_factory.mktemp("simulated"), 3, motif=G4)


def test_every_tract_is_four_runs_of_g_on_either_strand(simulation: SimulatedGenome) -> None:
    forward = [FOLDS.fullmatch(tract) is not None for tract in simulation.tracts]
    reverse = [FOLDS.fullmatch(opposite(tract)) is not None for tract in simulation.tracts]
    assert np.array(forward).sum() + np.array(reverse).sum() == len(simulation.tracts) == 1500
    assert 0.4 < np.mean(forward) < 0.6
    sizes = {len(tract) for tract in simulation.tracts}
    assert min(sizes) >= 15
    assert max(sizes) <= G4.longest == 41


def test_decoys_never_fold() -> None:
    rng = np.random.default_rng(0)
    decoys = [letters(G4.decoy(rng)) for _ in range(600)]
    assert not any(FOLDS.search(s) or FOLDS.search(opposite(s)) for s in decoys)
    assert max(map(len, decoys)) <= G4.longest
    both = [decoy if "GG" in decoy else opposite(decoy) for decoy in decoys]
    assert sum("GAGAGAG" in s or "CTCTCTC" in s for s in decoys) > 150
    assert sum("GGG" in s for s in both) > 150
    assert sum("GG" in s and "GGG" not in s for s in both) > 150


def test_the_runs_end_where_the_labels_do(simulation: SimulatedGenome) -> None:
    regions = read_bed(simulation.regions)
    for contig in Fasta(simulation.genome):
        for start, end in zip(*regions.rows[contig.name][:2], strict=True):
            assert contig.codes[start - 1] != contig.codes[start]
            assert contig.codes[end] != contig.codes[end - 1]


def test_the_pattern_finds_them_but_runs_alone_do_not(simulation: SimulatedGenome) -> None:
    regions = read_bed(simulation.regions)
    patterns = {"fold": FOLDS, "runs": re.compile("G{3,5}")}
    counts = {name: np.zeros(3) for name in patterns}
    for contig in Fasta(simulation.genome):
        labels = label_bases(regions.merged(contig.name, len(contig.codes)), len(contig.codes)) > 0
        sequence = letters(contig.codes)
        for name, pattern in patterns.items():
            spans = [match.span() for match in pattern.finditer(sequence)]
            size = len(sequence)
            turned = opposite(sequence)
            spans += [(size - b, size - a) for a, b in map(re.Match.span, pattern.finditer(turned))]
            found = label_bases(merge_intervals(*np.array(spans).T), size) > 0
            counts[name] += [(found & labels).sum(), found.sum(), labels.sum()]
    f1 = {name: 2 * hit / (found + true) for name, (hit, found, true) in counts.items()}
    assert f1["fold"] > 0.9
    assert f1["runs"] < f1["fold"] - 0.2


def test_more_than_fit_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="do not fit"):
        simulate_genome(tmp_path, motif=G4, contig_length=60_000, tracts=1_000, decoys=1_000)

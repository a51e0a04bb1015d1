"""Scores of variants are those of a loop over single windows; planted effects come first."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from hyena_ray.dataset.tokens import codes_to_tokens
from hyena_ray.genome.contigs import open_genome
from hyena_ray.genome.intervals import Intervals
from hyena_ray.genome.simulation import simulate_genome
from hyena_ray.genome.variant_alleles import Allele, cut_windows, encoded, normalise
from hyena_ray.model.build import build_model
from hyena_ray.model.ensemble import Ensemble
from hyena_ray.model.predictor import probabilities
from hyena_ray.model.settings import LoraSettings, ModelSettings, Readout
from hyena_ray.model.window import WindowModel, WindowScorer
from hyena_ray.prediction.variant_scores import Places, VariantScorer, VariantScores
from hyena_ray.prediction.variant_shards import strongest
from hyena_ray.prediction.variant_tables import nearest_regions
from hyena_ray.tasks import TASKS

WINDOW, FLANK = 20, 8


def model_of(seed: int, window: int = WINDOW) -> WindowModel:
    readout = Readout(window=window, flank=FLANK, lookahead=4)
    sizes = ModelSettings(d_model=8, n_layer=1)
    return build_model(sizes, readout, LoraSettings(), TASKS["zdna"], seed=seed).eval()


def windows_of(
    codes: NDArray[np.uint8], alleles: list[Allele], window: int = WINDOW, flank: int = FLANK
) -> tuple[NDArray[np.uint8], Places]:
    windows = np.stack([cut_windows(codes, allele, window, flank) for allele in alleles])
    columns = [
        (own.start - own.window_start(window), len(own.ref), len(own.alt)) for own in alleles
    ]
    return codes_to_tokens(windows), Places(*np.array(columns).T)


@pytest.fixture(scope="module")
def scored() -> tuple[WindowModel, NDArray[np.uint8], list[Allele], VariantScores]:
    codes = np.random.default_rng(0).integers(0, 5, 80, np.uint8)  # with N
    alleles = [
        Allele(at, ref, alt)
        for at in (0, 3, 40, 41, 79)
        for ref, alt in (("x", "A"), ("x", "T"), ("", "GAC"), ("xy", ""), ("x", "CG"))
        if at + len(ref) <= 80
    ]
    # The windows of N alone, of which there are none, would have no highest probability.
    windows, places = windows_of(codes, alleles)
    model = model_of(0)
    with VariantScorer(model, batch=3) as scorer:
        return model, windows, alleles, scorer.score(windows, places)


def test_every_figure_is_that_of_a_loop_over_single_windows(
    scored: tuple[WindowModel, NDArray[np.uint8], list[Allele], VariantScores],
) -> None:
    model, windows, alleles, scores = scored
    for row, allele in enumerate(alleles):
        pair = []
        for which in (0, 1):
            tokens = torch.from_numpy(windows[row, which][None])
            own = probabilities(model, tokens)[0].double().numpy()
            own[windows[row, which, FLANK:-FLANK] == 11] = np.nan
            pair.append(own)
        ref, alt = pair
        np.testing.assert_allclose(scores.ref[row], ref, atol=1e-5)
        np.testing.assert_allclose(scores.alt[row], alt, atol=1e-5)
        assert scores.highest_ref[row] == pytest.approx(np.nanmax(ref), abs=1e-5)
        assert scores.change[row] == pytest.approx(np.nanmax(alt) - np.nanmax(ref), abs=1e-5)
        odds = [float(np.nansum(np.log(own / (1 - own)))) for own in pair]
        assert scores.summed_change[row] == pytest.approx(odds[1] - odds[0], abs=1e-3)
        before = allele.start - allele.window_start(WINDOW)
        shift, changes = len(allele.alt) - len(allele.ref), {}
        for base in range(WINDOW):
            deleted = before + min(len(allele.ref), len(allele.alt)) <= base
            if deleted and base < before + len(allele.ref):
                continue
            partner = base + shift * (base >= before + len(allele.ref))
            if partner < WINDOW and not np.isnan(alt[partner] - ref[base]):
                changes[base] = alt[partner] - ref[base]
        best = max(map(abs, changes.values()))
        assert abs(scores.largest_change[row]) == pytest.approx(best, abs=1e-5)
        at = int(scores.changed_at[row])
        assert scores.largest_change[row] == pytest.approx(changes[at], abs=1e-5)
    assert np.isnan(scores.change_sd).all()


def test_alike_windows_are_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    codes = np.random.default_rng(1).integers(0, 4, 60, np.uint8)
    base = "ACGT"[codes[30]]
    alleles = [Allele(30, base, alt) for alt in "ACGT" if alt != base] * 2
    windows, places = windows_of(codes, alleles)
    read = []
    model, predict = model_of(0), WindowModel.predict

    def counted(self: WindowModel, tokens: torch.Tensor) -> torch.Tensor:
        read.append(len(tokens))
        return predict(self, tokens)

    monkeypatch.setattr(WindowModel, "predict", counted)
    with VariantScorer(model, batch=8) as scorer:
        scores = scorer.score(windows, places)
    assert sum(read) == 4  # the reference and three alternative alleles
    assert (scores.change[:3] == scores.change[3:]).all()


def test_of_several_models_figures_are_means_with_their_spread() -> None:
    codes = np.random.default_rng(2).integers(0, 4, 90, np.uint8)
    alleles = [Allele(40, "x", "ACG"), Allele(44, "xyz", ""), Allele(50, "x", "T")]
    members = [model_of(seed) for seed in range(3)]
    windows, places = windows_of(codes, alleles)

    def score(model: WindowScorer) -> VariantScores:
        with VariantScorer(model, batch=4) as scorer:
            return scorer.score(windows, places)

    single = [score(member) for member in members]
    joined = score(Ensemble(members).eval())
    for name in ("highest_ref", "highest_alt", "change", "summed_ref", "summed_change", "ref"):
        mean = np.mean([getattr(own, name) for own in single], axis=0)
        np.testing.assert_allclose(getattr(joined, name), mean, atol=1e-4)
    for name in ("change", "summed_change"):
        spread = np.std([getattr(own, name) for own in single], axis=0, ddof=1)
        np.testing.assert_allclose(getattr(joined, f"{name}_sd"), spread, atol=1e-4)


def test_both_strands_have_the_same_effect() -> None:
    codes = np.random.default_rng(3).integers(0, 4, 90, np.uint8)
    backwards = (3 - codes)[::-1].copy()
    found = []
    for own, at, ref, alt in ((codes, 45, codes[45], 2), (backwards, 44, backwards[44], 1)):
        allele = Allele(at, "ACGT"[ref], "ACGT"[alt])
        windows, places = windows_of(own, [allele], window=21)  # the base is in the middle
        with VariantScorer(model_of(0, window=21), batch=2) as scorer:
            scores = scorer.score(windows, places)
        found.append((scores.highest_ref[0], scores.change[0], scores.summed_change[0]))
    np.testing.assert_allclose(found[0], found[1], atol=1e-5)


def auroc(score: NDArray[np.float64], label: NDArray[np.bool_]) -> float:
    above = score[label][:, None] - score[~label][None]
    return float(((above > 0) + 0.5 * (above == 0)).mean())


@pytest.mark.parametrize("kind", ["substitution", "deletion", "insertion"])
def test_variants_that_break_a_planted_tract_come_first(tmp_path: Path, kind: str) -> None:
    made = simulate_genome(tmp_path, contigs=1, contig_length=60_000, tracts=120, decoys=120)
    (contig,) = open_genome(made.genome)
    rows = [line.split("\t") for line in made.regions.read_text().splitlines()]
    tracts = [(int(start), int(end)) for _, start, end in rows]
    rng = np.random.default_rng(0)
    places = [(start + end) // 2 for start, end in tracts]
    breaks = np.repeat([True, False], len(places))
    free = np.ones(len(contig.codes), bool)
    for start, end in tracts:
        free[start - 120 : end + 120] = False
    free[:700] = free[-200:] = False
    places += rng.choice(np.flatnonzero(free), len(places), replace=False).tolist()
    alleles = []
    for at in places:
        ref = "ACGT"[contig.codes[at]]
        # A base of the same kind (purine, pyrimidine) as its neighbour breaks the alternation.
        other = {"A": "C", "G": "C", "C": "G", "T": "G"}[ref]
        alt = {"substitution": other, "deletion": "", "insertion": ref + ref}[kind]
        anchor = "ACGT"[contig.codes[at - 1]]
        alleles.append(normalise(contig.codes, at - 1, anchor + ref, anchor + alt))
    readout = Readout(window=100)
    rule = build_model(
        ModelSettings(architecture="rule"), readout, LoraSettings(), TASKS["zdna"], seed=0
    ).eval()
    windows, where = windows_of(contig.codes, alleles, 100, rule.readout.required_flank)
    with VariantScorer(rule, batch=128) as scorer:
        scores = scorer.score(windows, where)
    order = strongest(scores.change, scores.summed_change, len(alleles))
    rank = np.empty(len(order))
    rank[order] = np.arange(len(order))
    assert auroc(-rank, breaks) >= 0.99


spans = st.lists(st.integers(0, 40), min_size=2, max_size=10, unique=True)


@settings(max_examples=60)
@given(spans, st.lists(st.tuples(st.integers(0, 40), st.integers(0, 5)), min_size=1, max_size=6))
def test_the_nearest_region_is_that_of_a_loop(edges: list[int], own: list[tuple[int, int]]) -> None:
    ordered = sorted(edges)[: len(edges) // 2 * 2]
    regions = list(zip(ordered[::2], ordered[1::2], strict=True))
    assert all(before[1] < after[0] for before, after in pairwise(regions))
    start = np.array([at for at, _ in own])
    end = start + np.array([size for _, size in own])
    found = nearest_regions(Intervals(*np.array(regions).T), start, end)
    for row, (first, last) in enumerate(zip(start.tolist(), end.tolist(), strict=True)):
        distances = {}
        for region in regions:
            gap = max(region[0] - last, first - region[1])
            distances[region] = 0 if gap < 0 else gap + 1
        chosen = int(found.start[row]), int(found.end[row])
        assert distances[chosen] == found.distance[row] == min(distances.values())


def test_a_contig_without_regions_has_no_nearest_one() -> None:
    found = nearest_regions(Intervals.empty(), np.array([4]), np.array([5]))
    assert [int(own[0]) for own in found] == [-1, -1, -1]


def test_letters_of_an_allele_are_its_codes() -> None:
    assert encoded("ACGTN").tolist() == [0, 1, 2, 3, 4]
    assert encoded("").tolist() == []

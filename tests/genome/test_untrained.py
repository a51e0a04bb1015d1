"""Untrained predictors: pieces of a genome change no call, and torch's rule is the same one."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hyena_ray.genome import untrained
from hyena_ray.genome.intervals import merge_intervals
from hyena_ray.genome.untrained import (
    CONTEXT,
    UNTRAINED_PREDICTORS,
    called_bases,
    g4hunter_scores,
    zhunt_scores,
    zhunt_windows,
)
from hyena_ray.model.baseline_models import g4hunter
from hyena_ray.tasks import TASKS

RECORDED_ZHUNT = {
    "GGATCGTGGGCG": (7.605862617492676, 7.605862617492676),
    "CGAGAGCGCACG": (96.74258422851562, 96.74258422851562),
    "CGCACTCGCGGC": (195.47886657714844, 245.87808227539062),
    "TGGTAGCGCGCG": (233.04872131347656, 233.04872131347656),
    "GGCGCAAGCAAA": (18.334909439086914, 22.942480087280273),
}
"""Scores of whole rows with windows of 6, and of 4 to 6, dinucleotides, recorded when Z-HUNT was
called with torch."""
RECORDED_G4HUNTER = {
    "GTGGGGTGGAGGCTCCA": 1.1764706373214722,
    "TGGCGGGGCCGAGAGAN": 1.058823585510254,
    "CGGGGGGGTGGTGAGTG": 2.0,
}
"""Scores of whole rows, recorded with torch."""


def codes_of(text: str) -> np.ndarray:
    return np.array([["ACGTN".index(letter) for letter in text]], np.uint8)


def test_scores_are_those_that_were_recorded_before_the_code_moved() -> None:
    for text, scores in RECORDED_ZHUNT.items():
        for pair, score in zip(((6, 6), (4, 6)), scores, strict=True):
            assert zhunt_scores(codes_of(text), pair)[0].max() == np.float32(score)
    for text, score in RECORDED_G4HUNTER.items():
        assert (g4hunter_scores(codes_of(text)) == np.float32(score)).all()


def rich(length: int, seed: int = 0) -> np.ndarray:
    """Random bases with alternations, runs of G and N."""
    rng = np.random.default_rng(seed)
    codes = rng.choice(5, length, p=[0.24, 0.25, 0.25, 0.24, 0.02]).astype(np.uint8)
    for start in rng.integers(0, length, length // 100):
        motif = [1, 2] if rng.random() < 0.5 else [2, 2, 2, 0]
        piece = np.resize(np.array(motif, np.uint8), int(rng.integers(8, 30)))[: length - start]
        codes[start : start + len(piece)] = piece
    return codes


@pytest.mark.parametrize("task", UNTRAINED_PREDICTORS)
@settings(deadline=None, max_examples=15)
@given(
    cuts=st.lists(st.integers(0, 3000), min_size=2, max_size=12, unique=True),
    seed=st.integers(0, 50),
)
def test_pieces_of_a_contig_are_called_as_the_whole(task: str, cuts: list[int], seed: int) -> None:
    predictor, codes = UNTRAINED_PREDICTORS[task], rich(3000, seed)
    edges = sorted(cuts)[: len(cuts) // 2 * 2]
    pieces = merge_intervals(np.array(edges[::2]), np.array(edges[1::2]))
    around = np.pad(codes, CONTEXT, constant_values=4)
    whole = predictor.score(around[None])[0, CONTEXT:-CONTEXT] >= predictor.thresholds[0]
    wanted, told = np.zeros(3000, bool), list[int]()
    for start, end in zip(*pieces, strict=True):
        wanted[start:end] = True
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(untrained, "ROW", 70)
        patch.setattr(untrained, "ROWS", 3)
        found = called_bases(codes, pieces, predictor, told.append)
    assert np.array_equal(found, whole & wanted)
    assert sum(told) == wanted.sum()


@given(st.lists(st.lists(st.integers(0, 4), min_size=31, max_size=31), min_size=1, max_size=4))
def test_the_rule_of_torch_is_g4hunter_to_the_bit(rows: list[list[int]]) -> None:
    for codes in (np.array(rows, np.uint8), np.array(rows, np.uint8)[:, :9]):
        expected = g4hunter(torch.from_numpy(codes.astype(np.int64))).numpy()
        assert np.array_equal(g4hunter_scores(codes), expected)


def test_each_predictor_belongs_to_a_task_with_labels_of_bases() -> None:
    assert all(TASKS[name].kind == "base" for name in UNTRAINED_PREDICTORS)
    assert all(
        list(one.thresholds) == sorted(one.thresholds) for one in UNTRAINED_PREDICTORS.values()
    )


@pytest.mark.parametrize("dinucleotides", [(6, 6), (2, 4)])
def test_scores_that_are_kept_are_those_that_would_be_computed(
    monkeypatch: pytest.MonkeyPatch, dinucleotides: tuple[int, int]
) -> None:
    rng = np.random.default_rng(0)
    # Few letters, so that windows occur again; 4 is unknown.
    batches = [rng.choice([1, 2, 2, 1, 0, 4], (3, 60)).astype(np.uint8) for _ in range(8)]
    kept = [zhunt_windows(codes, dinucleotides) for codes in batches]
    monkeypatch.setattr(untrained, "TABLE_WIDTH", 0)
    for codes, (scores, sizes) in zip(batches, kept, strict=True):
        expected = zhunt_windows(codes, dinucleotides)
        np.testing.assert_array_equal(scores, expected[0])
        np.testing.assert_array_equal(sizes, expected[1])

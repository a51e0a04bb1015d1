"""Negatives by kind: their shares, their bins, and what is refused."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from hyena_ray.errors import InputError
from hyena_ray.genome.negatives import (
    GC_BINS,
    KINDS,
    NegativeSampler,
    check_kinds,
    check_strata,
    gc_bins,
    read_shares,
    shares_text,
)


def draw(
    sampler: NegativeSampler, positives: int, candidates: NDArray[np.int64], seed: int = 0
) -> NDArray[np.int64]:
    """Draw where there is one bin."""
    rng = partial(np.random.default_rng, seed)
    return sampler.draw(np.array([positives]), candidates, np.zeros_like(candidates), rng)


def test_a_ratio_of_none_takes_all_negatives() -> None:
    sampler = NegativeSampler(None)
    for positives, available in ((2, 5), (0, 3), (1, 0)):
        candidates = np.arange(available) * 7
        assert draw(sampler, positives, candidates).tolist() == candidates.tolist()


@settings(deadline=None)
@given(
    st.floats(0, 5),
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 40)), min_size=1, max_size=6),
)
def test_negatives_hold_their_ratio_or_report_the_shortfall(
    ratio: float, contigs: list[tuple[int, int]]
) -> None:
    sampler = NegativeSampler(ratio)
    for positives, available in contigs:
        candidates = np.arange(available) * 7
        drawn = draw(sampler, positives, candidates)
        assert len(np.unique(drawn)) == len(drawn)
        assert set(drawn.tolist()) <= set(candidates.tolist())
        assert (np.diff(drawn) > 0).all()
        assert len(drawn) == available or sampler.shortfall == 0
    assert sampler.drawn + sampler.shortfall == round(ratio * sum(p for p, _ in contigs))


def test_every_negative_is_as_likely_as_another() -> None:
    counts = np.zeros(10)
    for seed in range(2000):
        counts[draw(NegativeSampler(1.0), 3, np.arange(10), seed)] += 1
    np.testing.assert_allclose(counts / 2000, 0.3, atol=0.05)


@settings(deadline=None)
@given(st.floats(0, 4), st.integers(1, 8), st.integers(0, 1000))
def test_every_bin_holds_its_ratio_as_far_as_whole_numbers_and_candidates_allow(
    ratio: float, contigs: int, seed: int
) -> None:
    rng, bins = np.random.default_rng(seed), 4
    sampler = NegativeSampler(ratio, bins)
    wanted, drawn, left = np.zeros(bins), np.zeros(bins, int), 0
    for _ in range(contigs):
        positives = rng.integers(0, 5, bins)
        of_candidate = rng.integers(0, bins, int(rng.integers(0, 120)))
        chosen = sampler.draw(positives, np.arange(len(of_candidate)), of_candidate, lambda: rng)
        assert len(np.unique(chosen)) == len(chosen)
        wanted += ratio * positives
        drawn += np.bincount(of_candidate[chosen], minlength=bins)
        left = len(of_candidate) - len(chosen)
        assert (drawn < wanted + 1 + 1e-6).all()
        # What a bin lacks by more than rounding, this contig does not have any more.
        free = np.bincount(np.delete(of_candidate, chosen), minlength=bins)
        assert ((drawn > wanted - 1 - 1e-6) | (free == 0)).all()
        assert left >= 0
    assert sampler.drawn == drawn.sum()
    assert sampler.drawn <= round(ratio * sampler.positives)


@settings(deadline=None)
@given(st.integers(1, 12), st.integers(1, 3), st.integers(0, 1000), st.integers(1, 50))
def test_gc_content_is_counted_as_by_a_loop(
    length: int, stride: int, seed: int, piece: int
) -> None:
    codes = np.random.default_rng(seed).integers(0, 5, 60).astype(np.uint8)
    starts = np.arange(0, 60 - length + 1, stride)
    expected = []
    for start in starts.tolist():
        known = [code for code in codes[start : start + length].tolist() if code < 4]
        strong = sum(code in (1, 2) for code in known)
        expected.append(min(GC_BINS * strong // max(len(known), 1), GC_BINS - 1))
    assert gc_bins(codes, starts, length, piece).tolist() == expected


@given(
    st.dictionaries(
        st.sampled_from(sorted(set(KINDS) - {"labelled"})),
        st.integers(0, 10**6).map(float),
        min_size=1,
    )
)
def test_shares_are_read_as_they_are_written(shares: dict[str, float]) -> None:
    found = read_shares(shares_text(shares))
    assert found == pytest.approx(shares, rel=1e-5)
    assert list(found) == list(shares)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        *((text, "no valid number") for text in ("", "x", "random", "random:", "random:nan")),
        *((text, "no valid number") for text in ("random:x", "random:inf", "random:1,,tract:1")),
        ("tracts:1", "did you mean tract"),
        ("labelled:1", "unknown kind 'labelled'"),
        ("1,random:2", "given twice"),
        ("random:-1", "greater than or equal to 0"),
        ("1e9", "at most 1,000,000"),
    ],
)
def test_other_texts_are_refused(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        read_shares(text)


def test_tracts_need_a_predictor_that_calls_them() -> None:
    check_kinds({"random": 2, "tract": 1}, "--negatives", has_predictor=True)
    with pytest.raises(InputError, match=r"--negatives: .*no untrained predictor"):
        check_kinds({"random": 2, "tract": 1}, "--negatives", has_predictor=False)


@pytest.mark.parametrize(
    "text", ["tract:1", "other:1", "random:1,tract:1", "gc:1", "tract:1,other:0"]
)
def test_strata_hold_every_stretch_once(text: str) -> None:
    check_strata(read_shares("tract:3,other:1"), "--held-out-negatives", has_predictor=True)
    check_strata(read_shares("2"), "--held-out-negatives", has_predictor=False)
    with pytest.raises(InputError, match=r"--held-out-negatives: .*one stratum"):
        check_strata(read_shares(text), "--held-out-negatives", has_predictor=True)

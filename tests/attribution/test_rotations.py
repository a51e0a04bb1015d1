"""The null distribution of rotations: its exact moments, and p-values that keep their promise."""

import numpy as np
import pytest

from hyena_ray.attribution import rotations
from hyena_ray.attribution.kmers import KmerConfig, fold_kmers
from hyena_ray.attribution.rotations import group_moments, rotation_p_values, window_moments
from hyena_ray.genome.simulation import ZDnaMotif, simulate_background

LENGTH, K = 100, 5


def draw_windows(count, seed):
    """Sequences with a Z-DNA tract each, and scores that are high in the tract."""
    rng = np.random.default_rng(seed)
    bases = simulate_background(rng, count * LENGTH).reshape(count, LENGTH)
    mask = np.zeros(bases.shape, bool)
    motif = ZDnaMotif()
    for row in range(count):
        # A tract may go on at the other end, since windows are cut anywhere through it.
        tract = motif.tract(rng)
        inside = (rng.integers(LENGTH) + np.arange(len(tract))) % LENGTH
        bases[row, inside] = tract
        mask[row, inside] = True
    scores = 0.5 * rng.gamma(2.0, size=(count, 1)) + rng.normal(0, 0.5, bases.shape)
    return bases, np.where(mask, scores, 0.1 * scores - 0.1).astype(np.float32), mask


@pytest.mark.parametrize("block", [1, 40, 1 << 16])
def test_moments_of_a_group_are_those_of_its_sums_under_all_rotations(block, monkeypatch):
    monkeypatch.setattr(rotations, "BLOCK", block)
    rng = np.random.default_rng(0)
    values = rng.normal(size=(4, 13)) * (rng.random((4, 13)) < 0.5)
    sizes = [1, 5, 2, 13, 3]
    windows = [2, 0, 0, 1, 3]
    position = np.concatenate([rng.permutation(13)[:size] for size in sizes])
    starts = np.cumsum([0, *sizes[:-1]])
    found = group_moments(values, np.repeat(windows, sizes), position, starts)
    for group, (size, window) in enumerate(zip(sizes, windows, strict=True)):
        own = position[starts[group] : starts[group] + size]
        sums = np.array([np.roll(values[window], turn)[own].sum() for turn in range(13)])
        centred = sums - sums.mean()
        expected = [sums.mean(), (centred**2).mean(), (centred**3).mean()]
        np.testing.assert_allclose(found[:, group], expected, atol=1e-12)
    np.testing.assert_allclose(found[:, 0], window_moments(values)[:, 2], atol=1e-12)


@pytest.mark.parametrize("occurrences", [1, 2, 3, 5, 10, 30, 100, 500])
def test_p_values_are_uniform_at_any_number_of_occurrences(occurrences):
    """One occurrence in each of several windows, whose scores begin anywhere."""
    rng = np.random.default_rng(occurrences)
    _, scores, _ = draw_windows(1000, seed=1)
    values = scores.astype(float)
    moments = window_moments(values)
    draws = 3000
    windows = rng.integers(len(values), size=(draws, occurrences))
    total = values[windows, rng.integers(LENGTH, size=windows.shape)].sum(axis=1)
    log_rotations = np.full(draws, occurrences * np.log(LENGTH))
    p = rotation_p_values(total, moments[:, windows].sum(axis=2), log_rotations)
    # Three moments do not know that a single occurrence scores either little or a lot.
    assert 0.03 < (p < 0.05).mean() < (0.07 if occurrences > 2 else 0.09)
    assert (p < 0.001).mean() < 0.003


@pytest.mark.parametrize("k", [3, 5])
def test_p_values_are_calibrated_when_labels_are_permuted_against_scores(k):
    """Sequence and labels of each window meet the scores of another one: no k-mer is special."""
    rng = np.random.default_rng(0)
    share = {}
    for seed in range(40):
        bases, scores, mask = draw_windows(400, seed)
        sums = fold_kmers(bases, scores[rng.permutation(len(bases))], KmerConfig(k=k), mask)
        p = rotation_p_values(sums.total, sums.by_chance, sums.log_rotations)
        for low, high in ((5, 50), (50, 10_000)):
            some = (sums.count >= low) & (sums.count < high)
            share.setdefault((low, high), []).append(p[some])
    for count, parts in share.items():
        together = np.concatenate(parts)
        if len(together) > 100:
            assert 0.03 < (together < 0.05).mean() < 0.07, count
            assert 0.4 < np.median(together) < 0.6, count


def test_the_scores_as_they_are_is_one_of_the_rotations():
    total, moments = np.array([100.0]), np.array([[0.0], [1.0], [0.0]])
    assert rotation_p_values(total, moments, np.log([96.0]))[0] == pytest.approx(1 / 96)
    # Even where both numbers are too small for a float, it is above 0.
    assert rotation_p_values(total, moments, np.array([1e4]))[0] > 0


def test_rotations_that_change_nothing_say_nothing():
    sums = fold_kmers(np.zeros((3, 8), np.uint8), np.full((3, 8), 0.3, np.float32), KmerConfig(k=2))
    p = rotation_p_values(sums.total[:1], sums.by_chance[:, :1], sums.log_rotations[:1])
    assert p.tolist() == [1.0]

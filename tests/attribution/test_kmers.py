import dataclasses
import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyena_ray.attribution.kmers import (
    KmerConfig,
    KmerSums,
    canonical_codes,
    count_kmers,
    fold_kmers,
    kmer_codes,
)
from hyena_ray.attribution.settings import MAX_K
from hyena_ray.errors import InputError


def encode(*sequences):
    return np.array([["ACGT".find(letter) % 5 for letter in s] for s in sequences], np.uint8)


def code(kmer):
    return int(kmer_codes(encode(kmer), len(kmer))[0, 0])


@st.composite
def batches(draw):
    k = draw(st.integers(1, 4))
    shape = (draw(st.integers(1, 6)), draw(st.integers(k, 12)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    bases = rng.integers(0, 5 if draw(st.booleans()) else 2, shape).astype(np.uint8)
    scores = rng.normal(0, 3, shape).astype(np.float32)
    mask = rng.random(shape) < draw(st.sampled_from([0.0, 0.7, 1.0]))
    return bases, scores, mask, KmerConfig(k=k)


def by_hand(bases, scores, mask, k):
    """Per window, k-mer to the list of its occurrences' scores; and what was skipped."""
    windows, skipped = [], 0
    for row in range(len(bases)):
        found = {}
        for i in range(bases.shape[1] - k + 1):
            kmer = tuple(bases[row, i : i + k].tolist())
            if 4 in kmer or not mask[row, i : i + k].all():
                skipped += 1
            else:
                value = float(np.float64(scores[row, i : i + k]).sum())
                number = sum(base * 4 ** (k - 1 - j) for j, base in enumerate(kmer))
                found.setdefault(number, []).append(value)
        windows.append(found)
    return windows, skipped


@given(batches())
def test_sums_are_those_of_a_loop_over_every_occurrence(batch):
    bases, scores, mask, config = batch
    sums = fold_kmers(bases, scores, config, mask)
    windows, skipped = by_hand(bases, scores, mask, config.k)
    assert sums.skipped == skipped
    assert sums.count.sum() == sum(len(values) for found in windows for values in found.values())
    for number in range(4**config.k):
        n = np.array([len(found.get(number, [])) for found in windows], float)
        s = np.array([sum(found.get(number, [])) for found in windows], float)
        values = [v for found in windows for v in found.get(number, [])]
        assert sums.count[number] == n.sum()
        assert sums.windows[number] == (n > 0).sum()
        np.testing.assert_allclose(sums.total[number], s.sum(), atol=1e-9)
        np.testing.assert_allclose(sums.squares[number], np.square(values).sum(), atol=1e-9)
        np.testing.assert_allclose(sums.spread[:, number], [s @ s, s @ n, n @ n], atol=1e-9)


def rotated_sums(bases, scores, mask, config):
    """For every k-mer, its sums under every rotation of each window that it occurs in."""
    codes = kmer_codes(bases, config.k)
    if config.merge_strands:
        codes = np.where(codes < 0, codes, canonical_codes(config.k)[codes])
    positions = codes.shape[1]
    sums = [[] for _ in range(4**config.k)]
    for row in range(len(bases)):
        values = np.array(
            [scores[row, at : at + config.k].astype(float).sum() for at in range(positions)]
        )
        values[codes[row] < 0] = 0
        inside = [mask[row, at : at + config.k].all() for at in range(positions)]
        for number in set(codes[row][codes[row] >= 0].tolist()):
            own = (codes[row] == number) & inside
            if own.any():
                turns = [np.roll(values, turn)[own].sum() for turn in range(positions)]
                sums[number].append(np.array(turns))
    return sums


@given(batches(), st.booleans())
def test_what_chance_gives_is_that_of_all_rotations_of_each_window(batch, merge):
    bases, scores, mask, config = batch
    config = dataclasses.replace(config, merge_strands=merge)
    sums = fold_kmers(bases, scores, config, mask)
    length = bases.shape[1] - config.k + 1
    for number, turns in enumerate(rotated_sums(bases, scores, mask, config)):
        expected = np.zeros(3)
        for values in turns:
            centred = values - values.mean()
            expected += [values.mean(), (centred**2).mean(), (centred**3).mean()]
        np.testing.assert_allclose(sums.by_chance[:, number], expected, atol=1e-6)
        assert sums.log_rotations[number] == pytest.approx(len(turns) * np.log(length))


@given(batches(), st.data())
def test_sums_of_parts_add_up_to_the_sums_of_the_whole(batch, data):
    bases, scores, mask, config = batch
    cut = data.draw(st.integers(0, len(bases)))
    whole = fold_kmers(bases, scores, config, mask)
    parts = fold_kmers(bases[:cut], scores[:cut], config, mask[:cut]) + fold_kmers(
        bases[cut:], scores[cut:], config, mask[cut:]
    )
    for field in dataclasses.fields(KmerSums):
        np.testing.assert_allclose(
            getattr(parts, field.name), getattr(whole, field.name), atol=1e-9, err_msg=field.name
        )


def test_n_never_forms_a_kmer():
    sums = fold_kmers(encode("ACNGT"), np.ones((1, 5), np.float32), KmerConfig(k=2))
    assert (sums.count.sum(), sums.skipped) == (2, 2)


def test_a_kmer_that_sticks_out_of_the_mask_is_not_counted():
    mask = np.array([[0, 1, 1, 1, 0]], bool)
    sums = fold_kmers(encode("ACGTA"), np.ones((1, 5), np.float32), KmerConfig(k=2), mask)
    assert np.flatnonzero(sums.count).tolist() == [code("CG"), code("GT")]
    assert sums.skipped == 2


def test_unattributed_windows_may_hold_nan_where_the_mask_is_closed():
    scores = np.array([[np.nan] * 3, [1, 2, 3]], np.float32)
    mask = np.array([[False] * 3, [True] * 3])
    sums = fold_kmers(encode("ACG", "ACG"), scores, KmerConfig(k=3), mask)
    assert sums.total[code("ACG")] == 6
    for field in dataclasses.fields(KmerSums):
        assert np.isfinite(getattr(sums, field.name)).all()


def test_kmers_are_in_lexicographic_order():
    kmers = ["AAA", "AAC", "ACA", "CAA", "GTA", "TTT"]
    assert [code(kmer) for kmer in kmers] == sorted(code(kmer) for kmer in kmers)
    assert code("TTT") == 63


@given(batches())
def test_importance_counts_are_those_of_a_loop(batch):
    bases, scores, mask, config = batch
    counts = count_kmers(bases, mask, config)
    inside, _ = by_hand(bases, scores, mask, config.k)
    everywhere, _ = by_hand(bases, scores, np.ones_like(mask), config.k)
    for number in range(4**config.k):
        assert counts.tp_count[number] == sum(len(w.get(number, [])) for w in inside)
        assert counts.occurrences[number] == sum(len(w.get(number, [])) for w in everywhere)


def test_the_longest_kmers_have_codes_of_their_own():
    codes = kmer_codes(np.array([[3] * 12 + [0] * 12], np.uint8), MAX_K)[0]
    assert codes[0] == 4**MAX_K - 1
    assert codes[-1] == 0
    assert len(set(codes.tolist())) == 13


@pytest.mark.parametrize("length", [10, 2000], ids=["int32 sort keys", "int64 sort keys"])
def test_long_kmers_are_counted_in_windows_of_any_length(length):
    bases = np.array([[3] * length + [0] * length], np.uint8)
    sums = fold_kmers(bases, np.ones(bases.shape, np.float32), KmerConfig(k=10))
    assert sums.count[4**10 - 1] == sums.count[0] == length - 9
    assert sums.windows[4**10 - 1] == sums.windows[0] == 1
    assert sums.spread[2, 0] == (length - 9) ** 2
    assert sums.count.sum() == 2 * length - 9


@pytest.mark.parametrize(
    ("bases", "scores", "k", "words"),
    [
        ((2, 4), (2, 5), 2, "bases are (2, 4)"),
        ((2, 4), (2, 4), 5, "longer than a window of 4 bases"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(bases, scores, k, words):
    with pytest.raises(InputError, match=words.replace("(", r"\(").replace(")", r"\)")):
        fold_kmers(np.zeros(bases, np.uint8), np.zeros(scores, np.float32), KmerConfig(k=k))


@pytest.mark.parametrize("k", [0, 13])
def test_a_k_out_of_range_is_refused(k):
    with pytest.raises(InputError, match="1 to 12"):
        KmerConfig(k=k)


def test_sums_of_different_k_do_not_add():
    with pytest.raises(InputError, match="use one k"):
        KmerSums.zero(KmerConfig(k=2)) + KmerSums.zero(KmerConfig(k=3))


@given(batches())
def test_merged_strands_are_those_of_kmers_named_by_the_first_of_a_pair(batch):
    bases, scores, mask, config = batch
    merged = KmerConfig(k=config.k, merge_strands=True)
    sums, plain = fold_kmers(bases, scores, merged, mask), fold_kmers(bases, scores, config, mask)
    names = ["".join(letters) for letters in itertools.product("ACGT", repeat=config.k)]
    pair = [min(name, name[::-1].translate(str.maketrans("ACGT", "TGCA"))) for name in names]
    first = [names.index(name) for name in pair]
    assert (sums.count == np.bincount(first, plain.count, len(names))).all()
    np.testing.assert_allclose(sums.total, np.bincount(first, plain.total, len(names)), atol=1e-9)
    assert sums.skipped == plain.skipped
    counts = count_kmers(bases, mask, merged)
    assert (counts.tp_count == sums.count).all()


def test_a_window_and_its_reverse_complement_have_the_same_merged_kmers():
    config = KmerConfig(k=3, merge_strands=True)
    forward, scores = encode("ACGGTTNAC"), np.arange(9, dtype=np.float32)[None]
    reverse = np.where(forward < 4, 3 - forward, 4)[:, ::-1]
    first, second = (
        fold_kmers(forward, scores, config),
        fold_kmers(reverse, scores[:, ::-1], config),
    )
    for field in ("count", "windows", "total", "squares", "spread", "by_chance"):
        np.testing.assert_allclose(getattr(first, field), getattr(second, field))

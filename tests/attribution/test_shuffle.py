from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from hyena_ray.attribution import path_baselines
from hyena_ray.attribution.path_baselines import dinucleotide_shuffles

CPU = torch.device("cpu")
BASES = arrays(
    np.uint8,
    array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=40),
    elements=st.integers(0, 4),
)


def pairs(bases):
    return Counter(zip(bases[:-1].tolist(), bases[1:].tolist(), strict=True))


def shuffled(bases, first_key=0):
    keys = np.arange(first_key, first_key + len(bases), dtype=np.uint64)
    return dinucleotide_shuffles(bases, keys, CPU).numpy()


@given(BASES, st.integers(0, 2**32))
def test_every_dinucleotide_stays_as_frequent_and_the_ends_stay(bases, key):
    for before, after in zip(bases, shuffled(bases, key), strict=True):
        assert pairs(after) == pairs(before)
        assert after[0] == before[0]
        assert after[-1] == before[-1]


@given(BASES, st.integers(0, 2**32))
def test_unknown_bases_stay_where_they_are(bases, key):
    assert ((shuffled(bases, key) == 4) == (bases == 4)).all()


@pytest.mark.parametrize(
    "bases",
    [
        [0, 1, 0, 2, 1, 0, 1, 2, 0],
        [0, 1, 1, 0, 2, 0, 1, 2, 1],
        # The last A must go on to C, which one pair in six does.
        [0, 0, 1, 0, 0, 0, 0, 1, 2, 2, 1, 3],
        # An unknown base divides what is shuffled.
        [0, 1, 0, 2, 0, 4, 3, 3, 1, 3, 2, 3],
    ],
)
def test_every_arrangement_is_equally_likely(bases):
    bases = np.array(bases, np.uint8)
    draws = 6000
    seen = Counter(row.tobytes() for row in shuffled(np.tile(bases, (draws, 1))))
    expected = arrangements(bases)
    assert set(seen) == {path.tobytes() for path in expected}
    share = draws / len(expected)
    chi_square = sum((n - share) ** 2 / share for n in seen.values())
    freedom = len(expected) - 1
    assert chi_square < freedom + 4 * (2 * freedom) ** 0.5


def arrangements(bases):
    """All sequences with the same pairs and ends, found by trying every next base."""
    unknown = np.flatnonzero(bases == 4)
    if len(unknown):
        at = unknown[0]
        return [
            np.concatenate([first, [np.uint8(4)], second])
            for first in arrangements(bases[:at])
            for second in arrangements(bases[at + 1 :])
        ]
    found = []

    def extend(path, left):
        if not left:
            found.append(np.array(path, np.uint8))
        for pair in list(left):
            if pair[0] == path[-1]:
                extend([*path, pair[1]], left - Counter([pair]))

    extend([int(bases[0])], pairs(bases))
    return [path for path in found if path[-1] == bases[-1]]


def test_a_sequence_is_shuffled_by_its_key_alone(monkeypatch):
    bases = np.random.default_rng(1).integers(0, 5, (30, 164)).astype(np.uint8)
    whole = shuffled(bases)
    assert (whole != bases).mean() > 0.1
    for row in (0, 7, 29):
        assert (shuffled(bases[row : row + 1], row)[0] == whole[row]).all()
    monkeypatch.setattr(path_baselines, "POSITIONS", 200)
    assert (shuffled(bases) == whole).all()
    assert (shuffled(bases, 1) != whole).any()

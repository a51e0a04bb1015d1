from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from hyena_ray.attribution.path_baselines import dinucleotide_shuffle

BASES = arrays(np.uint8, st.integers(0, 60), elements=st.integers(0, 4))


def pairs(bases):
    return Counter(zip(bases[:-1].tolist(), bases[1:].tolist(), strict=True))


@given(BASES, st.integers(0, 2**32))
def test_every_dinucleotide_stays_as_frequent_and_the_ends_stay(bases, seed):
    shuffled = dinucleotide_shuffle(bases, np.random.default_rng(seed))
    assert pairs(shuffled) == pairs(bases)
    assert (shuffled[:1] == bases[:1]).all()
    assert (shuffled[-1:] == bases[-1:]).all()


@given(BASES, st.integers(0, 2**32))
def test_unknown_bases_stay_where_they_are(bases, seed):
    shuffled = dinucleotide_shuffle(bases, np.random.default_rng(seed))
    assert ((shuffled == 4) == (bases == 4)).all()


def test_every_arrangement_is_equally_likely():
    # The Euler paths of this sequence, found by trying all of them.
    bases = np.array([0, 1, 0, 2, 1, 0, 1, 2, 0], np.uint8)
    generator = np.random.default_rng(0)
    draws = 6000
    seen = Counter(dinucleotide_shuffle(bases, generator).tobytes() for _ in range(draws))
    expected = {
        path.tobytes()
        for path in (
            np.array([0, *middle, 0], np.uint8) for middle in np.ndindex(*[3] * (len(bases) - 2))
        )
        if pairs(path) == pairs(bases)
    }
    assert set(seen) == expected
    share = draws / len(expected)
    assert sum((n - share) ** 2 / share for n in seen.values()) < 2.5 * len(expected)


def test_a_long_sequence_changes_and_a_generator_repeats_it():
    bases = np.random.default_rng(1).integers(0, 4, 164).astype(np.uint8)
    first, again, other = (dinucleotide_shuffle(bases, np.random.default_rng(s)) for s in (2, 2, 3))
    assert (first == again).all()
    assert (first != bases).mean() > 0.5
    assert (first != other).any()

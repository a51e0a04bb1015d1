"""What was planted comes out of the alignments."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyena_ray.report._alignment import (
    align_sites,
    base_counts,
    group_kmers,
    information,
    reverse_complement_kmer,
)


def test_shifted_kmers_align() -> None:
    (family,) = group_kmers(["ACGTT", "CGTTA", "GACGT"], strands=False)
    assert family.aligned == (".ACGTT.", "..CGTTA", "GACGT..")


def test_a_reverse_complement_joins_where_strands_are_alike() -> None:
    kmers = ["AACCC", reverse_complement_kmer("AACCC")]
    (family,) = group_kmers(kmers, strands=True)
    assert family.kmers == tuple(kmers)
    assert family.aligned == ("AACCC", "AACCC")
    assert len(group_kmers(kmers, strands=False)) == 2


def test_one_mismatch_is_allowed_without_a_shift_and_none_with_one() -> None:
    assert len(group_kmers(["AACCC", "AACGC"], strands=False)) == 1
    assert len(group_kmers(["AACCC", "AAGGC"], strands=False)) == 2
    # Shifted by one, ACCC agrees with ACCG but for its last base.
    assert len(group_kmers(["AACCC", "ACCGT"], strands=False)) == 2


@given(st.lists(st.text("ACGT", min_size=5, max_size=5), unique=True, max_size=12), st.booleans())
def test_every_kmer_is_in_one_family(kmers: list[str], strands: bool) -> None:
    found = group_kmers(kmers, strands=strands)
    assert sorted(kmer for family in found for kmer in family.kmers) == sorted(kmers)
    for family in found:
        assert len({len(aligned) for aligned in family.aligned}) == 1
        for kmer, aligned in zip(family.kmers, family.aligned, strict=True):
            forms = {kmer, reverse_complement_kmer(kmer)} if strands else {kmer}
            assert aligned.strip(".") in forms


def planted(count: int, *, turned: bool) -> tuple[np.ndarray, np.ndarray]:
    """Random pieces of 24 bases with one motif of 12 within 6 bases of the middle."""
    rng = np.random.default_rng(0)
    motif = np.array([0, 0, 1, 2, 3, 3, 0, 2, 1, 1, 3, 2], np.uint8)
    pieces = rng.integers(0, 4, (count, 24)).astype(np.uint8)
    for piece in pieces:
        # Most lie in the middle, so that there is something to begin with.
        first = 6 if rng.random() < 0.5 else int(rng.integers(0, 13))
        piece[first : first + 12] = motif
        if turned and rng.random() < 0.4:
            piece[:] = (3 - piece)[::-1]
    return pieces, motif


@pytest.mark.parametrize("turned", [False, True])
def test_a_planted_motif_is_found_in_every_piece(turned: bool) -> None:
    pieces, motif = planted(200, turned=turned)
    sites = align_sites(pieces, 12, strands=turned)
    either = (motif, (3 - motif)[::-1])
    alike = max((sites.bases == of).all(axis=1).mean() for of in either)
    assert alike > 0.97
    assert sites.information > 20


def test_a_turned_motif_is_not_found_on_one_strand() -> None:
    pieces, motif = planted(200, turned=True)
    sites = align_sites(pieces, 12, strands=False)
    assert (sites.bases == motif).all(axis=1).mean() < 0.8


def test_an_unknown_base_takes_no_part() -> None:
    pieces, _ = planted(60, turned=False)
    pieces[:, 0] = 4
    assert base_counts(pieces)[0].tolist() == [0, 0, 0, 0]
    assert align_sites(pieces, 12, strands=True).bases.shape == (60, 12)


def test_information_is_two_bits_of_one_base_and_none_of_all() -> None:
    many = 1_000_000.0
    counts = np.array([[many, 0, 0, 0], [many] * 4, [many, many, 0, 0], [0, 0, 0, 0]])
    assert information(counts) == pytest.approx([2, 0, 1, 0], abs=1e-4)
    # Few counts look informative by chance alone, and are made less so.
    assert information(np.array([[3.0, 0, 0, 0]]))[0] < 1.3

"""Lay short sequences over each other without gaps, so that a logo can be made of them.

Bases are A C G T = 0 1 2 3, anything else 4; the reverse complement of base b is 3 - b.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

PSEUDOCOUNT = 0.5
"""Of each base, where likelihoods are taken."""
ROUNDS = 20


class Family(NamedTuple):
    """k-mers that lie over each other."""

    kmers: tuple[str, ...]
    """As given, best first."""
    placed: tuple[str, ...]
    """The same, perhaps as reverse complement, all of one length; dots where they do not reach."""


def reverse_complement(kmer: str) -> str:
    """Of letters A C G T."""
    return kmer.translate(str.maketrans("ACGT", "TGCA"))[::-1]


def families(kmers: Sequence[str], *, strands: bool) -> list[Family]:
    """Group k-mers, best first, each with the first group whose best one it overlaps in all but two
    bases with no mismatch, or in all with one.

    Args:
        kmers: of one length.
        strands: whether a k-mer may join as its reverse complement.

    Returns:
        Groups in the order of their best ones.
    """
    groups: list[list[tuple[str, str, int]]] = []
    for kmer in kmers:
        forms = [kmer, reverse_complement(kmer)] if strands else [kmer]
        for group in groups:
            seed = group[0][0]
            fits = [
                (score, -abs(shift), form, shift)
                for form in forms
                for shift in range(-2, 3)
                if (score := _fit(seed, form, shift)) is not None
            ]
            if fits:
                _, _, form, shift = max(fits, key=lambda fit: fit[:2])
                group.append((kmer, form, shift))
                break
        else:
            groups.append([(kmer, kmer, 0)])
    return [_family(group) for group in groups]


def _fit(seed: str, form: str, shift: int) -> int | None:
    """Bases that agree where `form` begins `shift` after `seed`; None where it does not fit."""
    first, last = max(0, shift), min(len(seed), len(form) + shift)
    pairs = list(zip(seed[first:last], form[first - shift : last - shift], strict=True))
    alike = sum(a == b for a, b in pairs)
    wrong = len(pairs) - alike
    return alike if wrong == 0 or (shift == 0 and wrong == 1) else None


def _family(group: list[tuple[str, str, int]]) -> Family:
    first = min(shift for *_, shift in group)
    last = max(shift + len(form) for _, form, shift in group)
    return Family(
        tuple(kmer for kmer, *_ in group),
        tuple(
            "." * (shift - first) + form + "." * (last - shift - len(form))
            for _, form, shift in group
        ),
    )


class Sites(NamedTuple):
    """Pieces of one width that look alike."""

    bases: NDArray[np.uint8]
    """(n, width)"""
    information: float
    """Bits of the whole width, against equal shares of bases."""


def align_sites(pieces: NDArray[np.uint8], width: int, *, strands: bool) -> Sites:
    """Choose in every piece the place, and the strand, that look most like those of all others.

    From the middles on, each piece moves to where it is likeliest under the shares of bases of all
    pieces, until none moves.

    Args:
        pieces: (n, length) with length >= width.
        width: of a site.
        strands: whether a piece may be turned round.

    Source: hard-assignment EM, as Lawrence & Reilly 1990 in its limit.
    """
    forms = [pieces]
    if strands:
        forms.append(np.where(pieces < 4, 3 - pieces, 4)[:, ::-1].astype(np.uint8))
    # (n, places, width): every place of every form, the middle of the given strand first of equals.
    places = np.concatenate(
        [np.lib.stride_tricks.sliding_window_view(form, width, axis=1) for form in forms], axis=1
    )
    rows = np.arange(len(pieces))
    chosen = np.full(len(pieces), (pieces.shape[1] - width) // 2)
    for _ in range(ROUNDS):
        counts = base_counts(places[rows, chosen]) + PSEUDOCOUNT
        # An unknown base says nothing either way.
        weight = np.append(
            np.log(counts / counts.sum(axis=1, keepdims=True) * 4), np.zeros((width, 1)), axis=1
        )
        likely = weight[np.arange(width), places].sum(axis=2)
        moved = likely.argmax(axis=1)
        better = likely[rows, moved] > likely[rows, chosen] + 1e-9
        if not better.any():
            break
        chosen = np.where(better, moved, chosen)
    sites = places[rows, chosen]
    return Sites(sites, float(information(base_counts(sites)).sum()))


def base_counts(bases: NDArray[np.uint8]) -> NDArray[np.float64]:
    """(width, 4) how often each base stands at each position of (n, width)."""
    return np.stack([(bases == base).sum(axis=0) for base in range(4)], axis=1).astype(np.float64)


def information(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """(width,) bits of positions with (width, 4) counts; 2 where only one base stands, 0 where all
    are as frequent. Less the bias of few counts, not below 0.

    Source: Schneider & Stephens 1990; Schneider et al. 1986 for the bias.
    """
    total = counts.sum(axis=1)
    share = counts / np.maximum(total, 1)[:, None]
    entropy = -(share * np.log2(np.where(share > 0, share, 1))).sum(axis=1)
    bias = 3 / (2 * np.log(2) * np.maximum(total, 1))
    return np.where(total > 0, np.maximum(2 - entropy - bias, 0), 0.0)

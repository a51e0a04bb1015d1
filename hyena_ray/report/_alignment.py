"""Ungapped alignment of short sequences, from which a logo is drawn.

Bases are A C G T = 0 1 2 3, anything else 4; the reverse complement of base b is 3 - b.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

PSEUDOCOUNT = 0.5
"""Count that is added to each base before likelihoods are taken."""
ROUNDS = 20
"""Rounds of `align_sites` at most."""
MAX_SHIFT = 2
"""Bases by which a k-mer of a family may be shifted against the best one."""


class Family(NamedTuple):
    """K-mers that align with each other."""

    kmers: tuple[str, ...]
    """The k-mers as given, best first."""
    aligned: tuple[str, ...]
    """Rows of the alignment, all of one length: the k-mers or their reverse complements, with dots
    on both sides."""


def reverse_complement_kmer(kmer: str) -> str:
    """Return the reverse complement of a k-mer.

    Args:
        kmer: Letters A C G T.

    Example:
        >>> reverse_complement_kmer("AACG")
        'CGTT'
    """
    return kmer.translate(str.maketrans("ACGT", "TGCA"))[::-1]


def group_kmers(kmers: Sequence[str], *, strands: bool) -> list[Family]:
    """Group k-mers that align with each other without gaps.

    A k-mer joins the first family whose best member it overlaps in all but two bases without a
    mismatch, or in all bases with one mismatch.

    Args:
        kmers: K-mers of one length, best first.
        strands: Whether a k-mer may join as its reverse complement.

    Returns:
        Families in the order of their best members.

    Example:
        >>> group_kmers(["CGCGTG", "GCGTGC", "TTTAAA"], strands=False)[0].aligned
        ('CGCGTG.', '.GCGTGC')
    """
    groups: list[list[tuple[str, str, int]]] = []
    for kmer in kmers:
        forms = [kmer, reverse_complement_kmer(kmer)] if strands else [kmer]
        for group in groups:
            seed = group[0][0]
            fits = [
                (matches, -abs(shift), form, shift)
                for form in forms
                for shift in range(-MAX_SHIFT, MAX_SHIFT + 1)
                if (matches := _matches(seed, form, shift)) is not None
            ]
            if fits:
                _, _, form, shift = max(fits, key=lambda fit: fit[:2])
                group.append((kmer, form, shift))
                break
        else:
            groups.append([(kmer, kmer, 0)])
    return [_family(group) for group in groups]


def _matches(seed: str, form: str, shift: int) -> int | None:
    """Count equal bases where `form` begins `shift` bases after `seed`; None for a misfit."""
    first, end = max(0, shift), min(len(seed), len(form) + shift)
    pairs = list(zip(seed[first:end], form[first - shift : end - shift], strict=True))
    matches = sum(a == b for a, b in pairs)
    mismatches = len(pairs) - matches
    return matches if mismatches == 0 or (shift == 0 and mismatches == 1) else None


def _family(group: list[tuple[str, str, int]]) -> Family:
    first = min(shift for *_, shift in group)
    end = max(shift + len(form) for _, form, shift in group)
    return Family(
        tuple(kmer for kmer, *_ in group),
        tuple(
            "." * (shift - first) + form + "." * (end - shift - len(form))
            for _, form, shift in group
        ),
    )


class Sites(NamedTuple):
    """Subsequences of one width that resemble each other."""

    bases: NDArray[np.uint8]
    """Base codes, shape (n, width)."""
    information: float
    """Information content of the whole width in bits, against equal frequencies of the bases."""


def align_sites(pieces: NDArray[np.uint8], width: int, *, strands: bool) -> Sites:
    """Choose in every piece the position, and the strand, that most resembles all others.

    Every piece starts at its middle and moves to where it is likeliest under the base frequencies
    of all pieces, until none moves.

    Args:
        pieces: Base codes, shape (n, length), with length >= width.
        width: Bases of a site.
        strands: Whether a piece may be reverse-complemented.

    Reference: hard-assignment EM, the limit of Lawrence & Reilly 1990.
    """
    forms = [pieces]
    if strands:
        forms.append(np.where(pieces < 4, 3 - pieces, 4)[:, ::-1].astype(np.uint8))
    # Shape (n, positions, width): every position of every form; of equals the first wins.
    windows = np.concatenate(
        [np.lib.stride_tricks.sliding_window_view(form, width, axis=1) for form in forms], axis=1
    )
    rows = np.arange(len(pieces))
    chosen = np.full(len(pieces), (pieces.shape[1] - width) // 2)
    for _ in range(ROUNDS):
        counts = base_counts(windows[rows, chosen]) + PSEUDOCOUNT
        # An unknown base is evidence neither for nor against a position.
        weight = np.append(
            np.log(counts / counts.sum(axis=1, keepdims=True) * 4), np.zeros((width, 1)), axis=1
        )
        likelihood = weight[np.arange(width), windows].sum(axis=2)
        best = likelihood.argmax(axis=1)
        better = likelihood[rows, best] > likelihood[rows, chosen] + 1e-9
        if not better.any():
            break
        chosen = np.where(better, best, chosen)
    sites = windows[rows, chosen]
    return Sites(sites, float(information(base_counts(sites)).sum()))


def base_counts(bases: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Count each base at each position; unknown bases are not counted.

    Args:
        bases: Base codes, shape (n, width).

    Returns:
        Counts of A C G T, shape (width, 4).
    """
    return np.stack([(bases == base).sum(axis=0) for base in range(4)], axis=1).astype(np.float64)


def information(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Compute the information content of positions in bits, less the bias of few counts.

    Args:
        counts: Counts of A C G T, shape (width, 4).

    Returns:
        Bits, shape (width,): 2 for a single base, 0 for equal frequencies, never below 0.

    Reference: Schneider & Stephens 1990; Schneider et al. 1986 for the bias.
    """
    total = counts.sum(axis=1)
    frequency = counts / np.maximum(total, 1)[:, None]
    entropy = -(frequency * np.log2(np.where(frequency > 0, frequency, 1))).sum(axis=1)
    bias = 3 / (2 * np.log(2) * np.maximum(total, 1))
    return np.where(total > 0, np.maximum(2 - entropy - bias, 0), 0.0)

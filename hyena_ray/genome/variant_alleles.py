"""Alleles on a genome: held against its bases, brought to one form, and cut out as windows.

One change of DNA can be written in many ways: in a run of A, the deletion of any one of them is the
same. So alleles are trimmed and moved as far to the left as they go before windows are cut, and
all ways to write a change get the same windows.
Reference: Tan, Abecasis and Kang, Unified representation of genetic variants, Bioinformatics 2015.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hyena_ray.genome.contigs import LETTER_CODES, N_CODE, Contig
from hyena_ray.genome.variant_files import VariantRow

MISMATCH = "reference mismatch"
"""Why an allele is skipped whose reference allele is not what the genome has."""
INSERTED = np.iinfo(np.int64).min
"""Position of a base that the reference does not have."""
_ACGT = re.compile("[ACGT]+")


class Allele(NamedTuple):
    """A change of a contig: bases that are replaced, and what they are replaced with."""

    start: int
    """First base that is replaced, 0-based; where bases are inserted, the base after them."""
    ref: str
    """Bases that are replaced; empty for an insertion."""
    alt: str
    """Bases in their place; empty for a deletion."""

    @property
    def end(self) -> int:
        """One past the last base that is replaced."""
        return self.start + len(self.ref)

    def window_start(self, window: int) -> int:
        """Return the first base of the windows of both alleles, the longer of which is centred.

        Args:
            window: Bases of a window.
        """
        return self.start - (window - max(len(self.ref), len(self.alt))) // 2


class CheckedAllele(NamedTuple):
    """An alternative allele of a file."""

    row: VariantRow
    """Its row."""
    number: int
    """Number of the allele in its row, from 0."""
    allele: Allele | None
    """The change; None where it is skipped."""
    reason: str | None
    """Why it is skipped."""


def normalise(codes: NDArray[np.uint8], start: int, ref: str, alt: str) -> Allele:
    """Trim the bases that both alleles share, and move an insertion or a deletion to the left.

    Args:
        codes: Base codes of the contig, shape (n,).
        start: First base of the reference allele, 0-based.
        ref: Reference allele, which is what the contig has there; A, C, G, T.
        alt: Alternative allele, another one.

    Example:
        >>> contig = np.frombuffer(b"GAAAC".translate(LETTER_CODES), np.uint8)
        >>> normalise(contig, 2, "AA", "A")
        Allele(start=1, ref='A', alt='')
    """
    shorter = min(len(ref), len(alt))
    behind = 0
    while behind < shorter and ref[-1 - behind] == alt[-1 - behind]:
        behind += 1
    ref, alt = ref[: len(ref) - behind], alt[: len(alt) - behind]
    before = 0
    while before < shorter - behind and ref[before] == alt[before]:
        before += 1
    start, ref, alt = start + before, ref[before:], alt[before:]
    if ref and alt:
        return Allele(start, ref, alt)
    moved = ref or alt
    own = encoded(moved)
    steps = 0
    while steps < start and codes[start - 1 - steps] == own[-1 - steps % len(own)]:
        steps += 1
    turned = len(moved) - steps % len(moved)
    moved = moved[turned:] + moved[:turned]
    return Allele(start - steps, moved if ref else "", "" if ref else moved)


def encoded(bases: str) -> NDArray[np.uint8]:
    """Return the base codes of letters, shape (n,).

    Args:
        bases: A, C, G and T; whatever else is 4.
    """
    return np.frombuffer(bases.encode().translate(LETTER_CODES), np.uint8)


def check_alleles(
    contig: Contig, rows: Sequence[VariantRow], longest: int
) -> Iterator[CheckedAllele]:
    """Hold alleles against the genome, and bring them to one form.

    Args:
        contig: The contig.
        rows: Rows on it, none of which ends past it.
        longest: Most bases of an allele.

    Yields:
        Every alternative allele in the order of the rows, with the reason where it is skipped.
    """
    for row in rows:
        own = contig.codes[row.start : row.start + len(row.ref)]
        problem = None
        if not _ACGT.fullmatch(row.ref):
            problem = "the reference allele has other letters than A C G T"
        elif (own == N_CODE).any():
            problem = "the genome has N there"
        elif not np.array_equal(own, encoded(row.ref)):
            problem = MISMATCH
        for number, alt in enumerate(row.alts):
            reason = problem or _why_skipped(row.ref, alt)
            if reason is None:
                allele = normalise(contig.codes, row.start, row.ref, alt)
                if max(len(allele.ref), len(allele.alt)) <= longest:
                    yield CheckedAllele(row, number, allele, None)
                    continue
                reason = f"longer than {longest} bases, half a window"
            yield CheckedAllele(row, number, None, reason)


def _why_skipped(ref: str, alt: str) -> str | None:
    if _ACGT.fullmatch(alt):
        return "the same as the reference" if alt == ref else None
    if alt == ".":
        return "no alternative allele"
    if alt == "*":
        return "an allele that a deletion upstream removes (*)"
    if alt.startswith("<"):
        return "a symbolic allele"
    if re.fullmatch("[A-Z]+", alt):
        return "other letters than A C G T"
    return "a breakend"


def count_reasons(alleles: Sequence[CheckedAllele]) -> dict[str, int]:
    """Count the alleles that are skipped by their reason, the most frequent one first.

    Args:
        alleles: Alleles of a file.
    """
    counts = Counter(one.reason for one in alleles if one.reason is not None)
    return dict(counts.most_common())


def window_positions(allele: Allele, window: int, flank: int) -> NDArray[np.int64]:
    """Return where the bases of the reference window and of the alternative one are from.

    Both windows begin at the same base.

    Args:
        allele: The change.
        window: Bases of a window.
        flank: Bases on each side of it.

    Returns:
        0-based positions on the contig, possibly outside it, shape (2, flank + window + flank);
        `INSERTED` for bases that the reference does not have. A base that is replaced by another
        one keeps its position.

    Example:
        >>> (window_positions(Allele(5, "", "G"), 3, 0) == [[4, 5, 6], [4, INSERTED, 5]]).all()
        np.True_
    """
    first, size = allele.window_start(window) - flank, window + 2 * flank
    reference = np.arange(first, first + size)
    kept = min(len(allele.ref), len(allele.alt))
    inserted = np.full(len(allele.alt) - kept, INSERTED)
    alternative = np.concatenate(
        (
            np.arange(first, allele.start + kept),
            inserted,
            np.arange(allele.end, allele.end + size),
        )
    )
    return np.stack((reference, alternative[:size]))


def take(values: NDArray[np.uint8], positions: NDArray[np.int64], fill: int) -> NDArray[np.uint8]:
    """Return the values at positions, and another one outside the contig.

    Args:
        values: Values of a contig's bases, shape (n, ...).
        positions: 0-based positions, any shape.
        fill: Value outside the contig.

    Returns:
        The shape of `positions`, and behind it what each base has.
    """
    inside = (positions >= 0) & (positions < len(values))
    taken = np.full((*positions.shape, *values.shape[1:]), fill, np.uint8)
    taken[inside] = values[positions[inside]]
    return taken


def cut_windows(
    codes: NDArray[np.uint8], allele: Allele, window: int, flank: int
) -> NDArray[np.uint8]:
    """Cut the windows of both alleles, with N past the ends of the contig.

    Args:
        codes: Base codes of the contig, shape (n,).
        allele: The change.
        window: Bases of a window.
        flank: Bases on each side of it.

    Returns:
        Base codes of the reference window and of the alternative one, shape
        (2, flank + window + flank).
    """
    windows = take(codes, window_positions(allele, window, flank), N_CODE)
    before = allele.start - allele.window_start(window) + flank
    windows[1, before : before + len(allele.alt)] = encoded(allele.alt)
    return windows

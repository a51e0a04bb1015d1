"""All ways to write a change of DNA are one allele with one pair of windows, by brute force."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from hyena_ray.genome.contigs import Contig
from hyena_ray.genome.variant_alleles import (
    INSERTED,
    Allele,
    check_alleles,
    cut_windows,
    encoded,
    normalise,
    window_positions,
)
from hyena_ray.genome.variant_files import VariantRow

few = st.text("AC", min_size=1, max_size=14)  # few letters, so that there are many repeats


def changed(contig: str, start: int, ref: str, alt: str) -> str:
    return contig[:start] + alt + contig[start + len(ref) :]


def every_spelling(contig: str, target: str) -> list[tuple[int, str, str]]:
    """Every triple of start, ref and alt that turns one text into another."""
    spellings = []
    for start in range(len(contig)):
        for end in range(start, len(contig) + 1):
            tail = contig[end:]
            if target[:start] == contig[:start] and target.endswith(tail):
                alt = target[start : len(target) - len(tail)]
                if len(target) - len(tail) >= start:
                    spellings.append((start, contig[start:end], alt))
    return spellings


@given(few, st.data())
def test_an_insertion_or_deletion_has_one_form_and_no_shorter_or_further_left_one(
    contig: str, data: st.DataObject
) -> None:
    start = data.draw(st.integers(0, len(contig) - 1))
    if data.draw(st.booleans()):
        target = changed(contig, start, "", data.draw(st.text("AC", min_size=1, max_size=4)))
    else:
        target = changed(contig, start, contig[start : start + data.draw(st.integers(1, 4))], "")
    codes = encoded(contig)
    spellings = [own for own in every_spelling(contig, target) if own[1] and own[2]]
    forms = {normalise(codes, *own) for own in spellings}
    assert len(forms) <= 1
    for form in forms:
        assert changed(contig, form.start, form.ref, form.alt) == target
        sizes = [(len(ref) + len(alt), at) for at, ref, alt in every_spelling(contig, target)]
        ours = len(form.ref) + len(form.alt), form.start
        assert ours <= min(sizes) or form.start == len(contig)


@given(st.text("ACGT", min_size=1, max_size=30), st.data())
def test_windows_are_the_changed_contig_with_the_allele_in_the_middle(
    contig: str, data: st.DataObject
) -> None:
    start = data.draw(st.integers(0, len(contig)))
    ref = contig[start : start + data.draw(st.integers(0, 4))]
    alt = data.draw(st.text("ACGT", max_size=4))
    allele, window, flank = Allele(start, ref, alt), data.draw(st.integers(9, 14)), 3
    pair = cut_windows(encoded(contig), allele, window, flank)
    longest = max(len(ref), len(alt))
    before = (window - longest) // 2 + flank
    padding = "N" * 60
    for codes, own, text in zip(
        pair, (ref, alt), (contig, changed(contig, start, ref, alt)), strict=True
    ):
        first = start - before + len(padding)
        expected = (padding + text + padding)[first : first + window + 2 * flank]
        assert "".join("ACGTN"[code] for code in codes) == expected
        assert expected[before : before + len(own)] == own
    at = window_positions(allele, window, flank)
    assert (at[0] == np.arange(start - before, start - before + window + 2 * flank)).all()
    kept = at[1] != INSERTED
    assert (~kept).sum() == max(0, len(alt) - len(ref))
    assert (np.diff(at[1][kept]) > 0).all()


def test_what_cannot_be_scored_says_why() -> None:
    contig = Contig("c", encoded("ACGTNNACGTACGT"), "")
    alts = ("C", "<DEL>", "*", ".", "R", "A", "A]c:9]", "ACCCCC")
    rows = [
        VariantRow(1, "c", 0, "A", alts, ()),
        VariantRow(2, "c", 3, "TN", ("T",), ()),
        VariantRow(3, "c", 3, "TA", ("T",), ()),
        VariantRow(4, "c", 6, "C", ("T",), ()),
    ]
    found = [one.reason for one in check_alleles(contig, rows, longest=4)]
    assert found == [
        None,
        "a symbolic allele",
        "an allele that a deletion upstream removes (*)",
        "no alternative allele",
        "other letters than A C G T",
        "the same as the reference",
        "a breakend",
        "longer than 4 bases, half a window",
        "the reference allele has other letters than A C G T",
        "the genome has N there",
        "reference mismatch",
    ]

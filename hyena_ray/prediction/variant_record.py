"""The manifest of scored variants."""

from __future__ import annotations

from typing import ClassVar

from hyena_ray.model.settings import Strands
from hyena_ray.runs.record import Record


class VariantRecord(Record):
    """Manifest of complete scores of variants: their figures, and what they depend on."""

    KIND: ClassVar[str] = "variants"

    inputs: dict[str, str]
    """sha256 of everything that was read, by name."""
    rows: int
    """Rows of the file of variants."""
    alleles: int
    """Alternative alleles of these rows."""
    scored: int
    """Alleles that were scored."""
    skipped: dict[str, int]
    """Alleles that were not, by their reason."""
    mismatches: int
    """Rows whose reference allele is not what the genome has."""
    gained: int
    """Alleles whose highest probability rises to the threshold or above it."""
    lost: int
    """Alleles whose highest probability falls below the threshold."""
    threshold: float
    """Probability from which a base is called."""
    models: int
    """Number of models."""
    window: int
    """Bases of a window."""
    flank: int
    """Bases on each side of a window."""
    strands: Strands
    """Strands that were read."""

"""How many labelled regions, and bases of them, are in the windows of a split, and where the others
were lost."""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import Field

from hyena_ray.progress import count_noun
from hyena_ray.settings import Settings

NOTABLE = 0.01
"""Fraction of the labelled bases or regions of a split whose loss is warned of."""
LOSSES = {
    "short_contig": "on contigs that are too short",
    "contig_end": "at the ends of contigs",
    "unknown": "where more than half is N",
    "blacklist": "at the blacklist",
    "border": "at borders of splits",
}
"""Reason of a loss in text, by name of its count."""
REMEDIES = {
    "short_contig": "give shorter --lengths and --stretch, or longer contigs",
    "contig_end": "give shorter --lengths and --stretch",
    "unknown": "remove the regions, or give an assembly with their sequence",
    "blacklist": "check that --blacklist is meant for these regions",
    "border": "split by contig",
}
"""What can be done about a loss, by name of its count."""


class Kept(Settings):
    """Regions or bases: how many are in a window of a split, and how many were lost, by reason."""

    kept: int = Field(ge=0)
    """In a window or stretch that can be drawn; a region, with at least one of its bases."""
    short_contig: int = Field(ge=0)
    """On a contig that is shorter than a window."""
    contig_end: int = Field(ge=0)
    """Behind the last whole window of a contig."""
    unknown: int = Field(ge=0)
    """In windows of which more than half is N."""
    blacklist: int = Field(ge=0)
    """In windows that touch the blacklist."""
    border: int = Field(ge=0)
    """In windows that touch two splits."""

    @property
    def lost(self) -> dict[str, int]:
        """Counts of the reasons that occur, by name."""
        return {name: count for name in LOSSES if (count := getattr(self, name))}

    @property
    def total(self) -> int:
        """Number of regions or bases, kept or lost."""
        return self.kept + sum(self.lost.values())

    @property
    def is_notable(self) -> bool:
        """Whether more than `NOTABLE` of them were lost."""
        return sum(self.lost.values()) > NOTABLE * self.total


class LabelCoverage(Settings):
    """Labelled regions of one split, and how many of them its windows or stretches hold.

    Regions that overlap or touch count as one, in the split of their first base. What is lost has
    the reason of its first base.
    """

    length: int
    """Bases of a window or a stretch."""
    split: str
    """Name of the split."""
    regions: Kept
    """Number of regions."""
    bases: Kept
    """Labelled bases."""

    def text(self) -> str:
        """Describe what is kept and lost, in a sentence without its full stop.

        Example:
            >>> counts = dict.fromkeys(LOSSES, 0)
            >>> entry = LabelCoverage(
            ...     length=100,
            ...     split="val",
            ...     regions=Kept(kept=9, **counts | {"blacklist": 1}),
            ...     bases=Kept(kept=180, **counts | {"blacklist": 20}),
            ... )
            >>> print(entry.text().replace("; ", "\\n"))
            val, 100 bases: 9 of 10 regions and 180 of 200 labelled bases are kept
            lost: 1 region with 20 bases at the blacklist
        """
        lost = "; ".join(
            f"{count_noun(getattr(self.regions, name), 'region')} with "
            f"{count_noun(bases, 'base')} {LOSSES[name]}"
            for name, bases in self.bases.lost.items()
        )
        return (
            f"{self.split}, {self.length:,} bases: {self.regions.kept:,} of "
            f"{count_noun(self.regions.total, 'region')} and {self.bases.kept:,} of "
            f"{count_noun(self.bases.total, 'labelled base')} are kept"
        ) + (f"; lost: {lost}" if lost else "")

    def warning(self) -> str:
        """Return the text with what to do, where more than a hundredth is lost; else nothing."""
        if not (self.regions.is_notable or self.bases.is_notable):
            return ""
        most = max(self.bases.lost, key=self.bases.lost.__getitem__)
        return f"{self.text()}. To keep more, {REMEDIES[most]}"


def unassigned_regions(coverage: Iterable[LabelCoverage], regions: int) -> int:
    """Return how many regions are in no split, such as those on contigs that none names.

    Args:
        coverage: Coverage of every split, of windows of any length.
        regions: Regions of the genome.
    """
    by_split = {entry.split: entry.regions.total for entry in coverage}
    return regions - sum(by_split.values())

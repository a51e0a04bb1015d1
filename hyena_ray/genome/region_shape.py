"""The shape of labelled regions: how long they are, and whether their edges look shifted.

What makes a region, such as the run of G of a G-quadruplex, begins in many regions with their first
base and ends with their last one. Coordinates are easily off by one, since some formats count from
0 and others from 1, and some include the end. Then this structure begins or ends that many bases
away from the edge in clearly more regions than at the edge itself.
"""

from __future__ import annotations

from pydantic import Field

from hyena_ray.settings import Settings

REACH = 4
"""Bases by which an edge is moved at most, to either side, to see where more regions fit."""
SHIFTS = range(-REACH, REACH + 1)
"""Bases by which an edge is moved, in the order of an `EdgeProfile`."""


class EdgeProfile(Settings):
    """How many regions begin and end with a structure if an edge is moved by each of `SHIFTS`."""

    structure: str
    """The structure, with its article."""
    start: tuple[int, ...] = Field(min_length=len(SHIFTS), max_length=len(SHIFTS))
    """Regions that begin with it, if their start is moved."""
    end: tuple[int, ...] = Field(min_length=len(SHIFTS), max_length=len(SHIFTS))
    """Regions that end with it, if their end is moved."""

    @property
    def edges(self) -> dict[str, tuple[int, ...]]:
        """Numbers of regions by name of the edge."""
        return {"start": self.start, "end": self.end}


class RegionShape(Settings):
    """Lengths of regions, and where their structure begins and ends.

    Regions that overlap or touch count as one.
    """

    regions: int = Field(gt=0)
    """Number of regions."""
    shortest: int
    """Bases of the shortest region."""
    median: int
    """Median length in bases: half of the regions have as many bases or fewer."""
    longest: int
    """Bases of the longest region."""
    odd: int
    """Regions with an odd number of bases."""
    profiled: int = Field(ge=0)
    """Regions whose edges were read."""
    profiles: tuple[EdgeProfile, ...]
    """Profiles of their edges, the one that decides first; none where the task has no structure."""
    shifts: tuple[int, int]
    """Bases by which start and end have to be moved for clearly more regions to fit; 0 where an
    edge is right as far as this can tell."""

    def lengths_text(self) -> str:
        """Describe lengths and parity in a sentence without its full stop.

        Example:
            >>> shape = RegionShape(
            ...     regions=2, shortest=12, median=12, longest=15, odd=1, profiled=0, profiles=(),
            ...     shifts=(0, 0),
            ... )
            >>> shape.lengths_text()
            '2 regions of 12 to 15 bases, half of them up to 12; 50.0 % have an odd length'
        """
        return (
            f"{self.regions:,} regions of {self.shortest:,} to {self.longest:,} bases, half of "
            f"them up to {self.median:,}; {100 * self.odd / self.regions:.1f} % have an odd length"
        )

    def table(self) -> str:
        """Return lengths, and the percentage of regions that fit each shift, as lines of text."""
        lines = [self.lengths_text()]
        for profile in self.profiles:
            lines.append(f"% of them with {profile.structure} at an edge, if moved by N bases:")
            rows = [("", *map(signed, SHIFTS))]
            rows += [
                (name, *(f"{100 * count / self.profiled:.0f}" for count in counts))
                for name, counts in profile.edges.items()
            ]
            lines += ["".join(cell.rjust(6) for cell in row) for row in rows]
        return "\n".join(lines)

    def shift_text(self) -> str:
        """Describe the edges that look shifted; empty where none does."""
        if not self.profiles:
            return ""
        profile = self.profiles[0]
        return "; ".join(
            f"{100 * counts[REACH] / self.profiled:.0f} % of the regions have {profile.structure} "
            f"at their {name}, but {100 * counts[REACH + shift] / self.profiled:.0f} % if it is "
            f"moved by {signed(shift)}"
            for (name, counts), shift in zip(profile.edges.items(), self.shifts, strict=True)
            if shift
        )


def signed(shift: int) -> str:
    """Return a number of bases with its sign.

    Args:
        shift: Bases by which an edge is moved.

    Example:
        >>> signed(2), signed(0)
        ('+2', '0')
    """
    return f"{shift:+d}" if shift else "0"

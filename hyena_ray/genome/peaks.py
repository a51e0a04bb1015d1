"""The columns of ENCODE's peak files, which are BED with more columns.

A peak's interval is chromStart to chromEnd. One interval may be there several times, with other
summits, as callers write that split a peak.
Format: https://genome.ucsc.edu/FAQ/FAQformat.html#format12
"""

from __future__ import annotations

import re
from typing import NamedTuple

from hyena_ray.errors import InputError

_NUMBERS = ("score", "signalValue", "pValue", "qValue")
_COMMON = ("chrom", "chromStart", "chromEnd", "name", "score", "strand", *_NUMBERS[1:])
_NUMBER = re.compile(r"[+-]?(inf|nan|([0-9]+\.?[0-9]*|\.[0-9]+)(e[+-]?[0-9]+)?)", re.IGNORECASE)


class Peaks(NamedTuple):
    """A kind of peak file."""

    kind: str
    columns: tuple[str, ...]

    def check(self, place: str, row: str) -> int:
        """Check a row whose first three columns are those of BED.

        Returns:
            The base of the interval where the peak is highest; -1 where none is known, and in files
            that have none.

        Raises:
            InputError: other columns than the kind has; names `place`.
        """
        fields = row.split("\t")
        if len(fields) != len(self.columns):
            raise InputError(
                place,
                f"{len(fields)} columns",
                f"{self.kind} has {len(self.columns)}: {', '.join(self.columns)}",
                _other(len(fields)),
            )
        named = dict(zip(self.columns, fields, strict=True))
        for name in _NUMBERS:
            if not _NUMBER.fullmatch(named[name]):
                raise self._refusal(place, name, named[name], "a number")
        if named["strand"] not in ("+", "-", "."):
            raise self._refusal(place, "strand", named["strand"], "one of + - .")
        summit = named.get("peak", "-1")
        size = int(named["chromEnd"]) - int(named["chromStart"])
        if not re.fullmatch(r"-1|[0-9]{1,18}", summit) or int(summit) >= max(size, 1):
            allowed = f"-1, or a base of the interval, counted from 0 ({size} bases)"
            raise self._refusal(place, "peak", summit, allowed)
        return int(summit)

    def _refusal(self, place: str, name: str, value: str, allowed: str) -> InputError:
        number = self.columns.index(name) + 1
        return InputError(
            place,
            value or "''",
            f"{name}, column {number} of {self.kind}, is {allowed}",
            "correct it, or give the file a name that ends in .bed, for its first three columns",
        )


NARROW = Peaks("narrowPeak", (*_COMMON, "peak"))
BROAD = Peaks("broadPeak", _COMMON)


def _other(columns: int) -> str:
    kind = next((kind.kind for kind in (NARROW, BROAD) if len(kind.columns) == columns), "bed")
    return f"restore the columns, or give the file a name that ends in .{kind}"

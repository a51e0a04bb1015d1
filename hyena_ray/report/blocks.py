"""What a page is made of: sections of paragraphs, tables and figures; and how numbers are said."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import pyarrow as pa


class Table(NamedTuple):
    """Rows of text; the first cell of each names it."""

    title: str
    """Says what the rows are."""
    heads: Sequence[str]
    rows: Sequence[Sequence[str]]
    folded: bool = False
    """Shown on demand."""


class Figure(NamedTuple):
    """A drawing, and the same in words and in numbers."""

    name: str
    """Word that no other figure of the page has."""
    svg: str
    """See `svg_of`."""
    finding: str
    """What it shows, for those who do not see it."""
    caption: str
    """What is drawn, and how to read it."""
    table: Table | None = None
    """The numbers; shown on demand."""
    wide: bool = False
    """Takes the whole width of a page."""


class Headline(NamedTuple):
    """The answer in a number."""

    value: str
    text: str
    """What the number is."""


Block: TypeAlias = str | Table | Figure | Headline
"""A string is a paragraph."""


class Section(NamedTuple):
    """A part of the page under a heading of its own."""

    name: str
    """Word that no other section has; links lead to it."""
    title: str
    blocks: Sequence[Block]


MINUS, DASH, NOTHING = "\N{MINUS SIGN}", "\N{EN DASH}", "\N{EM DASH}"


def number(value: float | None, digits: int = 3) -> str:
    """A figure for people: a true minus; a dash where there is none."""
    if value is None or not math.isfinite(value):
        return NOTHING
    return f"{value:,.{digits}f}".replace("-", MINUS)


def brief(value: Any) -> str:
    """A setting or cell as text: integers with separators, floats in four digits."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}".replace("-", MINUS)
    if isinstance(value, float):
        return f"{value:.4g}".replace("-", MINUS)
    if isinstance(value, list | tuple):
        return ", ".join(map(brief, value))
    return str(value)


def between(low: float, high: float, digits: int = 3) -> str:
    """An interval."""
    return f"{number(low, digits)} to {number(high, digits)}"


def counted(count: int, singular: str, plural: str | None = None) -> str:
    """3 trials, 1 trial."""
    return f"{count:,} {singular if count == 1 else plural or singular + 's'}"


def in_a_sentence(words: Iterable[str]) -> str:
    """One, two and three."""
    *first, last = list(words) or [""]
    return f"{', '.join(first)} and {last}" if first else last


def short_names(names: Iterable[str]) -> dict[str, str]:
    """`training.batch_size` to `batch_size`, where no other name ends alike."""
    every = list(names)
    ends = [name.rpartition(".")[2] for name in every]
    return {
        name: end if ends.count(end) == 1 else name for name, end in zip(every, ends, strict=True)
    }


def grid(title: str, table: pa.Table, heads: Mapping[str, str], *, rows: int) -> Table:
    """The first rows of some columns; `heads` maps their names to what people read."""
    shown = table.select(list(heads)).slice(0, rows).to_pylist()
    cells = [[brief(row[name]) for name in heads] for row in shown]
    return Table(title, list(heads.values()), cells)

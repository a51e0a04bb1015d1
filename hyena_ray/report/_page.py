"""The page as data, the way values are written on it, and its rendering as HTML.

A section function returns a `Section` of paragraphs, tables and figures. `render_html` turns a
`Page` into one HTML file that needs no font and no network, and can be read without its script. The
markup, the style and the script are in `templates/`.
"""

from __future__ import annotations

import base64
import hashlib
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Self, TypeAlias
from urllib.parse import quote, urlencode

import pyarrow as pa
from jinja2 import Environment, PackageLoader, StrictUndefined, Template, TemplateNotFound

from hyena_ray.errors import InputError

BROWSER = "https://genome.ucsc.edu/cgi-bin/hgTracks"
"""Address of UCSC's genome browser."""
MINUS, NOTHING = "\N{MINUS SIGN}", "\N{EM DASH}"
ORIGINAL_WORK = (
    "The original work: Bokhyan, Identification of biological interrelations in the human genome "
    "by methods of language model interpretation, HSE University, 2025."
)
"""Citation of the work whose figures and methods the page calls those of the original work."""
_NUMBER = re.compile(r"[\N{MINUS SIGN}+]?[\d,]*\.?\d+(e[-+\d]+)?( ?[%s])?")
_LONG_CELL = 60
"""Characters past which the text of a column may be broken into lines."""


class Link(str):
    """Text that leads to a file of the run, or to a place in a genome browser."""

    href: str
    """URL, that of a file relative to the page."""

    def __new__(cls, text: str, href: str) -> Self:
        """Make a link.

        Args:
            text: What is shown.
            href: URL.
        """
        link = super().__new__(cls, text)
        link.href = href
        return link


def file_link(path: str) -> Link:
    """Return a link to a file of the run.

    Args:
        path: The file, relative to the page.
    """
    return Link(path, quote(path))


def genome_link(assembly: str, contig: str, start: int, end: int) -> Link:
    """Return a link to bases in UCSC's browser, which is asked only when a reader follows it.

    Args:
        assembly: Name of the assembly at UCSC.
        contig: Name of the contig there.
        start: First base, 0-based.
        end: End, exclusive.
    """
    # UCSC's positions begin at 1 and have their end inside.
    place = urlencode({"db": assembly, "position": f"{contig}:{start + 1}-{end}"})
    return Link(f"{contig}:{start:,}-{end:,}", f"{BROWSER}?{place}")


class Table(NamedTuple):
    """Rows of text; the first cell of a row names it."""

    title: str
    """What the rows are."""
    heads: Sequence[str]
    """Names of the columns."""
    rows: Sequence[Sequence[str]]
    """Cells, as long as `heads`."""
    folded: bool = False
    """Whether the table is shown only when the reader opens it."""


class Figure(NamedTuple):
    """A drawing with its finding in words and its numbers in a table."""

    name: str
    """Word that no other figure of the page has."""
    svg: str
    """SVG element that `svg_of` returned."""
    finding: str
    """What the figure shows, for readers who do not see it."""
    caption: str
    """What is drawn, and how to read it."""
    table: Table | None = None
    """The numbers, shown when the reader opens them."""
    place: Link | None = None
    """Where in the genome it is, for a reader who wants to see it there."""


class Headline(NamedTuple):
    """The main result as one number."""

    value: str
    """The number with its name."""
    text: str
    """What the number is."""


Block: TypeAlias = str | Table | Figure | Headline
"""A part of a section; a string is a paragraph."""


class Section(NamedTuple):
    """A part of the page under its own heading."""

    name: str
    """Word that no other section has, the target of links."""
    title: str
    """Heading."""
    blocks: Sequence[Block]
    """Contents, in order."""
    references: tuple[str, ...] = ()
    """Works that the section speaks of; the page cites each of them once, in its footer."""


class Page(NamedTuple):
    """All that a reader sees."""

    title: str
    """Heading of the page."""
    kicker: str
    """Line above the title."""
    warnings: Sequence[str]
    """Paragraphs that are read before anything else."""
    sections: Sequence[Section]
    """Parts of the page, in order."""
    footer: Sequence[str]
    """Paragraphs at the end of the page."""


def number(value: float | None, digits: int = 3) -> str:
    """Return a number for a reader, with a true minus sign.

    Args:
        value: The number; None and what is not finite become a dash.
        digits: Digits after the point.

    Example:
        >>> number(1234.5678, 1)
        '1,234.6'
    """
    if value is None or not math.isfinite(value):
        return NOTHING
    return f"{value:,.{digits}f}".replace("-", MINUS)


def brief(value: Any) -> str:
    """Return a setting or a cell as short text.

    Integers get separators, floats four significant digits, lists a comma between their items.

    Args:
        value: Any value of a settings file or of a table.

    Example:
        >>> brief([0.00012345, True, 65536])
        '0.0001234, yes, 65,536'
    """
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
    """Return an interval as text.

    Args:
        low: Lower bound.
        high: Upper bound.
        digits: Digits after the point.
    """
    return f"{number(low, digits)} to {number(high, digits)}"


def in_a_sentence(words: Iterable[str]) -> str:
    """Return words as an enumeration: one, two and three.

    Args:
        words: The words, in order; none give an empty string.

    Example:
        >>> in_a_sentence(["ACGT", "CGCG", "GTGT"])
        'ACGT, CGCG and GTGT'
    """
    *first, last = list(words) or [""]
    return f"{', '.join(first)} and {last}" if first else last


def short_names(names: Iterable[str]) -> dict[str, str]:
    """Return dotted names without their sections, where that is not ambiguous.

    Args:
        names: Dotted names of settings.

    Returns:
        Each name to its last part, or to itself where another name has the same last part.

    Example:
        >>> short_names(["training.seed", "data.seed", "model.d_model"])
        {'training.seed': 'training.seed', 'data.seed': 'data.seed', 'model.d_model': 'd_model'}
    """
    every = list(names)
    ends = [name.rpartition(".")[2] for name in every]
    return {
        name: end if ends.count(end) == 1 else name for name, end in zip(every, ends, strict=True)
    }


def first_rows(title: str, table: pa.Table, heads: Mapping[str, str], *, rows: int) -> Table:
    """Return the first rows of some columns of an Arrow table.

    Args:
        title: What the rows are.
        table: The whole table.
        heads: Name of each column to show, and its name for a reader.
        rows: Rows to show at most.
    """
    shown = table.select(list(heads)).slice(0, rows).to_pylist()
    cells = [[brief(row[name]) for name in heads] for row in shown]
    return Table(title, list(heads.values()), cells)


def render_html(page: Page) -> str:
    """Render a page as HTML; text from files is escaped, so none of it becomes markup.

    Args:
        page: What the page shows.

    Raises:
        InputError: The installed package lacks its templates.
    """
    template, script = _templates()
    # The policy of the page lets this script run, and no other.
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return template.render(page=page, script=script, script_sha256=digest)


def _templates() -> tuple[Template, str]:
    """Return the template of a page, and its script."""
    try:
        environment = Environment(
            loader=PackageLoader("hyena_ray.report"),
            autoescape=True,
            trim_blocks=True,
            lstrip_blocks=True,
            undefined=StrictUndefined,
        )
        environment.globals.update(
            column_classes=_column_classes,
            is_figure=lambda block: isinstance(block, Figure),
            is_headline=lambda block: isinstance(block, Headline),
            is_link=lambda cell: isinstance(cell, Link),
        )
        for name in ("table.html", "style.css"):
            environment.get_template(name)
        script = environment.get_template("script.js").render()
        return environment.get_template("page.html"), script
    except (ValueError, TemplateNotFound) as error:
        raise InputError(
            "hyena_ray/report/templates",
            None,
            f"the installed package lacks the templates of the report ({error})",
            "install hyena-ray again",
        ) from None


def _column_classes(table: Table) -> list[str]:
    """Return the CSS classes of each column: text is flush left, numbers are flush right."""
    return [_column_class([row[at] for row in table.rows]) for at in range(len(table.heads))]


def _column_class(cells: Sequence[str]) -> str:
    if all(cell in ("", NOTHING) or _NUMBER.fullmatch(cell) for cell in cells):
        return ""
    return "text long" if max(map(len, cells)) > _LONG_CELL else "text"

"""Figures drawn with matplotlib, as SVG that takes its colours from the page.

Colours are drawn as placeholders that become CSS variables, so that one drawing serves a light and
a dark page. Text remains text. matplotlib is imported with the first figure, because it is slow to
import.
"""

from __future__ import annotations

import html
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

INK, MUTED, GRID, SURFACE = "#010203", "#040506", "#070809", "#0a0b0c"
BLUE, ORANGE, GREEN, GOLD, PURPLE = "#1a0001", "#1a0002", "#1a0003", "#1a0004", "#1a0005"
SERIES = (BLUE, ORANGE, GREEN, PURPLE, GOLD)
"""Colours of the things that a figure compares, in order; colour-blind readers tell them apart."""
VARIABLES = {
    INK: "ink",
    MUTED: "muted",
    GRID: "grid",
    SURFACE: "surface",
    BLUE: "blue",
    ORANGE: "orange",
    GREEN: "green",
    GOLD: "gold",
    PURPLE: "purple",
}
"""Placeholder to its CSS variable in templates/style.css."""
LETTERS = {"A": GREEN, "C": BLUE, "G": GOLD, "T": ORANGE}
"""Colours of the letters of a logo."""
MOST_TITLES = 300
"""Marks of a series that have their values as a title, at most."""
WIDTH = 5.0
"""Width of a figure in inches: that of a phone, so that its text can be read there."""
_STYLE = {
    "axes.axisbelow": True,
    "axes.edgecolor": MUTED,
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.8,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "figure.facecolor": "none",
    "figure.constrained_layout.use": True,
    "font.family": "DejaVu Sans",
    "font.size": 9.5,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "savefig.facecolor": "none",
    "svg.fonttype": "none",
    "svg.hashsalt": "hyena-ray",
    "text.color": INK,
    "xtick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.color": MUTED,
    "ytick.labelcolor": INK,
}


@contextmanager
def style() -> Iterator[Any]:
    """Yield matplotlib's `Figure` class; inside the block figures have the style of the page.

    pyplot is not used: figures do not outlive the block, and nothing outside it changes.
    """
    import matplotlib

    # The class, unlike pyplot, needs no screen.
    from matplotlib.figure import Figure

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE)
        yield Figure


def svg_of(figure: Any, name: str) -> str:
    """Return a figure as an `<svg>` element, to which the page adds role and text.

    Every bar and every marked point has its values as a title, which a browser shows when the mouse
    is over it.

    Args:
        figure: Figure of matplotlib.
        name: Name of the figure on the page; the ids inside begin with it, so they are unique.
    """
    stream = io.StringIO()
    titles = _name_values(figure)
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    figure.savefig(stream, format="svg", metadata=nothing)
    return _slim(_with_titles(stream.getvalue(), titles), name)


def _name_values(figure: Any) -> dict[str, list[str]]:
    """Give every artist with bars or markers an id; return what its marks mean, by id."""
    titles: dict[str, list[str]] = {}

    def add(artist: Any, texts: list[str]) -> None:
        if len(texts) <= MOST_TITLES:
            artist.set_gid(f"values-{len(titles)}-")
            titles[artist.get_gid()] = texts

    for axes in figure.axes:
        for line in axes.lines:
            if line.get_marker() not in (None, "None", "", " "):
                points = zip(line.get_xdata(), line.get_ydata(), strict=True)
                add(line, [_values(axes, line.get_label(), *point) for point in points])
        for points in axes.collections:
            if len(points.get_offsets()) and hasattr(points, "get_sizes"):
                label = points.get_label()
                add(points, [_values(axes, label, *point) for point in points.get_offsets()])
        for bars in axes.containers:
            for bar in bars.patches:
                x, y = bar.get_x() + bar.get_width() / 2, bar.get_y() + bar.get_height() / 2
                sideways = bars.orientation == "horizontal"
                point = (bar.get_width(), y) if sideways else (x, bar.get_height())
                add(bar, [_values(axes, bars.get_label(), *point)])
    return titles


def _values(axes: Any, label: str, x: float, y: float) -> str:
    """Say what a mark means: its series, and its place on both axes."""
    series = "" if label.startswith("_") else f"{label}: "
    return f"{series}{_on_axis(axes.yaxis, y)}, {_on_axis(axes.xaxis, x)}"


def _on_axis(axis: Any, value: float) -> str:
    """Return the label of a tick that is there, or else the value with the name of its axis."""
    for place in getattr(axis.get_major_locator(), "locs", ()):  # of ticks that were set by hand
        if abs(place - value) < 1e-6:
            return str(axis.get_major_formatter()(place))
    return f"{axis.get_label_text()} {value:,.4g}".strip().replace("-", "\N{MINUS SIGN}")


def _with_titles(text: str, titles: dict[str, list[str]]) -> str:
    """Put titles into the marks of the groups that have these ids."""
    for name, texts in titles.items():
        start = text.find(f'<g id="{name}"')
        if start < 0:
            continue  # nothing of it is inside the axes
        end = _end_of_group(text, start)
        group, mark = text[start:end], "use" if "<use" in text[start:end] else "path"
        marks = list(re.finditer(rf"<{mark} [^>]*/>", group))
        if len(marks) == len(texts):  # those outside the axes are not drawn
            for found, title in zip(marks[::-1], texts[::-1], strict=True):
                inner = f"<title>{html.escape(title)}</title></{mark}>"
                group = f"{group[: found.end() - 2]}>{inner}{group[found.end() :]}"
            text = text[:start] + group + text[end:]
    return text


def _end_of_group(text: str, start: int) -> int:
    """Return the end of the `<g>` element that starts at a place."""
    depth = 0
    for tag in re.finditer(r"<g\b|</g>", text[start:]):
        depth += 1 if tag[0] == "<g" else -1
        if not depth:
            return start + tag.end()
    return len(text)


def _slim(text: str, name: str) -> str:
    text = text[text.index("<svg") :]
    text = re.sub(r"<!--.*?-->|<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    # The style of the page sets the size.
    text = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'(<svg[^>]*?) (?:version|xmlns|xmlns:xlink)="[^"]*"', r"\1", text)
    text = text.replace("xlink:href", "href")
    referred = set(re.findall(r'(?:url\(#|href="#)([^)"]+)', text))

    def renamed(match: re.Match[str]) -> str:
        return f' id="{name}-{match[1]}"' if match[1] in referred else ""

    text = re.sub(r' id="([^"]+)"', renamed, text)
    text = re.sub(r'(url\(#|href="#)', rf"\g<1>{name}-", text)
    # A hundredth of a point is finer than any screen. Text between tags keeps its digits.
    text = re.sub(r"<[^>]*>", lambda tag: re.sub(r"(\d\.\d\d)\d+", r"\1", tag[0]), text)
    for colour, variable in VARIABLES.items():
        text = text.replace(colour, f"var(--{variable})")
    # Text has the fonts of the page; k-mers have letters of one width.
    text = re.sub(r"font-family: '[^']*Mono'[^;\"]*", "font-family: ui-monospace, monospace", text)
    text = re.sub(r"font-family: 'DejaVu Sans'[^;\"]*;? ?", "", text)
    text = re.sub(r"\s*\n\s*", " ", text).replace("> <", "><")
    return text.strip()

"""A figure takes the colours of its page, has ids of its own and keeps its numbers."""

from __future__ import annotations

import html
import re
from importlib.resources import files
from xml.etree import ElementTree

import matplotlib
import pytest

from hyena_ray.report._plots import BLUE, VARIABLES, style, svg_of

STYLE = (files("hyena_ray.report") / "templates" / "style.css").read_text()


def drawn(name: str) -> str:
    with style() as new_figure:
        figure = new_figure(figsize=(3, 2))
        axes = figure.add_subplot()
        axes.plot([0, 1], [0.12345, 0.98765], "o-", color=BLUE, label="a < b")
        axes.text(0, 0.5, "score 0.12345")
        axes.legend()
        return svg_of(figure, name)


def test_colours_are_those_of_the_page() -> None:
    svg = drawn("one")
    assert "var(--blue)" in svg
    assert "var(--ink)" in svg
    assert not any(stand_in in svg for stand_in in VARIABLES)


@pytest.mark.parametrize("variable", VARIABLES.values())
def test_every_colour_has_a_light_and_a_dark_value(variable: str) -> None:
    light, dark = STYLE.split("prefers-color-scheme: dark")
    assert f"--{variable}:" in light
    assert f"--{variable}:" in dark


def test_names_of_two_drawings_never_meet() -> None:
    first, second = (set(re.findall(r' id="([^"]+)"', drawn(name))) for name in ("one", "two"))
    assert first
    assert not first & second
    for name, ids in (("one", first), ("two", second)):
        referred = set(re.findall(r'(?:url\(#|href="#)([^)"]+)', drawn(name)))
        assert referred == ids


def test_numbers_that_people_read_keep_their_digits() -> None:
    svg = drawn("one")
    assert ">score 0.12345<" in svg
    assert "a &lt; b" in svg
    assert max(len(tail) for tail in re.findall(r'd="M [\d.]*\.(\d+)', svg)) <= 2


def titles(svg: str) -> list[str]:
    """Return the titles of a drawing, and hold that it is well-formed."""
    ElementTree.fromstring(svg)
    return [html.unescape(title) for title in re.findall("<title>(.*?)</title>", svg)]


def test_marks_and_bars_have_their_values_as_titles() -> None:
    assert titles(drawn("one")) == ["a < b: 0.1235, 0", "a < b: 0.9877, 1"]
    with style() as new_figure:
        figure = new_figure(figsize=(3, 2))
        above, below = figure.subplots(2)
        above.barh([0, 1], [-3, 1200], color=BLUE)
        above.set_yticks([0, 1], ["ACG", "CGT"])
        above.set_xlabel("score")
        below.bar([2, 3], [0.5, 0.25], label="of all")
        below.plot([2, 3], [0, 1])  # without marks
        below.set(xlabel="step", ylabel="fraction")
        svg = svg_of(figure, "bars")
    assert titles(svg) == [
        "ACG, score \N{MINUS SIGN}3",
        "CGT, score 1,200",
        "of all: fraction 0.5, step 2",
        "of all: fraction 0.25, step 3",
    ]


def test_no_mark_has_the_title_of_another_one() -> None:
    """Points outside the axes are not drawn: none of the others is named then."""
    with style() as new_figure:
        figure = new_figure(figsize=(3, 2))
        axes = figure.add_subplot()
        axes.plot([0, 1, 1e6], [0, 1, 1], "o")
        axes.set_xlim(0, 2)
        assert len(titles(svg_of(figure, "cut"))) in (0, 3)


def test_a_drawing_says_nothing_of_time_or_version() -> None:
    assert drawn("one") == drawn("one")
    assert "metadata" not in drawn("one")
    assert drawn("one").startswith("<svg")


def test_the_style_of_others_is_left_as_it_was() -> None:
    before = dict(matplotlib.rcParams)
    drawn("one")
    assert dict(matplotlib.rcParams) == before

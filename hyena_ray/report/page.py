"""Sections as one HTML page that needs nothing else: no script, no font, no network."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from jinja2 import DictLoader, Environment, StrictUndefined
from markupsafe import Markup

from hyena_ray.report.blocks import NOTHING, Figure, Section, Table, Warned
from hyena_ray.report.style import STYLE

_TEMPLATES = {
    "table": """\
{% macro cells(table, label) %}
<div class="scroll" role="region" tabindex="0" aria-label="{{ label }}">
<table>
<caption>{{ table.title }}</caption>
<thead><tr>{% for head in table.heads %}<th scope="col">{{ head }}</th>{% endfor %}</tr></thead>
<tbody>
{% for row in table.rows %}
<tr><th scope="row">{{ row[0] }}</th>
{%- for cell in row[1:] %}<td{{ kind(cell) }}>{{ cell }}</td>{% endfor %}</tr>
{% endfor %}
</tbody>
</table>
</div>
{% endmacro %}
""",
    "page": """\
{% from "table" import cells with context %}
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; \
img-src data:">
<title>{{ page.title }}</title>
<link rel="icon" href="data:,">
<style>{{ style }}</style>
</head>
<body>
<a class="skip" href="#main">Skip to the result</a>
<div class="page">
<header>
<p class="kicker">{{ page.kicker }}</p>
<h1>{{ page.title }}</h1>
{% for text in page.warnings %}
<p class="warned" role="note"><strong>Warning</strong> {{ text }}</p>
{% endfor %}
<nav aria-label="Sections"><ul>
{% for section in page.sections %}
<li><a href="#{{ section.name }}">{{ section.title }}</a></li>
{% endfor %}
</ul></nav>
</header>
<main id="main" tabindex="-1">
{% for section in page.sections %}
<section id="{{ section.name }}" aria-labelledby="{{ section.name }}-title" \
class="{{ section.name }}">
<h2 id="{{ section.name }}-title">{{ section.title }}</h2>
<div class="blocks">
{% for block in section.blocks %}
{% if block is string %}
<p>{{ block }}</p>
{% elif is_warned(block) %}
<p class="warned" role="note">{{ block.text }}</p>
{% elif is_figure(block) %}
<figure id="{{ block.name }}"{% if block.wide %} class="wide"{% endif %}>
{{ drawn(block) }}
<figcaption><strong>{{ block.finding }}</strong> {{ block.caption }}</figcaption>
{% if block.table %}
<details><summary>The numbers of this figure</summary>
{{ cells(block.table, block.table.title) }}</details>
{% endif %}
</figure>
{% elif block.folded %}
<div class="table"><details><summary>{{ block.title }}</summary>
{{ cells(block, block.title) }}</details></div>
{% else %}
<div class="table">{{ cells(block, block.title) }}</div>
{% endif %}
{% endfor %}
</div>
</section>
{% endfor %}
</main>
<footer>{% for line in page.footer %}<p>{{ line }}</p>{% endfor %}</footer>
</div>
</body>
</html>
""",
}
_NUMBER = re.compile(r"[\N{MINUS SIGN}+]?[\d,]*\.?\d+(e[-+\d]+)?( ?[%s×])?")
_LONG = 60
"""Letters of a cell that is broken into lines."""


class Page(NamedTuple):
    """All that a reader sees."""

    title: str
    kicker: str
    """A line above the title."""
    warnings: Sequence[str]
    """Read before anything else."""
    sections: Sequence[Section]
    footer: Sequence[str]


def html_of(page: Page) -> str:
    """The page as HTML; whatever its text holds stays text."""
    environment = Environment(
        loader=DictLoader(_TEMPLATES),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.globals.update(
        drawn=_drawn,
        kind=_kind,
        is_figure=lambda block: isinstance(block, Figure),
        is_warned=lambda block: isinstance(block, Warned),
    )
    # The style is this project's own text.
    return environment.get_template("page").render(page=page, style=Markup(STYLE))


def _drawn(figure: Figure) -> Markup:
    """Its `<svg>`, as one image with words; what matplotlib wrote is escaped already."""
    head = Markup('<svg role="img" aria-label="{}"').format(figure.finding)
    return head + Markup(figure.svg.removeprefix("<svg"))


def _kind(cell: str) -> Markup:
    """Text stands to the left, numbers to the right; long text may be broken."""
    if cell == NOTHING or _NUMBER.fullmatch(cell):
        return Markup("")
    return Markup(' class="text long"' if len(cell) > _LONG else ' class="text"')


__all__ = ["Page", "Table", "html_of"]

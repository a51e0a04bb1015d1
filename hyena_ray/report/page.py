"""Sections as one HTML page that needs nothing else: no script, no font, no network."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from jinja2 import DictLoader, Environment, StrictUndefined

from hyena_ray.report.blocks import NOTHING, Figure, Headline, Section, Table
from hyena_ray.report.style import STYLE

_TEMPLATES = {
    "table": """\
{% macro cells(table, name, titled) %}
{% set kind = kinds(table) %}
{% if titled %}
<p class="title" id="{{ name }}">{{ table.title }}</p>
{% endif %}
<div class="scroll" role="region" tabindex="0" \
{% if titled %}aria-labelledby="{{ name }}"{% else %}aria-label="{{ table.title }}"{% endif %}>
<table {% if titled %}aria-labelledby="{{ name }}"{% else %}aria-label="{{ table.title }}"\
{% endif %}>
<thead><tr>
{% for head in table.heads %}
<th scope="col"{{ {"class": kind[loop.index0] or none}|xmlattr }}>{{ head }}</th>
{% endfor %}
</tr></thead>
<tbody>
{% for row in table.rows %}
<tr><th scope="row">{{ row[0] }}</th>
{%- for cell in row[1:] %}<td{{ {"class": kind[loop.index] or none}|xmlattr }}>\
{{ cell }}</td>{% endfor %}</tr>
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
{# the project's own text #}
<style>{{ style|safe }}</style>
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
{% elif is_headline(block) %}
<p class="headline"><strong>{{ block.value }}</strong> {{ block.text }}</p>
{% elif is_figure(block) %}
<figure id="{{ block.name }}"{% if block.wide %} class="wide"{% endif %}>
{# one image with words; what stands in it, matplotlib has escaped #}
<svg role="img" aria-label="{{ block.finding }}"{{ block.svg.removeprefix("<svg")|safe }}
<figcaption><strong>{{ block.finding }}</strong> {{ block.caption }}</figcaption>
{% if block.table %}
<details><summary>The numbers<span class="apart"> of {{ block.table.title }}</span></summary>
{{ cells(block.table, "", false) }}</details>
{% endif %}
</figure>
{% else %}
{% set name = section.name ~ "-table-" ~ loop.index %}
{% if block.folded %}
<div class="folded"><details><summary>{{ block.title }}</summary>
{{ cells(block, name, false) }}</details></div>
{% else %}
<div class="table{% if block.heads|length < 4 %} small{% endif %}">
{{ cells(block, name, true) }}</div>
{% endif %}
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
_NUMBER = re.compile(r"[\N{MINUS SIGN}+]?[\d,]*\.?\d+(e[-+\d]+)?( ?[%s])?")
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
        kinds=_kinds,
        is_figure=lambda block: isinstance(block, Figure),
        is_headline=lambda block: isinstance(block, Headline),
    )
    return environment.get_template("page").render(page=page, style=STYLE)


def _kinds(table: Table) -> list[str]:
    """Of each column: text stands to the left, numbers to the right; long text may be broken."""
    return [_kind([row[at] for row in table.rows]) for at in range(len(table.heads))]


def _kind(cells: Sequence[str]) -> str:
    if all(cell in ("", NOTHING) or _NUMBER.fullmatch(cell) for cell in cells):
        return ""
    longest = max(map(len, cells))
    return "text long" if longest > _LONG else "text"

"""A page is plain data until it is rendered, and its templates are files of the package."""

from __future__ import annotations

from typing import Any

import pytest
from jinja2 import DictLoader

from hyena_ray.errors import InputError
from hyena_ray.report import _page
from hyena_ray.report._page import MINUS, NOTHING, Page, Section, Table, render_html
from hyena_ray.report.contents import READERS
from hyena_ray.report.run_contents import RunContents
from hyena_ray.report.sections import SECTIONS
from hyena_ray.runs.record import KINDS


def page(*blocks: _page.Block) -> Page:
    return Page(
        "A title", "kicker", ["Take care."], [Section("part", "Part", blocks)], ["The end."]
    )


def test_a_page_shows_all_that_it_is_given() -> None:
    table = Table("Bases", ["base", "count"], [["A", "1,200"], ["C", "7"]])
    text = render_html(page("A paragraph.", table))
    for words in ("A title", "Take care.", "A paragraph.", "Bases", "1,200", "The end."):
        assert words in text


def test_numbers_are_flush_right_and_text_is_flush_left() -> None:
    value = f"{MINUS}1,200.5"
    rows = [["A", value, "all of it"], ["C", NOTHING, "7"]]
    text = render_html(page(Table("Bases", ["base", "count", "note"], rows)))
    assert f"<td>{value}</td>" in text
    assert '<td class="text">all of it</td>' in text


def missing(package: str) -> Any:
    raise ValueError(f"{package} has no directory 'templates'")


@pytest.mark.parametrize("loader", [missing, lambda package: DictLoader({"page.html": ""})])
def test_an_installation_without_templates_is_named(
    monkeypatch: pytest.MonkeyPatch, loader: Any
) -> None:
    monkeypatch.setattr(_page, "PackageLoader", loader)
    with pytest.raises(InputError, match="lacks the templates of the report"):
        render_html(page())


def test_every_kind_of_run_has_a_page_with_an_answer_and_what_was_run() -> None:
    kinds = {contents.kind for contents in all_kinds(RunContents)}
    assert set(SECTIONS) == set(READERS) == kinds == set(KINDS)
    for sections in SECTIONS.values():
        names = [section.__name__ for section in sections]
        assert names[0] == "answer_section"
        assert "run_section" in names
        assert len(names) == len(set(names))


def all_kinds(contents: type[RunContents]) -> list[type[RunContents]]:
    """Return the records below `contents` that name a kind of their own."""
    own = [contents] if "kind" in vars(contents) else []
    return own + [kind for below in contents.__subclasses__() for kind in all_kinds(below)]

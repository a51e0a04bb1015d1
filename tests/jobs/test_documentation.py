"""The documentation's pages stand in its menu, and its links lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from hyena_ray.settings import load_yaml
from tests.jobs.pages import ROOT

DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))


def files_in(menu: Any) -> set[str]:
    """Pages of a menu, whose entries may have entries."""
    if isinstance(menu, str):
        return {menu}
    entries = menu.values() if isinstance(menu, dict) else menu
    return set().union(*map(files_in, entries))


def test_every_page_stands_in_the_menu() -> None:
    menu = files_in(load_yaml(ROOT / "mkdocs.yml")["nav"])
    assert menu == {str(page.relative_to(DOCS)) for page in PAGES}


def test_every_room_has_a_page_of_reference() -> None:
    rooms = {path.parent.name for path in (ROOT / "hyena_ray").glob("*/__init__.py")}
    assert {page.stem for page in (DOCS / "api").iterdir()} == rooms | {"index"}


@pytest.mark.parametrize("page", [*PAGES, *ROOT.glob("*.md")], ids=lambda page: page.name)
def test_every_link_leads_to_a_file(page: Path) -> None:
    for target in re.findall(r"\]\((?!http)([^)#]+)", page.read_text()):
        assert (page.parent / target).is_file(), target

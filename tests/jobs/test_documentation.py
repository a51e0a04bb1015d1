"""The documentation's pages are in its menu, its links lead somewhere, and what the hook writes is
complete."""

from __future__ import annotations

import importlib.util
import re
import shlex
from pathlib import Path
from types import ModuleType
from typing import Any

import click
import pytest

from hyena_ray.cli.commands import JOBS, hyena_ray_command
from hyena_ray.settings import load_yaml
from hyena_ray.training.settings import RunSettings
from hyena_ray.workflows.presets import load_preset
from tests.foundation.test_imports import ROOMS
from tests.jobs.pages import ROOT, lines

DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))


def load_hook() -> ModuleType:
    """Load the hook of mkdocs.yml as MkDocs does, by its path."""
    (path,) = load_yaml(ROOT / "mkdocs.yml")["hooks"]
    spec = importlib.util.spec_from_file_location("docs_hook", ROOT / path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


HOOK = load_hook()


@pytest.fixture(scope="module")
def generated() -> dict[str, str]:
    """Return the pages that the hook writes."""
    pages: dict[str, str] = HOOK.pages()
    return pages


def files_in(menu: Any) -> set[str]:
    """Return the pages of a menu, whose entries may have entries."""
    if isinstance(menu, str):
        return {menu}
    entries = menu.values() if isinstance(menu, dict) else menu
    return set().union(*map(files_in, entries))


def test_every_page_is_in_the_menu(generated: dict[str, str]) -> None:
    menu = files_in(load_yaml(ROOT / "mkdocs.yml")["nav"])
    reference = {page for page in generated if page.startswith("api/")}
    written = {str(page.relative_to(DOCS)) for page in PAGES}
    assert menu == written | (set(generated) - reference)
    assert not written & set(generated)


def test_every_room_has_a_page_of_reference_and_a_place_in_its_order(
    generated: dict[str, str],
) -> None:
    rooms = {path.parent.name for path in (ROOT / "hyena_ray").glob("*/__init__.py")}
    assert {f"api/{room}.md" for room in rooms} | {"api/foundation.md"} == {
        page for page in generated if page.startswith("api/")
    }
    assert rooms <= set(HOOK.ROOMS)


def test_rooms_are_listed_in_the_order_of_their_imports() -> None:
    assert HOOK.ROOMS == ROOMS
    contributing = (ROOT / "CONTRIBUTING.md").read_text()
    assert tuple(re.findall(r"^\| `(\w+)/` \|", contributing, re.MULTILINE)) == ROOMS


def test_every_module_of_the_foundation_has_a_section(generated: dict[str, str]) -> None:
    modules = {path.stem for path in (ROOT / "hyena_ray").glob("[!_]*.py")}
    assert set(re.findall(r"::: hyena_ray\.(\w+)", generated["api/foundation.md"])) == modules


def test_the_page_of_settings_has_every_setting_with_its_meaning(
    generated: dict[str, str],
) -> None:
    page = generated["settings.md"]
    lines = {
        line.split("`")[1]: line.strip("| ").split(" | ")
        for line in page.splitlines()
        if line.startswith("| `")
    }
    for section, field in RunSettings.model_fields.items():
        fields = getattr(field.annotation, "model_fields", None)
        for key in [f"{section}.{name}" for name in fields] if fields else [section]:
            assert key in lines, key
    assert lines["training.epochs"][1:3] == ["whole number at least 1", "`8`"]
    assert lines["readout.strands"][1:3] == ["`forward`, `both`", "`both`"]
    for key, cells in lines.items():
        assert len(cells) == 4, f"{key} has no meaning"


def test_the_page_of_the_command_line_has_every_command_and_option() -> None:
    @click.group()
    def program() -> None: ...

    @program.group()
    def tune() -> None: ...

    @tune.command(help="Search settings.")
    @click.argument("space")
    @click.option("--trials", default=24, show_default=True, help="Settings to try.")
    def zdna(space: str, trials: int) -> None: ...

    page = HOOK.command_line_page(program)
    assert "## hyena-ray tune zdna\n\nSearch settings." in page
    assert re.search(r"\| `--trials INTEGER` \| Settings to try\..*24", page)
    assert "SPACE" in page


def test_every_job_is_on_the_page_of_the_command_line(generated: dict[str, str]) -> None:
    page = generated["command_line.md"]
    for job in JOBS:
        assert re.search(rf"^## hyena-ray {job}\b", page, re.MULTILINE), job
    assert "`--data DIR`" in page


@pytest.mark.parametrize("page", [*PAGES, *ROOT.glob("*.md")], ids=lambda page: page.name)
def test_every_link_leads_to_a_page_or_a_file(page: Path, generated: dict[str, str]) -> None:
    for target in re.findall(r"\]\((?!http)([^)#]+)", page.read_text()):
        path = (page.parent / target).resolve()
        known = path.is_file() or str(path.relative_to(ROOT / "docs")) in generated
        assert known, target


@pytest.mark.parametrize("page", [*PAGES, *ROOT.glob("*.md")], ids=lambda page: page.name)
def test_a_page_that_speaks_of_the_original_work_cites_it(page: Path) -> None:
    text = page.read_text()
    if re.search(r"original\s+work", text) and page.name != "CONTRIBUTING.md":
        assert "Bokhyan" in text


@pytest.mark.parametrize("page", [*PAGES, *ROOT.glob("*.md")], ids=lambda page: page.name)
def test_a_study_is_always_one_of_optuna(page: Path) -> None:
    for paragraph in re.split(r"\n\s*\n|\n(?=[|-] )", page.read_text()):
        if re.search(r"(?<!`)\bstud(y|ies)\b(?!\.db)", paragraph, re.IGNORECASE):
            assert "Optuna" in paragraph, paragraph


def command_lines() -> list[Any]:
    """Return every command of the pages, also inside loops of a shell."""
    return [
        pytest.param(line.strip(), id=f"{page.name}-{number}")
        for page in [*PAGES, *ROOT.glob("*.md")]
        for number, line in enumerate(lines(page.read_text()))
        if line.strip().startswith("hyena-ray ")
    ]


def parse_command(line: str) -> tuple[dict[str, Any], list[str]]:
    """Return the options of a command line, and the words that no option takes."""
    words = shlex.split(line, comments=True)[1:]
    words = [word for word in words if not re.fullmatch(r"\$[A-Z]+", word)]  # options of a shell
    command: click.Command = hyena_ray_command()
    context = click.Context(command, info_name="hyena-ray")
    while isinstance(command, click.Group):
        name, *words = words
        subcommand = command.get_command(context, name)
        assert subcommand is not None, f"no command {name}"
        command = subcommand
    parsed = command.make_context(str(command.name), words)
    return parsed.params, parsed.args


@pytest.mark.parametrize("line", command_lines())
def test_commands_of_the_pages_have_todays_options_presets_and_settings(
    line: str, generated: dict[str, str]
) -> None:
    options, extra = parse_command(line)
    assert extra == []
    presets = (options.get("preset") or options.get("presets") or "").split(",")
    for preset in presets:
        if preset and "$" not in preset and not preset.endswith("/all"):
            load_preset(preset)
    keys = set(re.findall(r"^\| `([\w.]+)` \|", generated["settings.md"], re.MULTILINE))
    for assignment in options.get("changes") or ():
        assert assignment.partition("=")[0] in keys, assignment


@pytest.mark.parametrize("line", ["hyena-ray train --dta x", "hyena-ray evaluate --on test"])
def test_the_check_of_commands_catches_an_option_that_is_gone(line: str) -> None:
    assert parse_command(line)[1]


def test_every_decision_has_a_date_a_reason_and_evidence() -> None:
    entries = re.split(r"^### ", (DOCS / "decisions.md").read_text(), flags=re.MULTILINE)[1:]
    assert len(entries) > 50
    for entry in entries:
        title, _, text = entry.partition("\n\n")
        assert re.match(r"\d{4}-\d\d-\d\d[.,] ", text), title
        assert "- **Why:** " in text, title
        assert "- **Evidence:** " in text, title

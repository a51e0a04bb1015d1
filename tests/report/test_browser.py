"""The page in a browser: headless Chromium, offline, at the widths of a desk and of a phone."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from hyena_ray.report.write import write_report
from tests.report.report_runs import Runs

pytestmark = pytest.mark.slow
CHROMIUM = Path("/usr/bin/chromium")
DESK, PHONE = {"width": 1280, "height": 900}, {"width": 375, "height": 800}
FIGURES = 18
"""At least: those that test_sections.py names."""


@pytest.fixture(scope="module")
def page_file(runs: Runs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("browser") / "tuned"
    shutil.copytree(runs.tuned, folder)
    written = write_report(folder, compared=runs.compared)
    assert isinstance(written, Path)
    return written


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if not CHROMIUM.exists():
        pytest.skip(f"there is no {CHROMIUM}")
    with api.sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        yield found
        found.close()


class Opened:
    """The page in a tab, and what the browser said meanwhile."""

    def __init__(self, browser: Any, file: Path, viewport: dict[str, int], scheme: str) -> None:
        self.said: list[str] = []
        self.asked: list[str] = []
        self.tab = browser.new_context(viewport=viewport, color_scheme=scheme).new_page()
        self.tab.on("console", lambda message: self.said.append(message.text))
        self.tab.on("pageerror", lambda error: self.said.append(str(error)))
        self.tab.on("request", lambda request: self.asked.append(request.url))
        self.tab.goto(file.as_uri())

    def run(self, code: str) -> Any:
        return self.tab.evaluate(code)


@pytest.fixture(scope="module")
def desk(browser: Any, page_file: Path) -> Opened:
    return Opened(browser, page_file, DESK, "light")


@pytest.fixture(scope="module")
def phone(browser: Any, page_file: Path) -> Opened:
    return Opened(browser, page_file, PHONE, "dark")


def test_the_browser_complains_of_nothing_and_asks_for_nothing_else(
    desk: Opened, phone: Opened, page_file: Path
) -> None:
    for opened in (desk, phone):
        assert opened.said == []
        assert opened.asked == [page_file.as_uri()]


def test_every_figure_is_drawn_and_has_words(desk: Opened) -> None:
    found = desk.run(
        """() => [...document.querySelectorAll('figure')].map(figure => {
            const svg = figure.querySelector('svg'), box = svg.getBoundingClientRect();
            return {role: svg.getAttribute('role'), words: svg.getAttribute('aria-label'),
                    caption: figure.querySelector('figcaption').innerText, width: box.width,
                    height: box.height, marks: svg.querySelectorAll('path, use, image').length};
        })"""
    )
    assert len(found) >= FIGURES
    for figure in found:
        assert figure["role"] == "img"
        assert len(figure["words"]) > 20
        assert figure["caption"]
        assert figure["width"] > 200
        assert figure["height"] > 80
        assert figure["marks"] > 5
    assert len({figure["words"] for figure in found}) == len(found)


def test_ids_are_unique_and_every_link_leads_somewhere(desk: Opened, page_file: Path) -> None:
    ids = desk.run("[...document.querySelectorAll('[id]')].map(e => e.id)")
    assert len(ids) == len(set(ids))
    links = desk.run("[...document.querySelectorAll('a')].map(a => a.getAttribute('href'))")
    referred = desk.run(
        """() => [...document.querySelectorAll('[aria-labelledby]')].map(
            e => '#' + e.getAttribute('aria-labelledby'))"""
    )
    uses = desk.run("[...document.querySelectorAll('use')].map(u => u.getAttribute('href'))")
    inside = {link for link in links if link.startswith("#")}
    assert {*inside, *referred, *uses} <= {f"#{name}" for name in ids}
    files = set(links) - inside
    assert {"model/config.json", "evaluation.json", "trials.parquet"} <= files
    for file in files:
        assert (page_file.parent / unquote(file)).is_file(), file


def test_headings_go_down_one_level_at_a_time(desk: Opened) -> None:
    levels = desk.run(
        "[...document.querySelectorAll('h1, h2, h3, h4')].map(h => Number(h.tagName[1]))"
    )
    assert levels.count(1) == 1
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))


def test_landmarks_language_and_table_heads_are_there(desk: Opened) -> None:
    assert desk.run("document.documentElement.lang") == "en"
    for landmark in ("header", "nav[aria-label]", "main", "footer"):
        assert desk.run(f"document.querySelectorAll('{landmark}').length") == 1
    assert desk.run("document.querySelectorAll('th:not([scope])').length") == 0
    assert desk.run("document.querySelectorAll('table').length") > FIGURES
    assert desk.run("document.querySelectorAll('tbody tr > td:first-child').length") == 0


def test_the_warning_comes_before_the_answer(desk: Opened) -> None:
    text = desk.run("document.body.innerText")
    assert text.index("no figure here says anything about real DNA") < text.index("The answer\n")


def test_nothing_but_tables_is_wider_than_a_phone(phone: Opened) -> None:
    phone.run("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert phone.run("document.documentElement.scrollWidth") == PHONE["width"]
    wide = phone.run(
        """() => [...document.querySelectorAll('body *')].filter(
            e => e.getBoundingClientRect().right > innerWidth + 1 && !e.closest('.scroll, nav, svg')
        ).map(e => e.outerHTML.slice(0, 80))"""
    )
    assert wide == []


def test_text_of_figures_can_be_read_on_a_phone(phone: Opened) -> None:
    smallest = phone.run(
        """() => Math.min(...[...document.querySelectorAll('figure svg text')].map(text => {
            const svg = text.ownerSVGElement;
            const scale = svg.getBoundingClientRect().width / svg.viewBox.baseVal.width;
            return parseFloat(getComputedStyle(text).fontSize) * scale;
        }))"""
    )
    assert smallest >= 6


def test_the_keyboard_reaches_skip_link_links_and_numbers(browser: Any, page_file: Path) -> None:
    opened = Opened(browser, page_file, DESK, "light")
    tab = opened.tab
    reached = []
    for _ in range(80):
        tab.keyboard.press("Tab")
        reached.append(
            opened.run(
                """() => { const e = document.activeElement, s = getComputedStyle(e);
                return [e.tagName, e.className, s.outlineStyle]; }"""
            )
        )
    assert reached[0][1] == "skip"
    assert {"A", "SUMMARY", "DIV"} <= {tag for tag, _, _ in reached}
    assert all(outline != "none" for tag, _, outline in reached if tag != "BODY")
    tab.locator("summary").first.focus()
    tab.keyboard.press("Enter")
    assert opened.run("document.querySelector('details').open")


def test_colours_of_drawings_follow_the_page(desk: Opened, phone: Opened) -> None:
    ink = "getComputedStyle(document.querySelector('figure svg text')).fill"
    assert desk.run(ink) == "rgb(22, 33, 43)"
    assert phone.run(ink) == "rgb(230, 237, 242)"


def ratio(first: str, second: str) -> float:
    """Contrast of two colours, as WCAG 2 computes it."""

    def light(colour: str) -> float:
        parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((light(first), light(second)))
    return (high + 0.05) / (low + 0.05)


def test_colours_stand_out_from_the_page(desk: Opened, phone: Opened) -> None:
    for opened in (desk, phone):
        colours = {
            name: opened.run(
                f"getComputedStyle(document.documentElement).getPropertyValue('--{name}').trim()"
            )
            for name in ("surface", "ink", "muted", "blue", "orange", "green", "gold", "purple")
        }
        for name in ("ink", "muted", "blue"):  # text
            assert ratio(colours[name], colours["surface"]) >= 4.5
        for name in ("orange", "green", "gold", "purple"):  # of drawings
            assert ratio(colours[name], colours["surface"]) >= 3


def test_paper_has_figures_and_no_controls(browser: Any, page_file: Path) -> None:
    opened = Opened(browser, page_file, DESK, "dark")
    opened.tab.emulate_media(media="print", color_scheme="dark")
    assert opened.run("getComputedStyle(document.querySelector('nav')).display") == "none"
    for control in ("figure details", ".tools", "summary"):
        shown = opened.run(f"getComputedStyle(document.querySelector('{control}')).display")
        assert shown == "none", control
    # Settings, files and versions are an appendix.
    assert opened.run(
        """() => [...document.querySelectorAll('.folded table')].every(
            table => table.getBoundingClientRect().height > 20)"""
    )
    assert opened.run("getComputedStyle(document.body).color") == "rgb(22, 33, 43)"
    assert opened.tab.pdf(format="A4")[:5] == b"%PDF-"


def cells(opened: Opened, column: int) -> list[str]:
    """Return the shown cells of a column of the longest table."""
    found: list[str] = opened.run(
        f"longest().filter(row => !row.hidden).map(row => row.cells[{column}].innerText)"
    )
    return found


@pytest.fixture
def tables(browser: Any, page_file: Path) -> Opened:
    """Open the page with all tables shown, and `longest()`, the rows of the longest one."""
    opened = Opened(browser, page_file, DESK, "light")
    opened.run("document.querySelectorAll('details').forEach(d => d.open = true)")
    opened.run(
        """() => { window.longest = () => [...[...document.querySelectorAll('table')].reduce(
            (a, b) => b.tBodies[0].rows.length > a.tBodies[0].rows.length ? b : a
        ).tBodies[0].rows]; }"""
    )
    return opened


def test_a_table_is_sorted_by_its_numbers_either_way(tables: Opened) -> None:
    """What has no number is last."""
    tables.run(
        """() => { const body = longest()[0].parentElement, values = ['10', '9.5', '\u2014',
            '\u22123', '1,200', '1e\u22124'];
            longest().slice(values.length).forEach(row => row.remove());
            values.forEach((value, at) => { body.rows[at].cells[1].textContent = value; });
            window.longest = () => [...body.rows]; }"""
    )
    click = "longest()[0].closest('table').tHead.rows[0].cells[1].querySelector('button').click()"
    ascending = ["\u22123", "1e\u22124", "9.5", "10", "1,200", "\u2014"]
    tables.run(click)
    assert cells(tables, 1) == ascending
    tables.run(click)
    assert cells(tables, 1) == [*ascending[-2::-1], ascending[-1]]


def test_rows_are_filtered_and_what_is_shown_is_copied_and_saved(
    tables: Opened, tmp_path: Path
) -> None:
    every = cells(tables, 0)
    wanted = every[len(every) // 2]
    tables.run(
        f"""() => {{ const scroll = longest()[0].closest('.scroll');
            window.tools = scroll.previousElementSibling;
            const field = tools.querySelector('input');
            field.value = {wanted!r}; field.dispatchEvent(new Event('input')); }}"""
    )
    shown = cells(tables, 0)
    assert wanted in shown
    assert len(shown) < len(every)
    assert f"{len(shown)} of {len(every)} rows" in tables.run("tools.innerText")
    with tables.tab.expect_download() as started:
        tables.run("[...tools.querySelectorAll('button')].at(-1).click()")
    assert started.value.suggested_filename.endswith(".csv")
    started.value.save_as(tmp_path / "table.csv")
    with (tmp_path / "table.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    heads = tables.run("longest()[0].closest('table').tHead.rows[0].cells.length")
    assert [row[0] for row in rows[1:]] == shown
    assert {len(row) for row in rows} == {heads}
    tables.tab.context.grant_permissions(["clipboard-read", "clipboard-write"])
    tables.run("[...tools.querySelectorAll('button')].at(-2).click()")
    copied = tables.run("navigator.clipboard.readText()")
    assert [line.split("\t")[0] for line in copied.splitlines()[1:]] == shown


def test_a_section_is_closed_and_a_link_opens_it(tables: Opened) -> None:
    height = "document.querySelector('#run .blocks').getBoundingClientRect().height"
    assert tables.run(height) > 0
    tables.run("document.querySelector('#run h2 button').click()")
    assert tables.run(height) == 0
    assert tables.run("document.querySelector('#run h2 button').ariaExpanded") == "false"
    tables.tab.locator("nav a[href='#run']").click()
    tables.tab.wait_for_function(f"{height} > 0")


def test_the_contents_stay_in_sight_and_show_where_one_is(tables: Opened) -> None:
    tables.tab.locator("nav a").last.click()
    tables.tab.wait_for_function("document.querySelector('nav a[aria-current]')")
    top = tables.run("document.querySelector('nav').getBoundingClientRect().top")
    assert top == 0


def test_the_page_is_whole_without_its_script(browser: Any, page_file: Path, desk: Opened) -> None:
    context = browser.new_context(viewport=DESK, java_script_enabled=False)
    tab = context.new_page()
    tab.goto(page_file.as_uri())
    assert tab.locator("button").count() == 0
    assert tab.locator("table").count() == desk.tab.locator("table").count()
    assert tab.locator("figure svg").first.is_visible()
    assert tab.locator("#run table").first.is_visible()

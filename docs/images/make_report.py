"""Take docs/images/report.png: parts of a report, as a browser shows them.

Usage: python docs/images/make_report.py report.html report.png

It needs playwright and Chromium at /usr/bin/chromium. The picture has the head of the page, the
answer and some figures of the k-mers; all else is hidden, and no number is changed.
"""

from __future__ import annotations

import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

SECTIONS = ("answer", "kmers")
FIGURES = ("consensus", "kmers-ig", "family-1", "true-positives")
WIDTH = 1000
"""Pixels of the picture."""
COLOURS = 96
"""Colours of the picture, few so that its file is small."""


def hiding_rules() -> str:
    """Return CSS that hides what the picture does not show."""
    sections = "".join(f":not(#{name})" for name in SECTIONS)
    figures = "".join(f":not(#{name})" for name in FIGURES)
    return (
        f"section{sections}, section figure{figures}, nav, .table, .folded, details, footer "
        "{ display: none } .page { padding-bottom: 1rem }"
    )


def main(page: Path, image: Path) -> None:
    """Open the page in Chromium and take the picture."""
    with sync_playwright() as playwright:
        options = ["--no-sandbox", "--disable-gpu"]
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=options)
        tab = browser.new_context(
            viewport={"width": WIDTH, "height": 600}, color_scheme="light"
        ).new_page()
        tab.goto(page.absolute().as_uri())
        tab.add_style_tag(content=hiding_rules())
        tab.screenshot(path=image, full_page=True)
        browser.close()
    with Image.open(image) as picture:
        reduced = picture.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
    reduced.save(image, optimize=True)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    main(Path(sys.argv[1]), Path(sys.argv[2]))

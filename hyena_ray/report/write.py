"""Make the page of a folder, and write it as `report.html`."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable

from hyena_ray.files import atomic_file
from hyena_ray.report.answer import answer, warnings
from hyena_ray.report.blocks import Section
from hyena_ray.report.checks import checks
from hyena_ray.report.compared import compared
from hyena_ray.report.contents import Contents, read_contents
from hyena_ray.report.kmers import kmers
from hyena_ray.report.learning import learning
from hyena_ray.report.made import made
from hyena_ray.report.measured import measured
from hyena_ray.report.page import Page, html_of
from hyena_ray.report.predicted import predicted
from hyena_ray.report.prepared import prepared
from hyena_ray.report.pretrained import pretrained
from hyena_ray.report.search import search
from hyena_ray.report.windows import windows
from hyena_ray.storage import AnyPath

NAME = "report.html"
SECTIONS: tuple[Callable[[Contents], Section | None], ...] = (
    answer,
    pretrained,
    predicted,
    prepared,
    made,
    measured,
    learning,
    search,
    kmers,
    windows,
    checks,
    compared,
)
"""In the order of a page; each gives None where the folder has nothing for it."""


def write_report(
    folder: AnyPath,
    *,
    attributed: AnyPath | None = None,
    compared: AnyPath | None = None,
    sanity: AnyPath | None = None,
) -> AnyPath:
    """Write `folder/report.html`: one page that needs no other file and no network.

    Args:
        folder: that a job wrote, see `read_contents`.
        attributed, compared, sanity: other folders whose results stand on the same page; see
            `read_contents`.

    Returns:
        Where the page lies.

    Raises:
        InputError: as `read_contents`; nothing was written.
    """
    contents = read_contents(folder, attributed=attributed, compared=compared, sanity=sanity)
    text = html_of(page_of(contents))
    with atomic_file(folder / NAME) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return folder / NAME


def page_of(contents: Contents) -> Page:
    """What stands on the page."""
    sections = [section for make in SECTIONS if (section := make(contents)) is not None]
    about = contents.task.title if contents.task is not None else "DNA"
    return Page(
        title=f"{about[0].upper()}{about[1:]}: {contents.what}",
        kicker="hyena-ray report",
        warnings=warnings(contents),
        sections=sections,
        footer=[
            f"Made by hyena-ray {importlib.metadata.version('hyena-ray')} from what lies in "
            f"{contents.folder}. The page needs no network.",
        ],
    )

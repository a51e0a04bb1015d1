"""Write the page of a run as `report.html` in its folder."""

from __future__ import annotations

from hyena_ray.files import atomic_file
from hyena_ray.report._page import render_html
from hyena_ray.report.contents import read_contents
from hyena_ray.report.sections import page_of
from hyena_ray.storage import AnyPath

NAME = "report.html"
"""File of the page in the folder of its run."""


def write_report(
    folder: AnyPath,
    *,
    attributed: AnyPath | None = None,
    compared: AnyPath | None = None,
    sanity: AnyPath | None = None,
    assembly: str | None = None,
) -> AnyPath:
    """Write `folder/report.html`: one page that needs no other file and no network.

    Args:
        folder: Folder of a run, see `read_contents`.
        attributed: Folder of an attribution that is shown on the same page.
        compared: Folder of a comparison of presets that is shown on the same page.
        sanity: Folder of sanity checks that are shown on the same page.
        assembly: Name of the genome's assembly at UCSC, as in `read_contents`.

    Returns:
        Path of the page.

    Raises:
        InputError: As `read_contents`; nothing was written.
    """
    contents = read_contents(
        folder, attributed=attributed, compared=compared, sanity=sanity, assembly=assembly
    )
    text = render_html(page_of(contents))
    with atomic_file(folder / NAME) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return folder / NAME

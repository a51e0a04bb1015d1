"""Write one page about a run, report.html in its folder: to open in a browser, print or send."""

from __future__ import annotations

from typing import Annotated, Any, NamedTuple

from pydantic import Field

from hyena_ray.errors import Problems
from hyena_ray.outcomes import Outcome
from hyena_ray.runs.record import read_kind, read_manifest
from hyena_ray.settings import READ, Location, Option
from hyena_ray.storage import AnyPath
from hyena_ray.workflows.workflow import Job, Workflow


class ReportSettings(Job):
    """Settings of a report."""

    run: Annotated[Location, Option("RUN_DIR", READ, positional=True)]
    """Folder that a job wrote."""
    attributed: Annotated[Location | None, Option("DIR", READ)] = None
    """Attribution of the same model, shown on the same page."""
    compared: Annotated[Location | None, Option("DIR", READ)] = None
    """Comparison of presets, shown on the same page."""
    sanity: Annotated[
        Location | None, Option("DIR", READ, default="sanity/ in RUN_DIR, if there is one")
    ] = None
    """Sanity checks, shown on the same page."""
    assembly: Annotated[
        str | None,
        Option("NAME", default="as the genome's file is called, such as hg38.2bit"),
        Field(pattern="[A-Za-z][A-Za-z0-9._-]*"),
    ] = None
    """Name of the genome's assembly at UCSC: windows and regions get links to its browser."""


class Folders(NamedTuple):
    """Folders of complete runs that a page is made of, and the assembly of their genome."""

    run: AnyPath
    attributed: AnyPath | None
    compared: AnyPath | None
    sanity: AnyPath | None
    assembly: str | None


def validate(settings: ReportSettings) -> Folders:
    """Check that the folders are complete runs of the right kinds.

    Args:
        settings: Settings of the job.

    Raises:
        InputError: One of them is not.
    """
    with Problems() as problems:
        problems.collect(read_kind, settings.run)
        for option, folder, kinds in (
            ("--attributed", settings.attributed, ("attribute", "tune")),
            ("--compared", settings.compared, ("compare",)),
            ("--sanity", settings.sanity, ("sanity",)),
        ):
            if folder is not None:
                problems.collect(read_manifest, folder, kinds, option)
    return Folders(
        settings.run,
        settings.attributed,
        settings.compared,
        settings.sanity,
        settings.assembly,
    )


def execute(folders: Folders) -> AnyPath:
    """Write the page.

    Args:
        folders: What the page is made of.

    Raises:
        InputError: A file in one of the folders is damaged.
    """
    from hyena_ray.report.write import write_report

    return write_report(
        folders.run,
        attributed=folders.attributed,
        compared=folders.compared,
        sanity=folders.sanity,
        assembly=folders.assembly,
    )


def present(folders: Folders, report: AnyPath) -> Outcome:
    """Say where the page is.

    Args:
        folders: What the page is made of.
        report: Path of the page.
    """
    size = len(report.read_bytes())
    values: dict[str, Any] = {"bytes": size}
    return Outcome(f"a page of {size / 1000:,.0f} kB", values, {"report": report.absolute()})


WORKFLOW = Workflow(
    name="report",
    about=__doc__,
    settings=lambda task: ReportSettings,
    validate=validate,
    execute=execute,
    present=present,
    found="bytes",
    examples=(
        "report run",
        "report one_run --attributed kmers --sanity checked --compared compared",
        "report tracks --assembly hg19",
    ),
)

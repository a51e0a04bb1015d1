"""Hold every file of a run or a model against the checksums that were written with it.

Of prepared data the counts of the manifest are held against the labels in the files as well.
Nothing is written. Exit code 1 says that something is missing or was changed, and the message
names it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, NamedTuple

from pydantic import field_validator

from hyena_ray.errors import JobError
from hyena_ray.model.settings import READOUT
from hyena_ray.outcomes import Outcome
from hyena_ray.runs.record import KINDS, MANIFEST, PLAN, read_kind
from hyena_ray.runs.stored_files import Fault
from hyena_ray.runs.verification import Verification, verify_run
from hyena_ray.settings import READ, Location, Option
from hyena_ray.storage import AnyPath
from hyena_ray.workflows.workflow import Job, Workflow

MODEL = "model"
"""Kind of a folder that holds a trained model and no run."""


class VerifySettings(Job):
    """Settings of a verification."""

    run: Annotated[Location, Option("DIR", READ, positional=True)]
    """Folder of a complete run, of prepared data, or of a trained model."""

    @field_validator("run")
    @classmethod
    def _is_complete(cls, folder: AnyPath) -> AnyPath:
        if not _is_model(folder):
            read_kind(folder)
        return folder


class ToVerify(NamedTuple):
    """A folder that can be verified."""

    folder: AnyPath
    """Absolute path of the folder."""
    is_model: bool
    """Whether it holds a trained model and no run."""


def validate(settings: VerifySettings) -> ToVerify:
    """Check that the folder holds something that can be verified.

    Args:
        settings: Settings of the job.
    """
    folder = settings.run.expanduser().absolute()
    return ToVerify(folder, _is_model(folder))


def _is_model(folder: AnyPath) -> bool:
    is_run = any((folder / name).is_file() for name in (MANIFEST, PLAN))
    return not is_run and (folder / READOUT).is_file()


def execute(given: ToVerify) -> Verification:
    """Read every file.

    Args:
        given: The folder.

    Raises:
        JobError: Files are missing or were changed; names all of them.
        InputError: A manifest is damaged or was changed.
    """
    found = _verify_model(given.folder) if given.is_model else verify_run(given.folder)
    if found.kind == "prepare" and not found.faults:
        from hyena_ray.dataset.reader import PreparedData
        from hyena_ray.dataset.recount import count_faults

        found = found._replace(faults=tuple(count_faults(PreparedData.open(given.folder))))
    if found.faults:
        raise JobError(
            f"{given.folder}: {_together(found.faults)}; copy what was changed again, or run the "
            "job again with --resume where it takes that"
        )
    return found


def _verify_model(folder: AnyPath) -> Verification:
    from hyena_ray.model.saved import StoredReadout

    stored = StoredReadout.read(folder)
    size = sum(file.bytes for file in stored.contents)
    return Verification(MODEL, len(stored.contents), size, tuple(stored.faults(folder)))


def _together(faults: Iterable[Fault]) -> str:
    return ", ".join(map(str, faults))


def present(given: ToVerify, found: Verification) -> Outcome:
    """Say what was verified.

    Args:
        given: The folder.
        found: What became of its files.
    """
    title = "a trained model" if given.is_model else KINDS[found.kind].title
    text = f"{title}: {found.files:,} files, {found.bytes:,} bytes, all as they were written"
    return Outcome(text, {"kind": found.kind, "files": found.files, "bytes": found.bytes})


WORKFLOW = Workflow(
    name="verify",
    about=__doc__,
    settings=lambda task: VerifySettings,
    validate=validate,
    execute=execute,
    present=present,
    found="kind, files, bytes",
    examples=("verify run", "verify prepared", "verify run/model"),
)

"""The folder of a run: who may write it, what it was started with, and when it is complete."""

from __future__ import annotations

import datetime
import importlib.metadata
import platform
import secrets
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

from pydantic import Field

from hyena_ray.errors import InputError, shortened
from hyena_ray.files import (
    is_inside,
    is_unused,
    new_output,
    read_json,
    remove_temporary_files,
    write_json,
)
from hyena_ray.runs._ownership import check_ownership
from hyena_ray.runs.lock import LOCK, only_writer
from hyena_ray.runs.plan import Plan
from hyena_ray.runs.record import KINDS, MANIFEST, PLAN, Record, checked_kind
from hyena_ray.settings import Settings, dotted
from hyena_ray.storage import AnyPath, S3Path

PROVENANCE = "provenance.json"
"""Name of the file that says by which command, when, and with which versions a run was made."""
PACKAGES = ("hyena-ray", "torch", "ray", "transformers", "peft", "optuna", "numpy", "pyarrow")
"""Packages whose versions are recorded."""

PlanType = TypeVar("PlanType", bound=Plan)


class RunProvenance(Settings):
    """The file provenance.json: how a run was made."""

    command: tuple[str, ...] = ()
    """Words of the command line."""
    started: str = ""
    """Date and time of the last start, UTC."""
    inputs: dict[str, str] = Field(default_factory=dict)
    """Name of everything that was read, and where it was."""
    versions: dict[str, str] = Field(default_factory=dict)
    """Versions of Python and packages."""
    ran_on: tuple[str, ...] = ()
    """Hardware of each start: the number of processes, their CPUs and GPUs, and the GPU model. The
    last bits of a result depend on the kind of device."""


class Output(NamedTuple):
    """Where a run is written, and what happens to a folder that is there already."""

    folder: AnyPath
    """Absolute path of the folder."""
    resume: bool = False
    """Whether the run in it is continued."""
    overwrite: bool = False
    """Whether the run in it is replaced."""


class Run(Generic[PlanType]):
    """A run whose folder this process alone may write; made by `start`.

    Args:
        folder: Folder of the run.
        plan: Plan of its first start.
        inputs: Name of everything that is read, and where it is, for the provenance.
        ran_on: Hardware that the run is computed on, for the provenance.
    """

    def __init__(
        self, folder: AnyPath, plan: PlanType, inputs: Mapping[str, AnyPath], ran_on: str = ""
    ) -> None:
        self.folder = folder
        self.plan = plan
        self._inputs = inputs
        self._ran_on = ran_on
        if not self.is_complete:
            write_provenance(folder, inputs, ran_on)

    @property
    def is_complete(self) -> bool:
        """Whether the manifest is there."""
        return (self.folder / MANIFEST).exists()

    def reopen(self) -> None:
        """Remove the manifest, where there is more to do than when it was written."""
        if self.is_complete:
            (self.folder / MANIFEST).unlink()
            write_provenance(self.folder, self._inputs, self._ran_on)

    def finish(self, record: Record) -> None:
        """Write the manifest. Everything else must be in the folder by now.

        Args:
            record: Results of the run.
        """
        record.write(self.folder)


def default_folder(name: str) -> Path:
    """Return a new folder in ~/ray_results/hyena_ray/, named by time and a random number.

    Args:
        name: Beginning of its name.
    """
    stamp = time.strftime("%Y%m%d-%H%M%S")
    return Path.home() / "ray_results" / "hyena_ray" / f"{name}-{stamp}-{secrets.token_hex(4)}"


def run_folder(out: AnyPath, *, resume: bool | None = None, overwrite: bool = False) -> AnyPath:
    """Check that the folder of a run is new, or may be continued or replaced.

    Args:
        out: The folder as the user gave it.
        resume: Whether the run in the folder is continued; None if the job cannot resume.
        overwrite: Whether the run in the folder is replaced.

    Returns:
        The folder's absolute path.

    Raises:
        InputError: As `new_output`.
    """
    remedy = "give a new folder, or --overwrite to replace the run in it"
    if resume is not None:
        remedy += ", or --resume to continue it"
    return new_output(out, allow_existing=bool(resume or overwrite), remedy=remedy)


def check_output(
    out: AnyPath,
    kind: str,
    *,
    inputs: Iterable[AnyPath] = (),
    resume: bool | None = None,
    overwrite: bool = False,
) -> Output:
    """Check that a run may be written to a folder. Touches nothing.

    Args:
        out: The folder as it was given.
        kind: Kind of the run, a key of `KINDS`.
        inputs: Everything that the run reads; none of it may be in the folder, nor the folder in
            one of them.
        resume: Whether the run that is there is continued; None where the job cannot resume.
        overwrite: Whether the run that is there is replaced.

    Returns:
        The folder's absolute path, and what happens to it.

    Raises:
        InputError: As `new_output`; or the folder is no run or one of another kind, holds an input
            or is inside one, is resumed and not this user's own, or is replaced and holds a run
            that is no part of it.
    """
    folder = run_folder(out, resume=resume, overwrite=overwrite)
    if overwrite and folder in (Path.home(), *Path.home().parents, Path.cwd(), *Path.cwd().parents):
        raise InputError("--out", folder, "would be emptied", "give another folder")
    for path in inputs:
        if is_inside(path, folder):
            raise InputError("--out", folder, f"holds the input {path}", "give another folder")
        if is_inside(folder, path):
            raise InputError("--out", folder, f"is inside the input {path}", "give another folder")
    if resume and isinstance(folder, Path):  # on S3 the bucket's owner says who writes
        check_ownership(folder)
    if not is_unused(folder, besides=LOCK):
        there = _kind_in(folder)
        if there != kind:
            problem = f"is {KINDS[there].title}, not {KINDS[kind].title}"
            remedy = f"resume it with `hyena-ray {there}`" if resume else "give another folder"
            raise InputError("--out", folder, problem, remedy)
        if overwrite and (other := _other_run(folder, there)) is not None:
            problem = f"holds another run, {other}, which would be removed"
            raise InputError("--out", folder, problem, "move that run, or give another folder")
    return Output(folder, bool(resume), overwrite)


def _kind_in(folder: AnyPath) -> str:
    """Return the kind of run that a folder holds, complete or not."""
    files = [path for name in (PLAN, MANIFEST) if (path := folder / name).is_file()]
    if not files:
        raise InputError("--out", folder, "holds something other than a run", "give a new folder")
    return checked_kind(read_json(files[0]), files[0])


def _other_run(folder: AnyPath, kind: str) -> AnyPath | None:
    """Return the folder of a run that is in the folder of another one and is no part of it."""
    files: Iterable[AnyPath]
    files = folder.files() if isinstance(folder, S3Path) else folder.rglob("*.json")
    for path in files:
        first, *inner = path.relative_to(folder).parts
        if inner and path.name in (PLAN, MANIFEST) and first not in KINDS[kind].parts:
            return path.parent
    return None


def check_resume(output: Output, plan: PlanType) -> PlanType:
    """Compare a plan with that of the run which is to be resumed. Writes nothing.

    Args:
        output: Folder of the run.
        plan: What the run would be made of now.

    Returns:
        The plan of the first start, or the given one where the run is new.

    Raises:
        InputError: The run was started with something else, or its plan or manifest is damaged.
    """
    if output.overwrite:
        return plan
    first = read_plan(output.folder, type(plan))
    if first is None:
        return plan
    if differing := first.differences(plan):
        values = dotted(first.model_dump(mode="json"))
        given = [
            f"no {key}" if values.get(key) is None else f"{key} = {shortened(values[key])}"
            for key in differing[:4]
        ]
        raise InputError(
            f"{output.folder / PLAN}: {', '.join(differing[:4])}",
            None,
            f"the run was started with {', '.join(given)}",
            "resume with the same, or give the folder of another run, or a new one",
        )
    manifest = output.folder / MANIFEST
    if manifest.is_file():
        checked_kind(read_json(manifest), manifest)
    return first


def read_plan(folder: AnyPath, plan_class: type[PlanType]) -> PlanType | None:
    """Read the plan that a run was started with, or None where none was started.

    Args:
        folder: Folder of the run.
        plan_class: Class of the plan.

    Raises:
        InputError: The plan is damaged, or of another kind or version.
    """
    path = folder / PLAN
    if not path.exists():
        return None
    values = read_json(path)
    kind = checked_kind(values, path)
    if kind != plan_class.KIND:
        problem = f"is {KINDS[kind].title}, not {KINDS[plan_class.KIND].title}"
        raise InputError(folder, None, problem, f"resume it with `hyena-ray {kind}`")
    plan = values.get("plan")
    if not isinstance(plan, dict):
        raise InputError(path, None, "is damaged: it holds no plan", "give a new folder")
    return plan_class.parse(plan, path)


@contextmanager
def start(
    output: Output,
    plan: PlanType,
    *,
    inputs: Mapping[str, AnyPath] | None = None,
    ran_on: str = "",
) -> Iterator[Run[PlanType]]:
    """Hold the folder of a run for writing, as a new run or as one that is resumed.

    Args:
        output: Where the run is written, from `check_output`.
        plan: What the run is made of.
        inputs: Name of everything that is read, and where it is, for the provenance.
        ran_on: Hardware that the run is computed on, in words, for the provenance.

    Yields:
        The run, with the plan of its first start.

    Raises:
        InputError: Another job writes there, or the run was started with something else.
    """
    with only_writer(output.folder, overwrite=output.overwrite):
        remove_temporary_files(output.folder)
        first = check_resume(output._replace(overwrite=False), plan)
        if not (output.folder / PLAN).exists():
            values = {
                "kind": plan.KIND,
                "schema_version": KINDS[plan.KIND].schema_version,
                "fingerprint": plan.fingerprint,
                "plan": plan.model_dump(mode="json"),
            }
            write_json(output.folder / PLAN, values)
        yield Run(output.folder, first, inputs or {}, ran_on)


def write_provenance(folder: AnyPath, inputs: Mapping[str, AnyPath], ran_on: str = "") -> None:
    """Write `provenance.json`: how the run in a folder is made; it names no host.

    Args:
        folder: Folder of the run.
        inputs: Name of everything that is read, and where it is.
        ran_on: Hardware of this start, which is appended to that of earlier starts.
    """
    path = folder / PROVENANCE
    before = RunProvenance.parse(read_json(path), path).ran_on if path.exists() else ()
    versions = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    made = RunProvenance(
        # The name of a script in jobs/, or that of the package under `python -m`.
        command=(Path(sys.argv[0]).name.replace("__main__.py", "hyena-ray"), *sys.argv[1:]),
        started=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        inputs={name: str(path) for name, path in inputs.items()},
        versions=versions,
        ran_on=(*before, ran_on) if ran_on else before,
    )
    write_json(path, made.model_dump(mode="json"))

"""The folder of a run: who may write it, what it was started with, and when it is complete."""

from __future__ import annotations

import datetime
import hashlib
import importlib.metadata
import logging
import platform
import secrets
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from fnmatch import fnmatch
from functools import cache
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

from pydantic import Field

import hyena_ray
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
from hyena_ray.runs._replacement import move_aside, remember_replaced, remove_replaced
from hyena_ray.runs.lock import LOCK, only_writer
from hyena_ray.runs.plan import Plan, check_seal, sealed
from hyena_ray.runs.record import EVERY_KIND, KINDS, PLAN, Record, checked_kind
from hyena_ray.runs.stored_files import MANIFEST, StoredFile, list_files
from hyena_ray.runs.verification import verify_run
from hyena_ray.settings import Settings, dotted
from hyena_ray.storage import AnyPath, remove_folder

logger = logging.getLogger(__name__)

PROVENANCE = "provenance.json"
"""Name of the file that says by which command, when, and with which versions a run was made."""
PACKAGES = ("hyena-ray", "torch", "ray", "transformers", "peft", "optuna", "numpy", "pyarrow")
"""Packages whose versions are recorded."""

PlanType = TypeVar("PlanType", bound=Plan)
RecordType = TypeVar("RecordType", bound=Record)


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
        self._before: dict[str, StoredFile] = {}
        if not self.is_complete:
            write_provenance(folder, inputs, ran_on)

    @property
    def is_complete(self) -> bool:
        """Whether the manifest is there."""
        return (self.folder / MANIFEST).exists()

    def finished(self, record_class: type[RecordType]) -> RecordType | None:
        """Return the record of a complete run whose files are as its manifest lists them.

        Of a run that lacks files, or has damaged ones, the manifest is removed, and so are these
        files and what `Plan.STARTS_FROM` names, so that its job makes them again.

        Args:
            record_class: Class of the record.

        Returns:
            The record, or None where there is work to do.

        Raises:
            InputError: The manifest is damaged.
        """
        if not self.is_complete:
            return None
        record = record_class.read(self.folder)
        faults = verify_run(self.folder).faults
        if not faults:
            return record
        for fault in faults:
            logger.warning("%s/%s, and is made again", self.folder, fault)
            (self.folder / fault.path).unlink(missing_ok=True)
        self.reopen()
        lost = {fault.path for fault in faults} - {PROVENANCE}
        self._before = {file.path: file for file in record.contents if file.path in lost}
        for output, names in self.plan.STARTS_FROM.items():
            if any(fault.is_of(output) for fault in faults):
                for path in (self.folder / name for name in names):
                    if path.is_dir():
                        remove_folder(path)
                    else:
                        path.unlink(missing_ok=True)
        return None

    def reopen(self) -> None:
        """Remove the manifest, where there is more to do than when it was written."""
        if self.is_complete:
            (self.folder / MANIFEST).unlink()
            write_provenance(self.folder, self._inputs, self._ran_on)

    def finish(self, record: Record) -> None:
        """List the files of the run, and write the manifest. Everything else must be there by now.

        What the run replaces is removed.

        Args:
            record: Results of the run.
        """
        contents = list_files(self.folder, (*record.outputs.values(), *_also_listed(record.kind)))
        changed = [file.path for file in contents if self._before.get(file.path, file) != file]
        if changed:
            logger.warning(
                "made again, and not the same to the byte as before: %s", ", ".join(changed)
            )
        complete = {"contents": contents, "versions": installed_versions()}
        record.model_copy(update=complete).write(self.folder)
        remove_replaced(self.folder)


def _also_listed(kind: str) -> Iterator[str]:
    """Yield what a manifest lists beside the outputs: what they were made of, and inner runs."""
    yield from KINDS[kind].parts
    yield from (PLAN, "data.json", PROVENANCE)


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
        if overwrite and (other := _foreign(folder, there)):
            problem = f"holds {', '.join(other)}, which is no part of {KINDS[kind].title}"
            remedy = "move that elsewhere, or give another folder"
            raise InputError("--out", folder, problem, remedy)
    return Output(folder, bool(resume), overwrite)


def _kind_in(folder: AnyPath) -> str:
    """Return the kind of run that a folder holds, complete or not."""
    files = [path for name in (PLAN, MANIFEST) if (path := folder / name).is_file()]
    if not files:
        raise InputError("--out", folder, "holds something other than a run", "give a new folder")
    return checked_kind(read_json(files[0]), files[0])


def _foreign(folder: AnyPath, kind: str) -> list[str]:
    """Return what is in the folder of a run and was not written by its job."""
    patterns = (*EVERY_KIND, *KINDS[kind].writes)
    return sorted(
        path.name
        for path in folder.iterdir()
        if not any(fnmatch(path.name, pattern) for pattern in patterns)
    )


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
    first, manifest = read_plan(output.folder, type(plan)), output.folder / MANIFEST
    complete = read_json(manifest) if manifest.is_file() else None
    if complete is not None:
        checked_kind(complete, manifest)
    if first is None:
        if complete is not None and complete.get("fingerprint") != plan.fingerprint:
            raise InputError(
                output.folder / PLAN,
                None,
                "is missing, and the run was started with something else",
                "give the folder of another run, or a new one",
            )
        return plan
    if differing := first.differences(plan):
        values = dotted(first.model_dump(mode="json"))
        # A digest alone tells nobody which data it is.
        read_from = _provenance(output.folder).inputs
        given = []
        for key in differing[:4]:
            value = values.get(key)
            text = f"no {key}" if value is None else f"{key} = {shortened(value)}"
            places = [read_from[name] for name in key.split(".") if value and name in read_from]
            given.append(", read from ".join([text, *places]))
        raise InputError(
            f"{output.folder / PLAN}: {', '.join(differing[:4])}",
            None,
            f"the run was started with {', '.join(given)}",
            "resume with the same, or give the folder of another run, or a new one",
        )
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
    first = plan_class.parse(plan, path)
    check_seal(values, path)
    return first


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
    replaced = move_aside(output.folder) if output.overwrite else ()
    with only_writer(output.folder):
        remove_temporary_files(output.folder)
        remember_replaced(output.folder, replaced)
        first = check_resume(output._replace(overwrite=False), plan)
        if not (output.folder / PLAN).exists():
            values = {
                "kind": plan.KIND,
                "schema_version": KINDS[plan.KIND].schema_version,
                "fingerprint": plan.fingerprint,
                "plan": plan.model_dump(mode="json"),
            }
            write_json(output.folder / PLAN, sealed(values))
        yield Run(output.folder, first, inputs or {}, ran_on)


def write_provenance(folder: AnyPath, inputs: Mapping[str, AnyPath], ran_on: str = "") -> None:
    """Write `provenance.json`: how the run in a folder is made; it names no host.

    Args:
        folder: Folder of the run.
        inputs: Name of everything that is read, and where it is.
        ran_on: Hardware of this start, which is appended to that of earlier starts.
    """
    before, versions = _provenance(folder), installed_versions()
    made = RunProvenance(
        # The name of a script in jobs/, or that of the package under `python -m`.
        command=(Path(sys.argv[0]).name.replace("__main__.py", "hyena-ray"), *sys.argv[1:]),
        started=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        inputs={name: str(path) for name, path in inputs.items()},
        versions=versions,
        ran_on=(*before.ran_on, ran_on) if ran_on else before.ran_on,
    )
    others = {name for name, version in before.versions.items() if versions.get(name) != version}
    for name in sorted(others):
        logger.warning(
            "%s was started with %s %s and is resumed with %s: its last bits may differ from those "
            "of a run that was not interrupted",
            folder,
            name,
            before.versions[name],
            versions.get(name, "none"),
        )
    write_json(folder / PROVENANCE, made.model_dump(mode="json"))


def _provenance(folder: AnyPath) -> RunProvenance:
    """Return how the run in a folder was made so far."""
    path = folder / PROVENANCE
    return RunProvenance.parse(read_json(path), path) if path.exists() else RunProvenance()


@cache
def installed_versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that a result depends on.

    `source` is the beginning of a digest of this package's code, of which a version has many.
    """
    versions = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    digest = hashlib.sha256()
    package = Path(hyena_ray.__file__).parent
    for path in sorted(package.rglob("*.py")):
        digest.update(str(path.relative_to(package)).encode() + b"\0" + path.read_bytes())
    versions["source"] = digest.hexdigest()[:12]
    return versions

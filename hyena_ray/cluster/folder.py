"""The folder of a run: what it was begun with, and that only one job writes into it."""

from __future__ import annotations

import fcntl
import io
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from hyena_ray.cluster.lease import lease, taken
from hyena_ray.dataset.manifest import MANIFEST
from hyena_ray.dataset.reader import PreparedData
from hyena_ray.errors import InputError
from hyena_ray.files import atomic_file, lies_in, new_output, sha256_file, sweep
from hyena_ray.settings import load_yaml
from hyena_ray.storage import AnyPath, S3Path, remove_folder
from hyena_ray.trust import check_state, open_lock

PLAN = "config.yaml"
"""Written first: what the run is made of; --resume must match it."""
_LOCK = ".lock"


def default_folder(name: str) -> Path:
    """A new folder under ~/ray_results/hyena_ray/, told apart by time and process."""
    stamp = time.strftime("%Y%m%d-%H%M%S")
    return Path.home() / "ray_results" / "hyena_ray" / f"{name}-{stamp}-{os.getpid()}"


def check_output(
    out: AnyPath,
    data: PreparedData | None,
    *,
    inputs: Iterable[AnyPath] = (),
    resume: bool,
    overwrite: bool,
    begun_by: str = PLAN,
) -> AnyPath:
    """Check that a run may be written. Touches nothing.

    Args:
        out: what was given.
        data: prepared windows; they must not lie inside.
        inputs: what else is read; it must not lie inside either.
        resume: continue the run that is there.
        overwrite: replace the run that is there.
        begun_by: a file, relative to the folder, that every begun run of this kind has.

    Returns:
        The absolute path.

    Raises:
        InputError: as `new_output`; or the folder is no run, holds an input, or is resumed and not
            this user's own (`check_state`).
    """
    out = new_output(out, resume=resume or overwrite)
    for path in (*([] if data is None else [data.folder]), *inputs):
        if lies_in(path, out):
            raise InputError("--out", out, f"holds the input {path}", "give another folder")
    if out.exists() and not (out / begun_by).is_file() and any(out.iterdir()):
        raise InputError(
            "--out", out, f"has no {begun_by}, so it is not a run", "give a new folder"
        )
    if resume and isinstance(out, Path):  # on S3 the bucket's owner says who writes
        check_state(out)
    return out


@contextmanager
def only_writer(out: AnyPath, *, overwrite: bool) -> Iterator[None]:
    """Make the folder, and hold its lock inside the block.

    Raises:
        InputError: another job holds it.
    """
    out.mkdir(parents=True, exist_ok=True)
    lock = out / _LOCK
    with lease(lock, out) if isinstance(lock, S3Path) else _flock(lock):
        if overwrite:
            for path in out.iterdir():
                if path.is_dir() and not path.is_symlink():
                    remove_folder(path)
                elif path.name != _LOCK:
                    path.unlink()
        sweep(out)
        yield


@contextmanager
def _flock(lock: Path) -> Iterator[None]:
    """The system lets go of it when the process ends, however it does."""
    with open_lock(lock) as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise taken(lock.parent) from None
        yield


def data_plan(data: PreparedData) -> dict[str, Any]:
    """Of a plan, the section that says which data."""
    return {
        "folder": str(data.folder),
        "manifest_sha256": sha256_file(data.folder / MANIFEST),
        "simulated": data.manifest.simulated,
    }


def begin(out: AnyPath, plan: dict[str, Any], may_change: tuple[str, ...] = ()) -> dict[str, Any]:
    """Write what a run is made of, or check that the run that is there is made of the same.

    Args:
        out: of the run.
        plan: plain values by section.
        may_change: sections in which a resumed run may differ.

    Returns:
        The plan of the first start.

    Raises:
        InputError: it was begun with something else.
    """
    first = check_begun(out, plan, may_change)
    if first is not None:
        return first
    text = io.StringIO()
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.dump(plan, text)
    with atomic_file(out / PLAN) as temporary:
        temporary.write_text(text.getvalue())
    return plan


def check_begun(
    out: AnyPath, plan: dict[str, Any], may_change: tuple[str, ...] = ()
) -> dict[str, Any] | None:
    """As `begin`, for a folder in which nothing is written. None where no run was begun.

    Raises:
        InputError: it was begun with something else.
    """
    path = out / PLAN
    if not path.exists():
        return None
    first = load_yaml(path)
    for section, value in plan.items():
        if section not in may_change and first.get(section) != value:
            raise InputError(
                f"{path}: {section}",
                None,
                "the run was begun with another one",
                "resume with the same, or give a new folder",
            )
    return first

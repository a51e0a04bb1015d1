"""The folder of a run: what it was begun with, and that only one job writes into it."""

from __future__ import annotations

import fcntl
import io
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from hyena_ray.dataset.reader import PreparedData
from hyena_ray.errors import InputError
from hyena_ray.files import atomic_file, new_output
from hyena_ray.settings import load_yaml
from hyena_ray.trust import check_state, open_lock

PLAN = "config.yaml"
"""Written first: what the run is made of; --resume must match it."""
_LOCK = ".lock"


def default_folder(name: str) -> Path:
    """A new folder under ~/ray_results/hyena_ray/, told apart by time and process."""
    stamp = time.strftime("%Y%m%d-%H%M%S")
    return Path.home() / "ray_results" / "hyena_ray" / f"{name}-{stamp}-{os.getpid()}"


def check_output(
    out: Path, data: PreparedData | None, *, resume: bool, overwrite: bool, begun_by: str = PLAN
) -> Path:
    """Check that a run may be written. Touches nothing.

    Args:
        out: what was given.
        data: prepared windows; they must not lie inside.
        resume: continue the run that is there.
        overwrite: replace the run that is there.
        begun_by: a file, relative to the folder, that every begun run of this kind has.

    Returns:
        The absolute path.

    Raises:
        InputError: as `new_output`; or the folder is no run, holds the data, or is resumed and not
            this user's own (`check_state`).
    """
    out = new_output(out, resume=resume or overwrite)
    if data is not None and data.folder.resolve().is_relative_to(out.resolve()):
        raise InputError("--out", out, "holds the data", "give another folder")
    if out.exists() and not (out / begun_by).is_file() and any(out.iterdir()):
        raise InputError(
            "--out", out, f"has no {begun_by}, so it is not a run", "give a new folder"
        )
    if resume:
        check_state(out)
    return out


@contextmanager
def only_writer(out: Path, *, overwrite: bool) -> Iterator[None]:
    """Make the folder, and hold its lock inside the block.

    Raises:
        InputError: another job holds it.
    """
    out.mkdir(parents=True, exist_ok=True)
    with open_lock(out / _LOCK) as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(
                "--out", out, "another job is writing here", "wait for it or give another folder"
            ) from None
        if overwrite:
            for path in out.iterdir():
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)
                elif path.name != _LOCK:
                    path.unlink()
        yield


def begin(out: Path, plan: dict[str, Any], may_change: tuple[str, ...] = ()) -> dict[str, Any]:
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
    path = out / PLAN
    if path.exists():
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
    text = io.StringIO()
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.dump(plan, text)
    with atomic_file(path) as temporary:
        temporary.write_text(text.getvalue())
    return plan

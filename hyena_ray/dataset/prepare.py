"""Make a prepared folder, whole or not at all, from whatever a task is given as.

Out: `DIR/length=L/split=S/part-*.parquet` and `manifest.json`.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from hyena_ray.dataset.genome_windows import PrepareSettings
from hyena_ray.dataset.manifest import MANIFEST, Manifest
from hyena_ray.dataset.sequences import SequenceSettings
from hyena_ray.dry_run import DryRun, Estimate, windows_text
from hyena_ray.errors import InputError
from hyena_ray.files import atomic_folder, lies_in, new_output, write_json
from hyena_ray.storage import AnyPath
from hyena_ray.tasks import task_named

__all__ = [
    "RECIPES",
    "PrepareSettings",
    "Recipe",
    "SequenceSettings",
    "plan_preparation",
    "prepare",
]


Recipe = PrepareSettings | SequenceSettings
"""What a task is made from: `inputs`, the files that are read, and `write`, which writes."""

RECIPES: dict[str, type[PrepareSettings] | type[SequenceSettings]] = {
    "base": PrepareSettings,
    "sequence": SequenceSettings,
}
"""By kind of task."""


def prepare(recipe: Recipe, out: AnyPath, *, overwrite: bool = False) -> Manifest:
    """Write the prepared folder `out`, whole or not at all.

    Args:
        recipe: inputs and how to cut them.
        out: the folder to make.
        overwrite: replace a prepared folder that is there, once the new one is complete.

    Returns:
        The manifest, as written.

    Raises:
        InputError: an input cannot be used, `out` exists, or a split would lack a class.
    """
    out = _checked(recipe, out, overwrite)
    with _parents_of(out), atomic_folder(out, last=MANIFEST, replace=overwrite) as folder:
        manifest = recipe.write(folder)
        write_json(folder / MANIFEST, manifest.model_dump(mode="json"))
    return manifest


def plan_preparation(recipe: Recipe, out: AnyPath, *, overwrite: bool = False) -> DryRun:
    """Read all inputs as `prepare` does, and write nothing. Takes about as long.

    Raises:
        InputError: as `prepare`.
    """
    began = time.monotonic()
    out = _checked(recipe, out, overwrite)
    manifest = recipe.write(None)
    seconds = time.monotonic() - began
    windows = {
        f"{length} bases": {
            split: sum(
                count.positive + count.negative
                for count in manifest.counts
                if (count.length, count.split) == (length, split)
            )
            for split in manifest.splits
        }
        for length in manifest.lengths
    }
    lines = {f"  {name}": windows_text(of) for name, of in windows.items()}
    contigs = f"{len(manifest.contigs)} contigs, {sum(c.length for c in manifest.contigs):,} bases"
    return DryRun(
        plan={
            "task": task_named(manifest.task).title,
            "inputs": ", ".join(str(path) for path in recipe.inputs),
            **({"genome": contigs} if manifest.contigs else {}),
            "split": manifest.split,
            "windows": f"with {manifest.flank} bases on each side",
            **lines,
            "runs on": "one process of this machine",
        },
        values={"windows": windows, "split": manifest.split, "flank": manifest.flank},
        writes=written_by(out),
        time=Estimate(
            seconds, f"{seconds:.1f} s in which all inputs were read and cut; writing is to come"
        ),
        simulated=manifest.simulated,
    )


def written_by(out: AnyPath) -> dict[str, AnyPath]:
    """What is written, to where it lies."""
    return {"prepared data": out, "summary": out / MANIFEST}


def _checked(recipe: Recipe, out: AnyPath, overwrite: bool) -> AnyPath:
    """The absolute path of the output, once task and output are known to be good."""
    task = task_named(recipe.task)
    fitting = RECIPES[task.kind]
    if not isinstance(recipe, fitting):
        raise InputError(
            "task",
            task.name,
            f"labels stand on a {task.kind}, which {type(recipe).__name__} cannot give",
            f"use {fitting.__name__}",
        )
    return _checked_output(recipe.inputs, out, overwrite)


@contextmanager
def _parents_of(out: AnyPath) -> Iterator[None]:
    """Folders above `out` that are made inside the block and then hold nothing are removed."""
    made = (
        [parent for parent in out.parents if not parent.exists()] if isinstance(out, Path) else []
    )
    try:
        yield
    finally:
        for parent in made:
            # Refused by the system, as it should be, once the result stands in it.
            with suppress(OSError):
                parent.rmdir()


def _checked_output(inputs: Sequence[AnyPath], out: AnyPath, overwrite: bool) -> AnyPath:
    out = out.expanduser()
    for path in inputs:
        if lies_in(path, out):
            raise InputError("--out", out, f"holds the input {path}", "give another folder")
    if not (overwrite and out.is_dir() and not out.is_symlink()):
        return new_output(out)
    if any(out.iterdir()) and not (out / MANIFEST).is_file():
        raise InputError(
            "--out", out, "holds something other than prepared data", "give another folder"
        )
    return out.absolute()

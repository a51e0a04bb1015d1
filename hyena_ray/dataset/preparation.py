"""Write prepared data, whole or not at all, from whatever a task is given as.

Input: a genome with regions, or files of labelled sequences. Output:
`DIR/length=L/split=S/part-*.parquet`, `provenance.json` and, last, `manifest.json`.
"""

from __future__ import annotations

from hyena_ray.dataset.genome_windows import PrepareSettings
from hyena_ray.dataset.manifest import Manifest
from hyena_ray.dataset.sequences import SequenceSettings
from hyena_ray.errors import InputError
from hyena_ray.files import atomic_folder
from hyena_ray.runs.lock import only_maker
from hyena_ray.runs.record import MANIFEST
from hyena_ray.runs.run import Output, check_output, write_provenance
from hyena_ray.storage import AnyPath
from hyena_ray.tasks import task_named

__all__ = ["RECIPES", "PrepareSettings", "Recipe", "SequenceSettings", "check_recipe", "prepare"]


Recipe = PrepareSettings | SequenceSettings
"""What data is prepared from: `inputs` are the files that are read, and `write` cuts them."""

RECIPES: dict[str, type[PrepareSettings] | type[SequenceSettings]] = {
    "base": PrepareSettings,
    "sequence": SequenceSettings,
}
"""Class of the recipe by kind of task."""


def prepare(recipe: Recipe, out: AnyPath, *, overwrite: bool = False) -> Manifest:
    """Write prepared data, whole or not at all.

    Args:
        recipe: Inputs, and how they are cut.
        out: Folder to make.
        overwrite: Replace prepared data that is there, once the new data is complete.

    Returns:
        The manifest, as written.

    Raises:
        InputError: An input cannot be used, `out` exists or is written by another job, or a split
            would lack a class.
    """
    folder = check_recipe(recipe, out, overwrite=overwrite).folder
    with (
        only_maker(folder),
        atomic_folder(folder, last=MANIFEST, replace=overwrite) as temporary,
    ):
        check_recipe(recipe, out, overwrite=overwrite)  # another job may have made it meanwhile
        manifest = recipe.write(temporary)
        inputs = {str(number): path for number, path in enumerate(recipe.inputs, start=1)}
        write_provenance(temporary, inputs)
        manifest.write(temporary)
    return manifest


def check_recipe(recipe: Recipe, out: AnyPath, *, overwrite: bool = False) -> Output:
    """Check that a recipe fits its task, and that its folder may be written.

    Args:
        recipe: Inputs, and how they are cut.
        out: Folder to make.
        overwrite: Replace prepared data that is there.

    Raises:
        InputError: The task has another kind of recipe, or the folder may not be written.
    """
    task = task_named(recipe.task)
    fitting = RECIPES[task.kind]
    if not isinstance(recipe, fitting):
        raise InputError(
            "task",
            task.name,
            f"labels belong to a {task.kind}, which {type(recipe).__name__} cannot give",
            f"use {fitting.__name__}",
        )
    return check_output(out, Manifest.KIND, inputs=recipe.inputs, overwrite=overwrite)

"""Every task can be simulated and prepared, and stays marked."""

from __future__ import annotations

from pathlib import Path

import pytest

from hyena_ray.dataset.preparation import prepare
from hyena_ray.dataset.reader import PreparedData
from hyena_ray.dataset.simulated import simulate
from hyena_ray.tasks import TASKS


@pytest.mark.parametrize("name", TASKS)
def test_a_task_without_data_gets_simulated_ones_that_say_so(name: str, tmp_path: Path) -> None:
    task = TASKS[name]
    inputs = tmp_path / "inputs"
    inputs.mkdir()
    recipe = simulate(task, inputs, 0, lengths=task.lengths[:1], flank=task.flank)
    assert recipe.task == name
    assert {path.parent for path in recipe.inputs} == {inputs}
    manifest = prepare(recipe, tmp_path / "data")
    assert manifest.simulated
    assert (manifest.task, manifest.lengths, manifest.flank) == (
        *(name, task.lengths[:1]),
        task.flank,
    )
    data = PreparedData.open(tmp_path / "data")
    width = 1 if task.kind == "sequence" else task.lengths[0]
    for split in ("train", "val", "test"):
        windows = data.read(task.lengths[0], split)
        assert windows.labels.shape == (len(windows.start), width)
        assert windows.labels.max(axis=1).sum() > 100

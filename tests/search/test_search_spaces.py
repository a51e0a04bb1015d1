"""The YAML files that come with the project agree with the table of tasks."""

from __future__ import annotations

from pathlib import Path

import pytest

from hyena_ray.search.space import SearchSpace
from hyena_ray.tasks import TASKS
from hyena_ray.training.preflight import check_run_fits
from tests.search.unread_data import prepared

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "search_spaces"
FILES = {path.stem: path for path in FOLDER.glob("*.yaml")}


def test_every_task_has_a_search_space_a_demo_presets_and_a_job() -> None:
    assert set(FILES) == {name for task in TASKS for name in (task, f"demo_{task}")}
    assert {path.stem for path in (FOLDER / "presets").iterdir()} == set(TASKS)
    assert {path.stem for path in (ROOT / "jobs").glob("tune_*.py")} == {
        f"tune_{task}" for task in TASKS
    }


@pytest.mark.parametrize("name", FILES)
def test_every_search_space_fits_the_data_of_its_task(name: str) -> None:
    space = SearchSpace.load(FILES[name])
    task = TASKS[space.task]
    assert name in (task.name, f"demo_{task.name}")
    if name == task.name:
        assert space.lengths() == task.lengths
    for settings in space.covering_settings():
        check_run_fits(settings, prepared(task.name), name, gpu=False)


GRID: dict[str, dict[str, list[object]]] = {
    "base": {
        "data.length": [100, 256, 512, 1024],
        "training.batch_size": [8, 16, 32, 64, 128],
        "training.negative_weight": [0.7, 1.0],
        "training.positive_weight": [1.0, 2.0, 8.0],
        "training.loss": ["cross_entropy", "focal"],
        "training.focal_gamma": [0.5, 2.0, 5.0],
        "training.shortest_crop": [None, 80],
        "training.reverse_complement": [False, True],
        "model.head": ["linear", "electra", "lookahead"],
        "readout.flank": [0, 32],
        "readout.lookahead": [0, 32],
        "readout.tracks": [[], ["composition"]],
    },
    "sequence": {
        "training.batch_size": [8, 16, 32, 64, 128],
        "training.loss": ["cross_entropy", "focal"],
        "training.focal_gamma": [0.5, 2.0, 5.0],
        "model.head": ["linear", "electra"],
        "model.pooling": ["last", "mean", "attention", "position"],
        "readout.special_tokens": [False, True],
    },
}
EVERY_TASK: dict[str, list[object]] = {
    "training.schedule": ["linear", "cosine", "constant", "plateau"],
    "training.stages": ["single", "discriminative", "two_stage"],
    "training.learning_rate": [6e-4],
    "training.head_stage_rate": [1e-3],
    "training.backbone_rate": [1e-5],
    "training.head_rate": [5e-4],
    "training.weight_decay": [0.01],
    "training.epochs": [3, 6, 10, 12],
    "lora.enabled": [False, True],
    "lora.targets": ["mixer+ffn", "mixer", "ffn", "short_filter", "embeddings"],
    "lora.biases": [False, True],
    "lora.rank": [4, 8, 16],
    "lora.alpha": [16, 32],
    "lora.dropout": [0.0, 0.1],
}


@pytest.mark.parametrize("task", TASKS)
def test_every_task_searches_what_the_original_work_varied(task: str) -> None:
    """Typed from its tables, with what was explored without a figure."""
    space = SearchSpace.load(FILES[task], given={"model.backbone": "somewhere"})
    for key, values in (GRID[TASKS[task].kind] | EVERY_TASK).items():
        alternatives = space.search[key].alternatives()
        for value in values:
            assert any(one.contains(value) for one in alternatives), (key, value)
    assert space.search["lora.biases"].when == {"lora.targets": "ffn"}  # one of the six


def test_what_is_searched_beside_follows_from_what_has_a_label() -> None:
    for task in TASKS.values():
        searched = set(SearchSpace.load(FILES[task.name]).search)
        others = GRID["base" if task.kind == "sequence" else "sequence"].keys()
        assert not (others - GRID[task.kind].keys()) & searched

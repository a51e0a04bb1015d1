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


@pytest.mark.parametrize("task", TASKS)
def test_every_task_searches_what_the_study_varied(task: str) -> None:
    space = SearchSpace.load(FILES[task])
    for key in (
        *("model.head", "training.batch_size", "training.schedule", "training.stages"),
        *("training.learning_rate", "training.head_stage_rate"),
        *("training.backbone_rate", "training.head_rate"),
        *("lora.enabled", "lora.rank", "lora.targets"),
    ):
        assert key in space.search
    rates = ["discriminative", "two_stage"]
    for key, stages in (
        ("training.learning_rate", "single"),
        ("training.head_stage_rate", "two_stage"),
        ("training.backbone_rate", rates),
        ("training.head_rate", rates),
    ):
        assert space.search[key].when == {"training.stages": stages}
    for key in ("lora.rank", "lora.targets"):
        assert space.search[key].when == {"lora.enabled": True}


def test_what_is_searched_beside_follows_from_what_has_a_label() -> None:
    bases = {"data.length", "readout.lookahead", "readout.flank", "readout.flank_composition"}
    bases |= {"training.positive_weight"}
    sequences = {"model.pooling", "readout.special_tokens"}
    for task in TASKS.values():
        searched = set(SearchSpace.load(FILES[task.name]).search)
        wanted, others = (bases, sequences) if task.kind == "base" else (sequences, bases)
        assert wanted <= searched
        assert not others & searched

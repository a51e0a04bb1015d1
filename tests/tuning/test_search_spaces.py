"""The YAML files that come with the project agree with the table of tasks."""

from __future__ import annotations

from pathlib import Path

import pytest

from hyena_ray.tasks import TASKS
from hyena_ray.tuning.space import SearchSpace

FOLDER = Path(__file__).parents[2] / "search_spaces"
FILES = sorted(FOLDER.glob("*.yaml"))


def test_every_task_has_a_search_space() -> None:
    assert {path.stem for path in FILES} >= set(TASKS)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_search_space_is_valid_and_fits_its_task(path: Path) -> None:
    space = SearchSpace.load(path)
    task = TASKS[space.task]
    assert path.stem in (task.name, "demo")
    assert set(space.lengths()) <= set(task.lengths)
    if path.stem == task.name:
        assert space.lengths() == task.lengths
    assert max(settings.readout.flank for settings in space.draws()) <= task.flank


def test_zdna_searches_what_the_study_varied_and_lookahead() -> None:
    space = SearchSpace.load(FOLDER / "zdna.yaml")
    for key in (
        *("data.length", "readout.lookahead", "readout.flank", "training.batch_size"),
        *("training.positive_weight", "training.schedule", "training.learning_rate"),
        *("training.head_stage_rate", "training.backbone_rate", "training.head_rate"),
        *("lora.enabled", "lora.rank", "lora.targets"),
    ):
        assert key in space.search
    for key in ("training.head_stage_rate", "training.backbone_rate", "training.head_rate"):
        assert space.search[key].when == {"training.stages": "two_stage"}
    for key in ("lora.rank", "lora.targets"):
        assert space.search[key].when == {"lora.enabled": True}

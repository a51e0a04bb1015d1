"""Whatever a task's search may draw can be built, and every value of it has an effect."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import NamedTuple

import optuna
import pytest

from hyena_ray.errors import InputError
from hyena_ray.search.space import SearchSpace, Values
from hyena_ray.tasks import TASKS
from hyena_ray.training.preflight import build_untrained, check_run_fits
from hyena_ray.training.settings import RunSettings
from hyena_ray.workflows.presets import SEARCH_SPACES, load_preset, load_presets
from hyena_ray.workflows.run_options import TakesRunSettings
from hyena_ray.workflows.searched_space import load_space
from tests.search.unread_data import prepared

DRAWS = 2_000
SHARED = os.environ.get("HYENA_RAY_SHARED")
BACKBONE = "" if SHARED is None else f"{SHARED}/reference/hyenadna_tiny_1k_random"
WEIGHTS = (
    "random weights",
    pytest.param(
        "backbone",
        marks=pytest.mark.skipif(
            SHARED is None, reason="HYENA_RAY_SHARED, which has a checkpoint, is not set"
        ),
    ),
)


class Drawn(NamedTuple):
    space: SearchSpace
    trials: list[tuple[Values, RunSettings]]


def space_of(task: str, weights: str, **options: object) -> SearchSpace:
    backbone = BACKBONE if weights == "backbone" else None
    given = TakesRunSettings.parse({"backbone": backbone, **options}, "test")
    return load_space(SEARCH_SPACES / f"{task}.yaml", task, given)


@cache
def drawn(task: str, weights: str) -> Drawn:
    space = space_of(task, weights)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    draws = (space.suggest(study.ask()) for _ in range(DRAWS))
    return Drawn(space, [(values, space.run_settings(values)) for values in draws])


@pytest.mark.slow
@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("task", TASKS)
def test_no_drawn_setting_is_without_effect(task: str, weights: str) -> None:
    for values, settings in drawn(task, weights).trials:
        assert not values.keys() & settings.unused().keys()


@pytest.mark.slow
@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("task", TASKS)
def test_every_draw_fits_the_data_and_can_be_built(task: str, weights: str) -> None:
    data = prepared(task)
    for _, settings in drawn(task, weights).trials:
        check_run_fits(settings, data, "draw", gpu=False)
    # What else differs changes neither the modules of a model nor whether they fit each other: of
    # the draws with the same modules, the one with the longest input is built.
    runs = [settings for _, settings in drawn(task, weights).trials]
    runs.sort(key=lambda run: run.window_readout().causal_tokens)
    structures = {
        (
            run.data.length,
            run.model.model_copy(update={"dropout": 0.0, "d_model": 16, "n_layer": 1}),
            run.model.head == "lookahead" and run.readout.lookahead,
            run.lora.enabled and (run.lora.targets, run.lora.biases),
            run.readout.tracks,
        ): run
        for run in runs
    }
    for run in structures.values():
        build_untrained(run)


@pytest.mark.slow
@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("task", TASKS)
def test_every_choice_of_a_space_is_drawn(task: str, weights: str) -> None:
    space, trials = drawn(task, weights)
    for key, parameter in space.search.items():
        shown = {repr(values[key]) for values, _ in trials if key in values}
        for one in parameter.alternatives():
            assert {repr(choice) for choice in one.choices or ()} <= shown


@pytest.mark.parametrize("task", TASKS)
def test_what_only_pretrained_weights_have_a_use_for_is_searched_with_them_alone(task: str) -> None:
    fine_tuning = {"lora.enabled", "lora.rank", "lora.targets", "training.stages"}
    fine_tuning |= {"training.backbone_rate", "training.head_rate", "training.head_stage_rate"}
    sizes = {"model.d_model", "model.n_layer", "model.max_seq_len", "model.filters"}
    for weights in ("random weights", "backbone") if BACKBONE else ("random weights",):
        searched = space_of(task, weights).search.keys()
        with_backbone = weights == "backbone"
        assert (fine_tuning <= searched, bool(fine_tuning & searched)) == (with_backbone,) * 2
        assert (sizes <= searched, bool(sizes & searched)) == (not with_backbone,) * 2


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("task", TASKS)
def test_known_settings_are_tried_first_and_are_those_of_their_presets(
    task: str, weights: str
) -> None:
    written = SearchSpace.load(SEARCH_SPACES / f"{task}.yaml").points_to_evaluate
    best = "lookahead_head_tracks" if task == "zdna" else "best"  # of HyenaDNA, on any data
    assert written[0] == best
    space = space_of(task, weights)
    points = space.points()
    assert len(points) == (len(written) if weights == "backbone" else len(points)) >= 3
    presets = {name.partition("/")[2]: preset for name, preset in load_presets(task).items()}
    wanted = [presets[str(name)].run_settings(gpu=False) for name in written]
    if weights == "backbone":
        wanted = [run.updated({"model.backbone": BACKBONE}, "test") for run in wanted]
    for point in points:
        run = space.run_settings(point)
        assert any(effective(run) == effective(known) for known in wanted)
    assert effective(space.run_settings(points[0])) == effective(wanted[0])


def effective(settings: RunSettings) -> dict[str, object]:
    """All settings that have an effect, with their values."""
    unused = settings.unused()
    return {
        f"{section}.{key}": value
        for section, values in settings.model_dump(mode="json").items()
        if isinstance(values, dict)
        for key, value in values.items()
        if f"{section}.{key}" not in unused
    }


def test_a_preset_and_a_setting_of_the_command_leave_the_search() -> None:
    options = {"preset": "zdna/lookahead_head", "changes": ["training.epochs=3"]}
    space = space_of("zdna", "random weights", **options)
    gone = {"model.d_model", "model.head", "readout.flank", "readout.lookahead", "training.epochs"}
    assert not gone & space.search.keys()
    for settings in space.covering_settings():
        assert settings.training.epochs == 3
        assert (settings.model.d_model, settings.model.head) == (64, "lookahead")


def test_what_a_command_gives_and_no_trial_would_use_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^--set: lora\.rank: 4: has no effect"):
        space_of("zdna", "random weights", changes=["lora.rank=4"])
    with pytest.raises(InputError, match=r"^--backbone: somewhere: has no effect"):
        path = tmp_path / "space.yaml"
        path.write_text("task: zdna\nsearch:\n  training.batch_size: {choices: [16, 32]}\n")
        options = TakesRunSettings(backbone="somewhere", preset="zdna/dilated_cnn")
        load_space(path, "zdna", options)


@pytest.mark.parametrize(
    "preset", ["zdna/trees", "zdna/zhunt", "zdna/dilated_cnn", "zdna/lookahead_head_scan"]
)
def test_an_installed_space_searches_what_has_an_effect_with_a_preset(preset: str) -> None:
    space = load_space(SEARCH_SPACES / "zdna.yaml", "zdna", TakesRunSettings(preset=preset))
    used = {key for draw in space.covering_settings() for key in draw.used()}
    assert space.search.keys() <= used
    assert not space.search.keys() & load_preset(preset).settings.keys()


def test_sizes_that_are_searched_beside_a_backbone_are_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "space.yaml"
    path.write_text("task: zdna\nsearch:\n  model.d_model: {choices: [64, 128]}\n")
    with pytest.raises(InputError, match=r"model\.d_model: has no effect with model\.backbone"):
        load_space(path, "zdna", TakesRunSettings(backbone="somewhere"))

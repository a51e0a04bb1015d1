"""Settings and search spaces that mean something else than they say: the YAML part of the list."""

from __future__ import annotations

from itertools import pairwise

import pytest

from hyena_ray.files import read_json
from tests.jobs.bad_inputs import BACKBONE_SPACE, SPACE, TRAIN, TUNE, Case, Line, User, at, holds

CONFIGURED = f"{TRAIN} --config config.yaml"
CONFIG: dict[str, tuple[str, Line]] = {
    "1e-4 as a word": (
        "training: {learning_rate: '1e-4'}",
        at("config.yaml", "training.learning_rate", "1e-4", "valid number"),
    ),
    "duplicate key": (
        "training:\n  epochs: 1\n  epochs: 2\n",
        at(
            "config.yaml:3",
            "duplicate key",
            '"epochs"',
        ),
    ),
    "no": (
        "lora: {enabled: no}",
        at("config.yaml", "lora.enabled", "no", "valid boolean"),
    ),
    "12:30:45": (
        "training: {epochs: 12:30:45}",
        at("config.yaml", "training.epochs", "12:30:45", "valid integer"),
    ),
    "a date": (
        "training: {epochs: 2001-02-03}",
        at("config.yaml", "training.epochs", "2001-02-03", "valid integer"),
    ),
    "!!python": (
        "task: !!python/object/apply:os.system ['touch ran']",
        at("config.yaml:1", "python/object/apply:os.system", "tags"),
    ),
    "unknown key": (
        "training: {batchsize: 64}",
        at("config.yaml", "training.batchsize", "batch_size", "unknown"),
    ),
    "unknown section": (
        "trainings: {batch_size: 64}",
        at("config.yaml", "trainings.batch_size", "unknown"),
    ),
    "syntax error": (
        "training:\n  epochs: [1\nmodel: {}\n",
        at("config.yaml:3", "flow sequence"),
    ),
    "list": ("- training\n", at("config.yaml", "['training']", "mapping")),
    "alias bomb": (
        "a: &a [x, x]\n" + "".join(f"{y}: &{y} [*{x}, *{x}]\n" for x, y in pairwise("abcdefgh")),
        at("config.yaml:1", "anchors"),
    ),
    "YAML 1.1": (
        "%YAML 1.1\n---\nlora: {enabled: no}\n",
        at("config.yaml:2", "directives"),
    ),
    "two documents": (
        "training: {}\n---\nmodel: {}\n",
        at("config.yaml:2", "single document"),
    ),
    "a list as key": (
        "? [training, model]\n: {epochs: 1}\n",
        at("config.yaml", "key is a list"),
    ),
    "not UTF-8": (
        "task: \udcff",
        at("config.yaml", "cannot be read"),
    ),
}


@pytest.mark.parametrize("case", CONFIG)
def test_a_configuration_that_cannot_be_taken_at_its_word_is_refused(user: User, case: str) -> None:
    text, line = CONFIG[case]
    change = holds("config.yaml", text.encode("utf-8", "surrogateescape"))
    user.is_refused(Case(change, CONFIGURED, line))


HEAD = "task: zdna\nsearch:\n"
SPACES: dict[str, tuple[str, Line]] = {
    "unknown key": (
        f"trails: 3\n{SPACE}",
        at("space.yaml", "trails", "trials", "unknown"),
    ),
    "unknown setting": (
        HEAD + "  training.rate: {choices: [1]}\n",
        at("space.yaml", "training.rate", "learning_rate", "unknown"),
    ),
    "low not below high": (
        HEAD + "  training.epochs: {low: 5, high: 5}\n",
        at("space.yaml", "search.training.epochs", "5 to 5", "low is not below high"),
    ),
    "log with low 0": (
        HEAD + "  training.warmup: {low: 0.0, high: 0.5, log: true}\n",
        at("space.yaml", "search.training.warmup", "0 to 0.5", "above 0"),
    ),
    "log with negative low": (
        HEAD + "  training.warmup: {low: -0.1, high: 0.5, log: true}\n",
        at("space.yaml", "search.training.warmup", "-0.1 to 0.5", "above 0"),
    ),
    "empty choices": (
        HEAD + "  training.epochs: {choices: []}\n",
        at("space.yaml", "search.training.epochs", "choices", "empty"),
    ),
    "no trials": (
        f"{SPACE}".replace("trials: 1", "trials: 0"),
        at("space.yaml", "trials", "0"),
    ),
    "no as a choice": (
        HEAD + "  lora.enabled: {choices: [no, yes]}\n",
        at("space.yaml", "lora.enabled", "valid boolean"),
    ),
    "negative rate": (
        HEAD + "  training.learning_rate: {low: -1e-3, high: -1e-4}\n",
        at("space.yaml", "training.learning_rate", "greater than 0"),
    ),
    "a rate that is no number": (
        HEAD + "  training.learning_rate: {choices: [.nan]}\n",
        at("space.yaml", "training.learning_rate", "nan", "finite number"),
    ),
    "a range without end": (
        HEAD + "  training.learning_rate: {low: 1e-3, high: .inf}\n",
        at("space.yaml", "training.learning_rate.high", "inf", "finite number"),
    ),
    "task of another job": (
        SPACE.replace("zdna", "g4"),
        at("space.yaml", "task", "g4", "zdna"),
    ),
    "task that is a path": (
        SPACE.replace("zdna", "../../x"),
        at("space.yaml", "task", "../../x", "zdna, g4, promoter", "unknown"),
    ),
    "sizes beside a backbone": (
        SPACE.replace("settings:", "settings:\n  model.backbone: backbone"),
        at("space.yaml", "settings.model.d_model", "8", "no effect", "model.backbone backbone"),
    ),
    "backbone that is not there": (
        BACKBONE_SPACE.replace("settings:", "settings:\n  model.backbone: nowhere"),
        at("checkpoint", "nowhere", "no folder", "hub id"),
    ),
}


@pytest.mark.parametrize("case", SPACES)
def test_a_space_that_cannot_be_searched_is_refused(user: User, case: str) -> None:
    text, line = SPACES[case]
    user.is_refused(Case(holds("space.yaml", text), TUNE, line))


def test_numbers_in_every_usual_spelling_are_numbers(user: User) -> None:
    text = "training: {learning_rate: 1e-4, weight_decay: 1E-2, batch_size: 010, epochs: 1}\n"
    holds("config.yaml", text)(user.folder)
    done = user.runs(CONFIGURED)
    assert done.code == 0, done.stderr
    training = read_json(user.folder / "out" / "plan.json")["plan"]["settings"]["training"]
    assert (training["learning_rate"], training["weight_decay"]) == (0.0001, 0.01)
    assert training["batch_size"] == 10

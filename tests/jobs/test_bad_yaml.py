"""Settings and search spaces that mean something else than they say: the YAML part of the list."""

from __future__ import annotations

from itertools import pairwise

import pytest

from hyena_ray.files import read_json
from tests.jobs.bad_inputs import SPACE, TRAIN, TUNE, Case, User, holds

CONFIGURED = f"{TRAIN} --config config.yaml"
CONFIG: dict[str, tuple[str, str]] = {
    "1e-4 as a word": (
        "training: {learning_rate: '1e-4'}",
        "config.yaml: training.learning_rate: 1e-4: Input should be a valid number; "
        "correct the value",
    ),
    "duplicate key": (
        "training:\n  epochs: 1\n  epochs: 2\n",
        'config.yaml:3: while constructing a mapping, found duplicate key "epochs" with value "2" '
        '(original value: "1"); correct the line',
    ),
    "no": (
        "lora: {enabled: no}",
        "config.yaml: lora.enabled: no: Input should be a valid boolean; correct the value",
    ),
    "12:30:45": (
        "training: {epochs: 12:30:45}",
        "config.yaml: training.epochs: 12:30:45: Input should be a valid integer; "
        "correct the value",
    ),
    "a date": (
        "training: {epochs: 2001-02-03}",
        "config.yaml: training.epochs: 2001-02-03: Input should be a valid integer; "
        "correct the value",
    ),
    "!!python": (
        "task: !!python/object/apply:os.system ['touch ran']",
        "config.yaml:1: ...python/object/apply:os.system: tags are not allowed; remove the tag",
    ),
    "unknown key": (
        "training: {batchsize: 64}",
        "config.yaml: training.batchsize: unknown key; allowed are ...batch_size...",
    ),
    "unknown section": (
        "trainings: {batch_size: 64}",
        "config.yaml: trainings.batch_size: unknown key; check its spelling",
    ),
    "syntax error": (
        "training:\n  epochs: [1\nmodel: {}\n",
        "config.yaml:3: while parsing a flow sequence, expected ',' or ']', but got ':'; "
        "correct the line",
    ),
    "list": ("- training\n", "config.yaml: ['training']: not a mapping of keys to values; see ..."),
    "alias bomb": (
        "a: &a [x, x]\n" + "".join(f"{y}: &{y} [*{x}, *{x}]\n" for x, y in pairwise("abcdefgh")),
        "config.yaml:1: anchors and aliases are not allowed; write it out",
    ),
    "YAML 1.1": (
        "%YAML 1.1\n---\nlora: {enabled: no}\n",
        "config.yaml:2: directives are not allowed; remove the % lines",
    ),
    "two documents": (
        "training: {}\n---\nmodel: {}\n",
        "config.yaml:2: expected a single document in the stream, but found another document; "
        "correct the line",
    ),
    "a list as key": (
        "? [training, model]\n: {epochs: 1}\n",
        "config.yaml: a key is a list; write keys as single words",
    ),
    "not UTF-8": (
        "task: \udcff",
        "config.yaml: cannot be read (...); give a YAML file",
    ),
}


@pytest.mark.parametrize("case", CONFIG)
def test_a_configuration_that_cannot_be_taken_at_its_word_is_refused(user: User, case: str) -> None:
    text, line = CONFIG[case]
    change = holds("config.yaml", text.encode("utf-8", "surrogateescape"))
    user.is_refused(Case(change, CONFIGURED, line))


HEAD = "task: zdna\nsearch:\n"
SPACES: dict[str, tuple[str, str]] = {
    "unknown key": (
        f"trails: 3\n{SPACE}",
        "space.yaml: trails: unknown key; allowed are ...trials",
    ),
    "unknown setting": (
        HEAD + "  training.rate: {choices: [1]}\n",
        "space.yaml: training.rate: unknown key; allowed are ...learning_rate...",
    ),
    "low not below high": (
        HEAD + "  training.epochs: {low: 5, high: 5}\n",
        "space.yaml: search.training.epochs: 5 to 5: low is not below high; exchange or widen them",
    ),
    "log with low 0": (
        HEAD + "  training.warmup: {low: 0.0, high: 0.5, log: true}\n",
        "space.yaml: search.training.warmup: 0 to 0.5: log needs low above 0; "
        "raise low or remove log",
    ),
    "log with negative low": (
        HEAD + "  training.warmup: {low: -0.1, high: 0.5, log: true}\n",
        "space.yaml: search.training.warmup: -0.1 to 0.5: log needs low above 0; "
        "raise low or remove log",
    ),
    "empty choices": (
        HEAD + "  training.epochs: {choices: []}\n",
        "space.yaml: search.training.epochs: choices: is empty; give at least one value",
    ),
    "no trials": (
        f"{SPACE}".replace("trials: 1", "trials: 0"),
        "space.yaml: trials: 0: Input should be greater than or equal to 1; correct the value",
    ),
    "no as a choice": (
        HEAD + "  lora.enabled: {choices: [no, yes]}\n",
        "space.yaml: lora.enabled: ...: Input should be a valid boolean; correct the value",
    ),
    "negative rate": (
        HEAD + "  training.learning_rate: {low: -1e-3, high: -1e-4}\n",
        "space.yaml: training.learning_rate: -0.00...: Input should be greater than 0; "
        "correct the value",
    ),
    "a rate that is no number": (
        HEAD + "  training.learning_rate: {choices: [.nan]}\n",
        "space.yaml: training.learning_rate: nan: Input should be a finite number; "
        "correct the value",
    ),
    "a range without end": (
        HEAD + "  training.learning_rate: {low: 1e-3, high: .inf}\n",
        "space.yaml: search.training.learning_rate.high.float: inf: Input should be a finite "
        "number; correct the value",
    ),
    "task of another job": (
        SPACE.replace("zdna", "g4"),
        "space.yaml: task: g4: this job tunes zdna; give a space of that task",
    ),
    "task that is a path": (
        SPACE.replace("zdna", "../../x"),
        "space.yaml: task: ../../x: unknown task; give one of zdna, g4, promoter",
    ),
    "backbone that is not there": (
        SPACE.replace("settings:", "settings:\n  model.backbone: nowhere"),
        "checkpoint: nowhere: no folder and no hub id; check the path",
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
    training = read_json(user.folder / "out" / "config.json")["training"]
    assert (training["learning_rate"], training["weight_decay"]) == (0.0001, 0.01)
    assert training["batch_size"] == 10

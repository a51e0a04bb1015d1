"""Search spaces are read strictly, and Optuna sees only settings that apply."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import optuna
import pytest

from hyena_ray.attribution.settings import definition
from hyena_ray.errors import InputError
from hyena_ray.search.space import SearchSpace
from hyena_ray.tasks import TASKS

HEAD = "task: zdna\nsearch:\n"


def space_of(folder: Path, text: str) -> SearchSpace:
    path = folder / "space.yaml"
    path.write_text(text)
    return SearchSpace.load(path)


def suggestions(space: SearchSpace, number: int) -> list[dict[str, object]]:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    return [space.suggest(study.ask()) for _ in range(number)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("task: zdna\nserach: {}\n", "serach: unknown key, did you mean search"),
        ("task: zdna\nsearch: {}\n", "search: is empty"),
        (HEAD + "  training.rate: {choices: [1]}\n", "training.rate: unknown key"),
        (HEAD + "  nothing.here: {choices: [1]}\n", "nothing.here: unknown key"),
        (HEAD + "  training.epochs: {lowest: 1}\n", "search.training.epochs.lowest: unknown key"),
        (HEAD + "  training.epochs: {low: 9, high: 3}\n", "epochs: 9 to 3: low is not below high"),
        (HEAD + "  training.epochs: {low: 3, high: 3}\n", "epochs: 3 to 3: low is not below high"),
        (HEAD + "  training.epochs: {low: 3}\n", "epochs: low or high is missing"),
        (HEAD + "  training.epochs: {low: 1, high: 9, step: 0}\n", "step: 0: must be above 0"),
        (HEAD + "  training.epochs: {low: 1, high: 9, step: 0.5}\n", "step: 0.5: not whole"),
        (HEAD + "  training.warmup: {low: 0.0, high: 0.5, log: true}\n", "log needs low above 0"),
        (HEAD + "  training.epochs: {choices: []}\n", "epochs: choices: is empty"),
        (HEAD + "  training.epochs: {choices: [3, 3]}\n", "has a value twice"),
        (HEAD + "  training.epochs: {choices: [3], low: 1}\n", "needs either choices or a range"),
        (HEAD + "  training.epochs: {}\n", "needs either choices or a range"),
        (HEAD + "  training.epochs: {choices: [0, 3]}\n", "training.epochs: 0: .*greater than"),
        (HEAD + "  training.epochs: {choices: ['3']}\n", "training.epochs: 3: .*valid integer"),
        (
            HEAD + "  lora.rank: {choices: [4], when: {lora.enabled: true}}\n",
            "search: nothing is left of it: lora.rank",
        ),
        (
            HEAD + "  training.epochs: {choices: [3]}\nsettings: {training.epochs: 3}\n",
            "is under settings too",
        ),
        (HEAD + "  readout.lookahead: {choices: [16, 48]}\n", "lookahead: 48: reaches past"),
        (
            HEAD + "  readout.lookahead: {choices: [0, 16]}\n"
            "  model.head: {choices: [linear, lookahead]}\n",
            "lookahead: 0: leaves model.head lookahead nothing",
        ),
        (
            HEAD + "  lora.rank: {choices: [4]}\n",
            "lora.rank: has no effect with lora.enabled false",
        ),
        (
            HEAD + "  training.stages: {choices: [single, two_stage]}\n"
            "  training.head_rate: {low: 1e-4, high: 1e-3}\n",
            "training.head_rate: has no effect with training.stages single",
        ),
        (
            HEAD + "  lora.enabled: {choices: [false, true]}\n"
            "  lora.biases: {choices: [false, true], when: {lora.enabled: true}}\n"
            "  training.filter_rate: {choices: [0.1, 1.0]}\n",
            "training.filter_rate: has no effect with lora.enabled true",
        ),
        (
            "settings: {model.channels: 32}\n" + HEAD + "  training.epochs: {choices: [3]}\n",
            "settings.model.channels: 32: has no effect with model.architecture hyenadna",
        ),
        (
            HEAD + "  lora.rank: {choices: [4], when: {lora.enabled: true}}\n"
            "  lora.enabled: {choices: [false, true]}\n",
            "lora.rank: depends on lora.enabled, which is searched after it",
        ),
        (
            HEAD + "  training.epochs: {choices: [3], otherwise: {choices: [4]}}\n",
            "epochs.otherwise: never holds",
        ),
        (
            HEAD + "  lora.enabled: {choices: [true]}\n"
            "  lora.rank: {choices: [4], when: {lora.enabled: true}, otherwise: {choices: [8]}}\n",
            "lora.rank.otherwise.when: .*no trial has these values",
        ),
        (
            HEAD + "  lora.enabled: {choices: [false, true]}\n"
            "  lora.rank: {choices: [4], when: {lora.enabled: yes}}\n",
            r"search.lora.rank.when: ..lora.enabled.: .yes..: no trial has these values",
        ),
        (
            HEAD + "  training.permute_labels: {choices: [false, true]}\n"
            "  training.batch_size: {choices: [1, 2]}\n"
            "  training.accumulation: {low: 1, high: 4}\n",
            "permute_labels needs a batch_size above 1",
        ),
        (
            "attribution: {shuffle: 2}\n" + HEAD + "  training.epochs: {choices: [3]}\n",
            "attribution: shuffle: unknown key, did you mean shuffles",
        ),
        ("trials: 0\n" + HEAD + "  training.epochs: {choices: [3]}\n", "trials: 0: .*greater"),
        ("scheduler: {grace_period: 1}\n" + HEAD + "  training.epochs: {choices: [3]}\n", "grace"),
        (
            HEAD + "  training.epochs: {choices: [3]}\n  training.epochs: {choices: [4]}\n",
            "space.y",
        ),
        (HEAD + "  training.epochs: &a {choices: [3]}\n", "space.yaml:3: anchors"),
        (HEAD + "  training.epochs: {choices: !!python/tuple [3]}\n", "space.yaml:3: .*tags"),
    ],
)
def test_what_cannot_be_searched_is_refused_with_file_and_key(
    tmp_path: Path, text: str, message: str
) -> None:
    with pytest.raises(InputError, match=message) as refusal:
        space_of(tmp_path, text)
    assert str(refusal.value).startswith(str(tmp_path / "space.yaml"))
    assert "\n" not in str(refusal.value)


def test_all_mistakes_of_a_space_are_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(InputError) as refusal:
        space_of(
            tmp_path,
            HEAD + "  training.epochs: {low: 9, high: 3}\n"
            "  lora.enabled: {choices: [false, true]}\n"
            "  lora.rank: {choices: [4], when: {lora.enabld: true}}\n",
        )
    assert len(refusal.value.lines) == 2
    assert "low is not below high" in refusal.value.lines[0]
    assert "did you mean lora.enabled?" in refusal.value.lines[1]


CONDITIONAL = """\
task: zdna
search:
  lora.enabled: {choices: [false, true]}
  lora.rank: {choices: [4, 8], when: {lora.enabled: true}}
  lora.alpha: {low: 8, high: 32, step: 8, when: {lora.rank: [8, 16]}}
  training.learning_rate: {low: 1e-4, high: 1e-2, log: true}
"""


def test_a_setting_is_searched_only_where_its_condition_holds(tmp_path: Path) -> None:
    found = suggestions(space_of(tmp_path, CONDITIONAL), 100)
    assert {values["lora.enabled"] for values in found} == {True, False}
    for values in found:
        assert ("lora.rank" in values) == values["lora.enabled"]
        assert ("lora.alpha" in values) == (values.get("lora.rank") == 8)
        assert values.get("lora.alpha") in (None, 8, 16, 24, 32)
        assert 1e-4 <= values["training.learning_rate"] <= 1e-2  # type: ignore[operator]


def test_settings_of_a_trial_are_the_shared_ones_and_its_own(tmp_path: Path) -> None:
    space = space_of(
        tmp_path, "settings: {training.epochs: 3}\n" + HEAD + "  model.n_layer: {low: 2, high: 4}\n"
    )
    settings = space.run_settings(suggestions(space, 1)[0])
    assert settings.training.epochs == 3
    assert settings.model.n_layer in (2, 3, 4)


def test_choices_that_optuna_cannot_store_come_back_as_they_were(tmp_path: Path) -> None:
    space = space_of(
        tmp_path, HEAD + "  data.limit: {choices: [null, 100]}\n  task: {choices: [zdna]}\n"
    )
    assert {values["data.limit"] for values in suggestions(space, 20)} == {None, 100}


def test_lengths_and_epochs_are_those_that_trials_may_ask_for(tmp_path: Path) -> None:
    space = space_of(
        tmp_path,
        HEAD + "  data.length: {choices: [50, 200, 100]}\n"
        "  training.stages: {choices: [single, two_stage]}\n"
        "  training.epochs: {low: 2, high: 7}\n",
    )
    assert space.lengths() == (50, 100, 200)
    assert space.longest_run() == 7 + 3


def test_a_length_under_two_nested_conditions_is_known(tmp_path: Path) -> None:
    space = space_of(
        tmp_path,
        HEAD + "  model.n_layer: {low: 1, high: 60}\n"
        "  training.batch_size: {low: 1, high: 500, when: {model.n_layer: 57}}\n"
        "  data.length: {choices: [50, 70], when: {training.batch_size: 333}}\n",
    )
    assert space.lengths() == (50, 70, 100)


def test_every_length_of_a_range_is_known(tmp_path: Path) -> None:
    space = space_of(tmp_path, HEAD + "  data.length: {low: 50, high: 130, step: 25}\n")
    assert space.lengths() == (50, 75, 100, 125)


@pytest.mark.parametrize(
    ("body", "epochs"),
    [
        ("  training.epochs: {low: 1, high: 200}\n", 200),
        ("  training.epochs: {low: 1, high: 200, step: 30}\n", 181),
        (
            "  training.stages: {choices: [two_stage, single]}\n"
            "  training.epochs: {low: 1, high: 200, log: true, when: {training.stages: single}}\n"
            "  training.head_stage_epochs:\n"
            "    {low: 2, high: 900, when: {training.stages: two_stage}}\n",
            900 + 8,
        ),
    ],
)
def test_the_longest_run_is_exact(tmp_path: Path, body: str, epochs: int) -> None:
    assert space_of(tmp_path, HEAD + body).longest_run() == epochs


def test_a_rule_of_four_settings_is_checked_at_every_combination() -> None:
    """1,000 + 2 * 12 + 1 is the only sum above 1,024: a window of the other settings fits."""
    choices = {
        "data.length": [100, 1000],
        "readout.flank": [0, 8, 12],
        "readout.lookahead": [0],
        "readout.special_tokens": [False, True],
        "model.max_seq_len": [None, 1024],
    }
    ranges = ("training.epochs", "training.batch_size", "training.seed")
    search: dict[str, object] = {key: {"choices": values} for key, values in choices.items()}
    search |= {key: {"low": 1, "high": 9} for key in ranges}
    space = SearchSpace.parse({"task": "zdna", "search": search}, "test")
    shown = {
        (s.data.length, s.readout.flank, s.readout.special_tokens, s.model.max_seq_len)
        for s in space.covering_settings()
    }
    assert (1000, 12, True, 1024) in shown
    assert len(shown) == 2 * 3 * 2 * 2


def test_reading_a_space_loads_neither_ray_nor_optuna_nor_torch() -> None:
    code = (
        "import sys; from hyena_ray.search.space import SearchSpace; "
        "sys.exit(', '.join({'ray', 'optuna', 'torch', 'transformers'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.strip() == ""


def test_the_attribution_of_a_space_is_the_tasks_default_with_its_changes(tmp_path: Path) -> None:
    body = "search:\n  training.epochs: {choices: [3]}\nattribution: {shuffles: 2, k: 6}\n"
    for task in ("zdna", "promoter"):
        found = space_of(tmp_path, f"task: {task}\n{body}").attribution_settings()
        assert (found.shuffles, found.k) == (2, 6)
        plain = space_of(
            tmp_path, f"task: {task}\n{body.splitlines()[0]}\n{body.splitlines()[1]}\n"
        )
        assert plain.attribution_settings() == definition("default", TASKS[task].kind)

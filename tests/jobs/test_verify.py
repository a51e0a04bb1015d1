"""Verify names what is wrong with data and models; threshold changes a model on purpose."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hyena_ray.files import read_json
from hyena_ray.model.saved import StoredReadout, load_window_model
from tests.jobs.bad_inputs import EVALUATE, User, at, contents, edited, with_json
from tests.jobs.bad_inputs import Case as BadCase

COUNTS = {
    "positive": ("counts", "positive"),
    "labelled": ("counts", "labelled"),
    "labelled of stretches": ("stretches", "counts", "labelled"),
}


@pytest.mark.parametrize("case", COUNTS)
def test_counts_that_the_labels_do_not_have_are_found(user: User, case: str) -> None:
    *path, key = COUNTS[case]

    def change(manifest: object) -> None:
        values = manifest
        for name in path:
            values = values[name]  # type: ignore[index]
        first = values[0]  # type: ignore[index]
        first[key] -= 1
        if key == "positive":  # so that the files have as many rows as before
            first["negative"] += 1

    assert user.runs("verify data").code == 0
    with_json("data/manifest.json", change)(user.folder)
    done = user.runs("verify data")
    assert done.code == 1
    assert f"says {key} " in done.stderr


def test_more_negatives_than_could_be_drawn_are_found(user: User) -> None:
    def change(manifest: dict[str, list[dict[str, int]]]) -> None:
        manifest["counts"][0]["candidates"] = manifest["counts"][0]["negative"] - 1

    with_json("data/manifest.json", change)(user.folder)
    done = user.runs("verify data")
    assert done.code == 1
    assert "candidates" in done.stderr


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer_config.json"])
def test_a_model_by_itself_is_verified(user: User, name: str) -> None:
    done = user.runs("verify model --json")
    assert (done.code, json.loads(done.stdout)["found"]["kind"]) == (0, "model")
    edited(f"model/{name}", lambda content: content + b" ")(user.folder)
    done = user.runs("verify model")
    assert done.code == 1
    assert f"{name} is damaged" in done.stderr


REFUSED = {
    "a folder of others": ("verify backbone", at("backbone", "holds no run")),
    "no folder": ("verify nowhere", at("nowhere", "no such folder")),
    "a file": ("verify genome.fa", at("genome.fa", "file")),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_run_is_refused(user: User, case: str) -> None:
    command, line = REFUSED[case]
    user.is_refused(BadCase(lambda folder: None, command, line))


def test_a_model_is_copied_with_another_threshold_and_stays_as_it_is(user: User) -> None:
    (user.folder / "model" / "README.md").write_text("---\nlicense: mit\n---\n# A model\n")
    before = contents(user.folder)
    done = user.runs("threshold --model model --threshold 0.25 --out surer --json")
    assert done.code == 0, done.stderr
    assert json.loads(done.stdout)["found"] == {"threshold": 0.25, "before": 0.0}
    after = contents(user.folder)
    assert {name: after[name] for name in before} == before
    assert load_window_model(user.folder / "surer").threshold == 0.25
    card = (user.folder / "surer" / "README.md").read_text()
    assert card.startswith("---\nlicense: mit\n---\n")
    assert "0.25" in card
    assert card.endswith("# A model\n")
    assert user.runs("verify surer").code == 0
    scored = user.runs(EVALUATE.replace("--model model", "--model surer"))
    assert scored.code == 0, scored.stderr


@pytest.mark.parametrize("value", ["3", "-0.1", "nan", "high"])
def test_a_threshold_is_a_probability(user: User, value: str) -> None:
    command = f"threshold --model model --threshold={value} --out surer"
    user.is_refused(BadCase(lambda folder: None, command, at("--threshold", value)))


def test_a_trained_model_covers_its_evaluation(begun: User) -> None:
    stored = StoredReadout.read(begun.folder / "run" / "model")
    names = {Path(file.path).name for file in stored.contents}
    assert {"evaluation.json", "config.json", "model.safetensors"} <= names
    path = begun.folder / "run" / "model" / "evaluation.json"
    path.write_text(json.dumps(read_json(path) | {"prevalence": 0.5}))
    case = BadCase(
        lambda folder: None,
        EVALUATE.replace("--model model", "--model run/model"),
        at("run/model/evaluation.json", "damaged"),
    )
    begun.is_refused(case)

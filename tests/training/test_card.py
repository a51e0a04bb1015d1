"""A model's card says what a stranger has to know, and the Hub can read it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard

from hyena_ray.dataset.reader import PreparedData
from hyena_ray.files import read_json, sha256_file, write_json
from hyena_ray.model.huggingface import HyenaDNAConfig, HyenaDNAForCausalLM
from hyena_ray.model.provenance import PROVENANCE
from hyena_ray.model.saved import load_window_model
from hyena_ray.model.settings import CARD
from hyena_ray.training.card import METRIC_TYPES, CardFacts, model_card
from hyena_ray.training.evaluation import Evaluation, evaluate_on_split
from hyena_ray.training.held_out import HeldOut
from hyena_ray.training.loaders import ArraySource
from hyena_ray.training.losses import class_weights
from hyena_ray.training.settings import RunSettings
from hyena_ray.training.train_and_test import EVALUATION, train_and_test

SMALL = {
    "data.length": 40,
    "data.limit": 200,
    "model.d_model": 8,
    "model.n_layer": 1,
    "readout.flank": 8,
    "readout.lookahead": 4,
    "training.epochs": 1,
}


def run(data: PreparedData, folder: Path, *, test: bool, **changes: Any) -> RunSettings:
    settings = RunSettings.for_task("zdna").updated(SMALL | changes, "test")
    train_and_test(
        settings,
        data,
        ArraySource(data.read(40, "train", settings.data.limit)),
        HeldOut.read(data, "val"),
        folder,
        lambda report: None,
        fingerprint="card",
        test=test,
    )
    return settings


@pytest.fixture(scope="module")
def data(small_data: Path) -> PreparedData:
    return PreparedData.open(small_data)


@pytest.fixture(scope="module")
def tested(data: PreparedData, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("card") / "run"
    run(data, folder, test=True)
    return folder


def figures(card: ModelCard, split: str) -> dict[str, float]:
    return {
        result.metric_name: result.metric_value
        for result in card.data.eval_results
        if result.dataset_split == split
    }


def test_the_figures_are_those_of_the_run(tested: Path) -> None:
    card, evaluation = (
        ModelCard.load(tested / "model" / CARD),
        read_json(tested / "evaluation.json"),
    )
    history = read_json(tested / "history.json")
    assert figures(card, "test") == {name: evaluation["metrics"][name] for name in METRIC_TYPES}
    best = max(history, key=lambda epoch: epoch["average_precision"])
    assert figures(card, "val") == pytest.approx({name: best[name] for name in METRIC_TYPES})
    tiles = evaluation["tiles"]
    figures_of_test = [(evaluation["metrics"][n], i) for n, i in evaluation["intervals"].items()]
    for value, interval in [*figures_of_test, (tiles["metrics"]["f1"], tiles["intervals"]["f1"])]:
        shown = f"{value:.3f} ({interval['low']:.3f} to {interval['high']:.3f})"
        assert shown in card.text
    regions = evaluation["regions"]
    assert f"{regions['found']:,} of {regions['regions']:,}" in card.text
    assert f"| {regions['false_per_mb']:.1f} |" in card.text
    # The folder of the model holds what tells the expected precision of its calls.
    assert read_json(tested / "model" / EVALUATION) == evaluation
    assert "Not scored on the test" not in card.text


def test_the_hub_can_read_its_head(tested: Path) -> None:
    data = ModelCard.load(tested / "model" / CARD).data
    assert data.pipeline_tag == "token-classification"
    assert data.library_name == "hyena-ray"
    assert {"dna", "zdna", "hyenadna", "simulated"} <= set(data.tags)
    assert data.license is None, "the user's to choose"
    (index,) = data.to_dict()["model-index"]
    assert {result["dataset"]["split"] for result in index["results"]} == {"val", "test"}


def test_it_says_what_the_data_were(tested: Path, data: PreparedData) -> None:
    text = ModelCard.load(tested / "model" / CARD).text
    for file in data.manifest.inputs:
        assert f"| {file.role} | `{file.name}` | `{file.sha256}` |" in text
    assert f"`{data.manifest.split}`" in text
    assert "windows of 40 bases, 24 real bases stored on each side" in text
    assert f"for each one with, by kind: {data.manifest.negatives} (seed" in text
    assert f"scored on stretches of {data.manifest.stretch} bases" in text
    for split in ("train", "val", "test"):
        labelled = sum(c.labelled for c in data.manifest.counts_of(40, split))
        assert f"{labelled:,} |" in text
    assert f"{load_window_model(tested / 'model').threshold:.3f}" in text
    assert "Not for clinical use" in text


def test_simulated_data_are_said_before_anything_else(tested: Path) -> None:
    text = ModelCard.load(tested / "model" / CARD).text
    assert "Simulated DNA" in text.strip().splitlines()[2]


def test_its_python_runs(tested: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = ModelCard.load(tested / "model" / CARD).text
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(blocks) == 2
    for block in blocks:
        names: dict[str, Any] = {"sequence": "ACGT" * 20}
        exec(block.replace("path/to/this/folder", str(tested / "model")), names)
        if "probabilities" in names:
            assert names["probabilities"].shape == (80,)
        else:
            assert names["classifier"].config.d_model == 8


@pytest.mark.filterwarnings(
    "ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"  # peft's
)
def test_without_a_test_the_card_says_so_and_names_nothing_of_this_machine(
    data: PreparedData, tmp_path: Path
) -> None:
    config = HyenaDNAConfig(d_model=8, d_inner=32, n_layer=1, max_seq_len=64, filter_order=8)
    HyenaDNAForCausalLM(config).save_pretrained(tmp_path / "secret place" / "backbone")
    backbone = str(tmp_path / "secret place" / "backbone")
    run(
        data,
        tmp_path / "run",
        test=False,
        **{"model.backbone": backbone, "lora.enabled": True, "lora.rank": 2},
    )
    card = ModelCard.load(tmp_path / "run" / "model" / CARD)
    assert "**Not scored on the test data.**" in card.text
    assert figures(card, "test") == {}
    assert "pretrained weights in a folder `backbone`" in card.text
    for path in (tmp_path / "run" / "model").rglob("*"):
        assert path.is_dir() or b"secret place" not in path.read_bytes(), path
    blocks = re.findall(r"```python\n(.*?)```", card.text, re.DOTALL)
    names: dict[str, Any] = {}
    adapter = blocks[2].replace("path/to/this/folder", str(tmp_path / "run" / "model"))
    exec(adapter.replace("BASE", backbone), names)
    assert names["classifier"].peft_config["default"].r == 2


def test_what_the_backbone_has_read_goes_with_the_model(data: PreparedData, tmp_path: Path) -> None:
    contigs = [("chr1", "trained"), ("chr|2", "trained"), ("chr3", "held_out")]
    stored = {
        "objective": "masked",
        "genome": "hg.fa",
        "genome_sha256": "0f",
        "simulated": True,
        "contigs": [
            {"name": name, "length": 9, "sha256": "", "use": use, "trained": 9 * (use == "trained")}
            for name, use in contigs
        ],
        "began_from": "LongSafari/some",
        "before": None,
    }
    config = HyenaDNAConfig(d_model=8, d_inner=32, n_layer=1, max_seq_len=64, filter_order=8)
    HyenaDNAForCausalLM(config).save_pretrained(tmp_path / "backbone")
    write_json(tmp_path / "backbone" / PROVENANCE, stored)
    run(data, tmp_path / "run", test=False, **{"model.backbone": str(tmp_path / "backbone")})
    model = tmp_path / "run" / "model"
    assert read_json(model / PROVENANCE) == stored
    assert (
        "The backbone was pretrained on the **simulated** genome `hg.fa` (sha256 `0f`) to predict "
        "masked bases: trained on `chr1`, `chr/2`; held out `chr3`; before that from "
        "`LongSafari/some`, whose own pretraining is unknown."
    ) in ModelCard.load(model / CARD).text
    # And with what is made of that.
    run(data, tmp_path / "again", test=False, **{"model.backbone": str(model)})
    assert read_json(tmp_path / "again" / "model" / PROVENANCE) == stored


def test_a_run_is_scored_later_by_going_on_with_it(data: PreparedData, tmp_path: Path) -> None:
    run(data, tmp_path, test=False)
    before = sha256_file(tmp_path / "model" / "model.safetensors")
    run(data, tmp_path, test=True)
    card = ModelCard.load(tmp_path / "model" / CARD)
    assert set(figures(card, "test")) == set(METRIC_TYPES)
    assert sha256_file(tmp_path / "model" / "model.safetensors") == before


def test_a_name_in_the_data_is_nothing_but_text(tested: Path, data: PreparedData) -> None:
    settings = RunSettings.for_task("zdna").updated(SMALL, "test")
    model = load_window_model(tested / "model")
    validation: Evaluation = evaluate_on_split(model, data, "val", class_weights(settings.training))
    odd = "a`|b: [c]\n# d.fa"
    files = tuple(file.model_copy(update={"name": odd}) for file in data.manifest.inputs)
    manifest = data.manifest.model_copy(update={"inputs": files})
    facts = CardFacts(settings, manifest, validation, None, adapter=False, provenance=None)
    card = model_card(facts)
    assert "| genome | `a'/b: [c] # d.fa` |" in card.text
    assert odd in ModelCard(str(card)).data.eval_results[0].dataset_name

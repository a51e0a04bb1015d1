"""The flank composition: the right fractions, and no effect before training."""

from __future__ import annotations

from itertools import pairwise
from math import sqrt
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from hyena_ray.dataset.tokens import reverse_complement
from hyena_ray.errors import InputError
from hyena_ray.model.build import build_model
from hyena_ray.model.flank_composition import FEATURES, measure_composition
from hyena_ray.model.saved import load_window_model, save_window_model
from hyena_ray.model.settings import LoraSettings, ModelSettings, Readout
from hyena_ray.model.window import WindowModel
from hyena_ray.tasks import TASKS

READOUT = Readout(window=20, flank=8, lookahead=4, flank_composition=32)
STORED = 40
NETWORKS = ["hyenadna", "dilated_cnn", "bilstm"]


def a_model(
    architecture: str, readout: Readout = READOUT, lora: LoraSettings | None = None
) -> WindowModel:
    settings = ModelSettings.parse(
        {"architecture": architecture, "d_model": 16, "channels": 8}, "test"
    )
    return build_model(settings, readout, lora or LoraSettings(), TASKS["zdna"], seed=3).eval()


def some_tokens(stored: int = STORED, batch: int = 3) -> Tensor:
    return torch.randint(7, 11, (batch, 20 + 2 * stored), dtype=torch.uint8)


def disturb(model: WindowModel) -> None:
    """Weights that a training would leave, in place of the first ones."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)


def counted(text: str) -> tuple[float, float]:
    """Scaled GC content and CpG frequency, letter by letter."""
    known = [letter for letter in text if letter != "N"]
    pairs = [a + b for a, b in pairwise(text) if "N" not in a + b]
    gc = 8 * (sum(letter in "GC" for letter in known) / len(known) - 0.41) if known else 0.0
    cpg = 8 * (sqrt(pairs.count("CG") / len(pairs)) - 0.1) if pairs else 0.0
    return gc, cpg


@given(
    letters=st.text("ACGTN", min_size=36, max_size=36) | st.just("N" * 36),
    beyond=st.integers(0, 3),
    number=st.sampled_from([torch.uint8, torch.int64]),
)
def test_composition_is_that_counted_letter_by_letter(
    letters: str, beyond: int, number: torch.dtype
) -> None:
    # A window of 4 bases with 16 on each side.
    text = "C" * beyond + letters + "G" * beyond
    tokens = torch.tensor([["ACGTN".index(letter) + 7 for letter in text]], dtype=number)
    expected = [value for span in (16, 4, 1) for value in counted(letters[16 - span : 20 + span])]
    found = measure_composition(tokens, 4, 16)
    assert found.shape == (1, FEATURES)
    np.testing.assert_allclose(found[0].numpy(), expected, atol=1e-5)


@pytest.mark.parametrize("architecture", NETWORKS)
def test_at_the_start_a_model_gives_what_it_gives_without(architecture: str) -> None:
    tokens = some_tokens()
    with_it = a_model(architecture)
    without = a_model(architecture, READOUT.updated({"flank_composition": 0}, "test"))
    state = {
        name: value for name, value in with_it.state_dict().items() if "surroundings." not in name
    }
    without.load_state_dict(state)
    torch.testing.assert_close(with_it(tokens), without(tokens))
    torch.testing.assert_close(with_it.predict(tokens), without.predict(tokens))


@pytest.mark.parametrize("architecture", NETWORKS)
def test_after_training_bases_count_as_far_as_the_composition_flank_extends(
    architecture: str,
) -> None:
    model = a_model(architecture)
    disturb(model)
    tokens = some_tokens()
    tokens[:, STORED - 32 - 1] = 7
    for place, differs in ((STORED - 32 - 1, False), (STORED - 32, True), (STORED + 51, True)):
        other = tokens.clone()
        other[:, place] = 8 + (tokens[:, place] == 8)
        assert torch.equal(model(other), model(tokens)) is not differs, place


@pytest.mark.parametrize("architecture", NETWORKS)
def test_the_other_strand_gets_the_flipped_prediction(architecture: str) -> None:
    model = a_model(architecture)
    disturb(model)
    tokens = some_tokens()
    other = torch.from_numpy(np.ascontiguousarray(reverse_complement(tokens.numpy())))
    with torch.no_grad():
        assert torch.equal(model.predict(tokens), model.predict(other).flip(1))


@pytest.mark.parametrize("architecture", NETWORKS)
def test_attribution_sees_what_predictions_are_made_of(architecture: str) -> None:
    model = a_model(architecture)
    disturb(model)
    tokens = some_tokens()
    strands = [
        model.strand_logits(model.embed(ids), strand, model.composition(tokens))
        for strand, ids in enumerate(model.strand_tokens(tokens))
    ]
    torch.testing.assert_close(model.predict(tokens), (strands[0] + strands[1]) / 2)


def test_the_embedding_of_the_composition_learns() -> None:
    model = a_model("hyenadna").train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    tokens = some_tokens(batch=8)
    for _ in range(2):  # the first step moves the silent layer off 0
        optimizer.zero_grad()
        model(tokens).square().mean().backward()
        optimizer.step()
    for name, parameter in model.named_parameters():
        if "surroundings." in name:
            assert parameter.grad is not None, name
            assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize(
    ("architecture", "lora"),
    [
        *((name, LoraSettings()) for name in NETWORKS),
        ("hyenadna", LoraSettings(enabled=True, rank=2)),
    ],
)
def test_a_saved_model_predicts_the_same(
    architecture: str, lora: LoraSettings, tmp_path: Path
) -> None:
    model = a_model(architecture, lora=lora)
    disturb(model)
    tokens = some_tokens()
    save_window_model(model, tmp_path / "model")
    again = load_window_model(tmp_path / "model")
    assert again.readout == READOUT
    torch.testing.assert_close(again.predict(tokens), model.predict(tokens), atol=1e-5, rtol=1e-5)


def test_a_backbone_of_another_task_gives_all_but_head_and_composition(tmp_path: Path) -> None:
    plain = a_model("hyenadna", READOUT.updated({"flank_composition": 0}, "test"))
    save_window_model(plain, tmp_path / "model")
    settings = ModelSettings(backbone=str(tmp_path / "model"))
    model = build_model(settings, READOUT, LoraSettings(), TASKS["zdna"], seed=3).eval()
    found = model.state_dict()
    for name, value in plain.state_dict().items():
        if "hyena." in name:
            assert torch.equal(found[name], value), name
    assert not found["classifier.surroundings.out_proj.weight"].any()


def test_flanks_shorter_than_the_composition_are_refused() -> None:
    with pytest.raises(InputError, match=r"82: needs 84 bases \(window 20, and 32 on each side\)"):
        a_model("hyenadna")(some_tokens(31))


def test_a_classifier_without_place_for_it_takes_no_composition() -> None:
    with_it = a_model("hyenadna").classifier
    without = a_model("hyenadna", READOUT.updated({"flank_composition": 0}, "test")).classifier
    ids = some_tokens().long()
    for call in (
        lambda: with_it(input_ids=ids),
        lambda: without(input_ids=ids, composition=torch.zeros(3, FEATURES)),
    ):
        with pytest.raises(InputError, match="composition belongs to"):
            call()


@pytest.mark.parametrize("architecture", ["kmer_logistic", "rule"])
def test_models_without_embeddings_are_refused(architecture: str) -> None:
    with pytest.raises(
        InputError, match=rf"readout.flank_composition: 32: {architecture} has nothing"
    ):
        a_model(architecture)


@pytest.mark.parametrize("flank_composition", [1, 15])
def test_in_narrow_flanks_the_nearest_part_is_the_window(flank_composition: int) -> None:
    tokens = some_tokens()
    found = measure_composition(tokens, 20, flank_composition)
    assert torch.equal(found[:, -2:], measure_composition(tokens[:, STORED:-STORED], 20, 0)[:, -2:])

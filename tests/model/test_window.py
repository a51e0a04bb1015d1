"""The readout: which bases a label sees, in which orientation, and what is kept of it on disk."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from hyena_ray.dataset.tokens import reverse_complement
from hyena_ray.errors import InputError
from hyena_ray.model.build import build_model, parameter_groups
from hyena_ray.model.huggingface import HyenaDNAForCausalLM
from hyena_ray.model.saved import StoredReadout, load_window_model, save_window_model
from hyena_ray.model.settings import Architecture, LoraSettings, ModelSettings, Readout
from hyena_ray.model.window import WindowModel
from hyena_ray.tasks import TASKS

ARCHITECTURES = ["hyenadna", "dilated_cnn"]
OFF = LoraSettings()


def small_model(
    architecture: str, readout: Readout, lora: LoraSettings = OFF, head: str | None = None
) -> WindowModel:
    sizes = {"d_model": 16, "channels": 8, "max_seq_len": 128, "head": head}
    settings = ModelSettings.parse({"architecture": architecture, **sizes}, "test")
    return build_model(settings, readout, lora, TASKS["zdna"], seed=3).eval()


def some_tokens(length: int, batch: int = 2) -> Tensor:
    return torch.randint(7, 12, (batch, length), dtype=torch.uint8)


def bases_seen(model: WindowModel, base: int, stored: int) -> list[int]:
    """Window coordinates of the bases that the forward logits of `base` depend on."""
    given = model.strand_input(some_tokens(model.readout.window + 2 * stored))
    embedded = model.embed(*given).detach().requires_grad_()
    model.strand_logits(embedded, 0)[:, base].square().sum().backward()
    assert embedded.grad is not None
    positions = torch.nonzero(embedded.grad.abs().sum((0, 2))).flatten()
    return (positions - model.readout.flank).tolist()


@pytest.mark.parametrize("head", ["linear", "electra", "lookahead"])
@pytest.mark.parametrize("lookahead", [0, 3, 8])
@pytest.mark.parametrize("base", [0, 7, 19])
def test_a_causal_label_sees_up_to_its_lookahead_and_no_further(
    base: int, lookahead: int, head: str
) -> None:
    model = small_model("hyenadna", Readout(window=20, flank=8, lookahead=lookahead), OFF, head)
    assert bases_seen(model, base, stored=11) == list(range(-8, base + lookahead + 1))


def test_the_cnn_sees_both_flanks_whatever_the_lookahead() -> None:
    model = small_model("dilated_cnn", Readout(window=20, flank=8, lookahead=5))
    assert bases_seen(model, 3, stored=8) == list(range(-8, 28))


@pytest.mark.parametrize("head", ["linear", "lookahead"])
@pytest.mark.parametrize("lora", [OFF, LoraSettings(enabled=True)])
def test_logits_at_some_positions_are_those_of_all(lora: LoraSettings, head: str) -> None:
    classifier = small_model("hyenadna", Readout(window=20, lookahead=4), lora, head).classifier
    embeddings = torch.randn(2, 30, 16, requires_grad=True)
    whole = classifier(inputs_embeds=embeddings).logits
    for positions in (slice(0, 30), slice(0, 1), slice(7, 20), slice(28, 30)):
        part = classifier(inputs_embeds=embeddings, positions=positions).logits
        torch.testing.assert_close(part, whole[:, positions])
        towards = torch.randn_like(part)
        torch.testing.assert_close(
            torch.autograd.grad(part, embeddings, towards)[0],
            torch.autograd.grad(whole[:, positions], embeddings, towards, retain_graph=True)[0],
        )


@pytest.mark.parametrize("architecture", get_args(Architecture)[1:])
def test_baselines_give_logits_at_some_positions(architecture: str) -> None:
    classifier = small_model(architecture, Readout(window=20)).classifier
    ids = some_tokens(30).long()
    part = classifier(input_ids=ids, positions=slice(7, 20)).logits
    torch.testing.assert_close(part, classifier(input_ids=ids).logits[:, 7:20])


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_stored_flanks_beyond_the_readout_change_nothing(architecture: str) -> None:
    model = small_model(architecture, Readout(window=20, flank=8, lookahead=4))
    tokens = some_tokens(20 + 2 * 13)
    for call in (model.forward, model.predict):
        assert torch.equal(call(tokens), call(tokens[:, 5:-5].long()))
        assert call(tokens).shape == (2, 20, 2)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@given(seed=st.integers(0, 2**31), lookahead=st.integers(0, 6))
def test_the_other_strand_gets_the_flipped_prediction_to_the_bit(
    architecture: str, seed: int, lookahead: int
) -> None:
    model = small_model(architecture, Readout(window=15, flank=6, lookahead=lookahead))
    tokens = np.random.default_rng(seed).integers(7, 12, (3, 27), dtype=np.uint8)
    other = np.ascontiguousarray(reverse_complement(tokens))
    with torch.no_grad():
        forward = model.predict(torch.from_numpy(tokens))
        backward = model.predict(torch.from_numpy(other))
    assert torch.equal(forward, backward.flip(1))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_predictions_are_the_mean_of_the_strands_that_attribution_sees(architecture: str) -> None:
    readout = Readout(window=20, flank=8, lookahead=4)
    tokens = some_tokens(36)
    model = small_model(architecture, readout)
    strands = [
        model.strand_logits(model.embed(*model.strand_input(own)), strand)
        for strand, own in enumerate(model.strands(tokens))
    ]
    assert torch.allclose(model.predict(tokens), sum(strands) / 2, atol=1e-6)  # type: ignore[arg-type]
    assert torch.allclose(model(tokens), strands[0], atol=1e-6)
    forward = WindowModel(model.classifier, readout.model_copy(update={"strands": "forward"}))
    assert len(forward.strands(tokens)) == 1
    assert torch.equal(forward.eval().predict(tokens), model(tokens))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("strand", [0, 1])
def test_to_window_brings_every_base_back_to_its_place(architecture: str, strand: int) -> None:
    model = small_model(architecture, Readout(window=20, flank=8, lookahead=4))
    tokens = torch.full((1, 40), 7, dtype=torch.uint8)
    tokens[0, 10 + 13] = 8  # a C at base 13, which the other strand shows as a G
    planted = 8 if strand == 0 else 9
    ids = model.strand_input(model.strands(tokens)[strand]).ids
    found = model.to_window((ids == planted).float(), strand)
    assert found.shape == (1, 20)
    assert torch.nonzero(found[0]).flatten().tolist() == [13]
    deep = model.to_window(torch.stack([ids, ids], dim=-1), strand)
    assert deep.shape == (1, 20, 2)


@pytest.mark.parametrize("width", [20, 35, 37])
def test_windows_with_too_short_or_uneven_flanks_are_refused(width: int) -> None:
    model = small_model("hyenadna", Readout(window=20, flank=8, lookahead=4))
    with pytest.raises(InputError, match=f"{width}: needs 36 bases"):
        model(some_tokens(width))


def test_a_lookahead_above_the_flank_is_refused() -> None:
    with pytest.raises(InputError, match="lookahead 9 is above flank 8"):
        Readout.parse({"window": 20, "flank": 8, "lookahead": 9}, "readout")


def test_a_window_that_the_model_cannot_hold_is_refused() -> None:
    with pytest.raises(InputError, match="140 tokens, above the model's max_seq_len 128"):
        small_model("hyenadna", Readout(window=100, flank=20, lookahead=20))


@pytest.mark.parametrize(
    ("architecture", "lora"),
    [("hyenadna", OFF), ("hyenadna", LoraSettings(enabled=True, rank=2)), ("dilated_cnn", OFF)],
)
def test_a_saved_model_predicts_the_same(
    architecture: str, lora: LoraSettings, tmp_path: Path
) -> None:
    model = small_model(architecture, Readout(window=20, flank=8, lookahead=4), lora)
    tokens = some_tokens(36, batch=8)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.5)
    model.train()
    for _ in range(2):
        model(tokens).square().mean().backward()
        optimizer.step()
    model.eval()
    model.threshold = 0.37
    folder = tmp_path / "model"
    for _ in range(2):  # the second replaces the first
        save_window_model(model, folder)
    again = load_window_model(folder)
    assert (again.threshold, again.readout, again.training) == (0.37, model.readout, False)
    assert sorted(path.name for path in folder.iterdir()) == [
        *(["adapter"] if lora.enabled else []),
        "config.json",
        "model.safetensors",
        "readout.json",
        "tokenizer_config.json",
    ]
    if lora.enabled:  # merging rounds
        assert torch.allclose(again.predict(tokens), model.predict(tokens), atol=1e-5)
    else:
        assert torch.equal(again.predict(tokens), model.predict(tokens))


@pytest.mark.parametrize("name", ["readout.json", "config.json", "model.safetensors"])
def test_a_saved_model_with_a_missing_or_damaged_file_is_refused(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    save_window_model(small_model("hyenadna", Readout(window=20)), folder)
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match=name):
        load_window_model(folder)
    (folder / name).unlink()
    with pytest.raises(InputError, match=name):
        load_window_model(folder)


def test_weights_other_than_those_saved_are_refused(tmp_path: Path) -> None:
    readout = Readout(window=20)
    save_window_model(small_model("hyenadna", readout), tmp_path / "one")
    other = small_model("hyenadna", readout)
    with torch.no_grad():
        other.classifier.score.dense.weight.add_(1)
    save_window_model(other, tmp_path / "two")
    (tmp_path / "two/model.safetensors").replace(tmp_path / "one/model.safetensors")
    with pytest.raises(InputError, match="sha256 differs"):
        load_window_model(tmp_path / "one")


def test_a_configuration_of_another_model_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    save_window_model(small_model("hyenadna", Readout(window=20)), folder)
    values = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(values | {"model_type": "bert"}))
    StoredReadout.read(folder).write(folder)
    with pytest.raises(InputError, match="bert: unknown model_type"):
        load_window_model(folder)
    (folder / "config.json").write_text(json.dumps(values | {"d_model": "wide"}))
    StoredReadout.read(folder).write(folder)
    with pytest.raises(InputError, match=r"config\.json: unfit value .*d_model"):
        load_window_model(folder)
    (folder / "config.json").write_text(json.dumps(values | {"d_model": 32}))
    StoredReadout.read(folder).write(folder)
    with pytest.raises(InputError, match="mismatch"):
        load_window_model(folder)


def test_initial_weights_follow_the_seed_alone() -> None:
    readout = Readout(window=20)
    before = torch.random.get_rng_state()
    first = small_model("hyenadna", readout)
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(99)
    second = small_model("hyenadna", readout)
    third = build_model(ModelSettings(d_model=16), readout, OFF, TASKS["zdna"], seed=4)
    for name, value in first.state_dict().items():
        assert torch.equal(second.state_dict()[name], value)
    name = "classifier.hyena.backbone.layers.0.mlp.fc1.weight"
    assert not torch.equal(third.state_dict()[name], first.state_dict()[name])


def test_a_pretrained_backbone_decides_the_sizes(
    language_model: HyenaDNAForCausalLM, tmp_path: Path
) -> None:
    language_model.save_pretrained(tmp_path)
    model = build_model(
        ModelSettings(backbone=str(tmp_path), d_model=64, dropout=0.1),
        Readout(window=20),
        OFF,
        replace(TASKS["zdna"], num_labels=3),
        class_weights=(1.0, 2.0, 3.0),
        seed=0,
    )
    config = model.classifier.config
    assert (config.d_model, config.num_labels, config.hyena_dropout) == (16, 3, 0.1)
    assert config.class_weights == [1.0, 2.0, 3.0]
    for name, value in language_model.hyena.state_dict().items():
        assert torch.equal(model.classifier.hyena.state_dict()[name], value)
    assert len({name for name in model.classifier.state_dict() if "lm_head" in name}) == 0


def test_the_cnn_takes_no_backbone() -> None:
    settings = ModelSettings(architecture="dilated_cnn", backbone="somewhere")
    with pytest.raises(InputError, match=r"model\.backbone"):
        build_model(settings, Readout(window=20), OFF, TASKS["zdna"], seed=0)


def test_parameter_groups_hold_every_parameter_that_may_be_trained_once() -> None:
    readout = Readout(window=20)
    for architecture in ARCHITECTURES:
        model = small_model(architecture, readout)
        backbone, head = parameter_groups(model)
        assert {id(p) for p in (*backbone, *head)} == {id(p) for p in model.parameters()}
        assert len(backbone) + len(head) == len(list(model.parameters()))
        assert {id(p) for p in head} == {id(p) for p in model.classifier.score.parameters()}
    model = small_model("hyenadna", readout, LoraSettings(enabled=True, rank=2))
    trainable = {id(p) for p in model.parameters() if p.requires_grad}
    for parameter in model.parameters():
        parameter.requires_grad_(False)  # as a stage that freezes the backbone does
    backbone, head = parameter_groups(model)
    assert {id(p) for p in (*backbone, *head)} == trainable


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_model_from_random_weights_learns_a_motif_that_ends_right_of_its_base(
    architecture: str,
) -> None:
    """Label: the base and the two after it read C G C; only the lookahead can see them."""
    readout = Readout(window=40, flank=4, lookahead=4)
    settings = ModelSettings.parse({"architecture": architecture, "channels": 16}, "test")
    settings = settings.model_copy(update={"d_model": 32})
    model = build_model(settings, readout, OFF, TASKS["zdna"], seed=0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    generator = torch.Generator().manual_seed(1)
    for _ in range(120):
        tokens = torch.randint(7, 11, (32, 48), generator=generator)
        cgc = (tokens[:, :-2] == 8) & (tokens[:, 1:-1] == 9) & (tokens[:, 2:] == 8)
        labels = cgc[:, 4:44].long()
        loss = torch.nn.functional.cross_entropy(
            model(tokens).flatten(0, 1), labels.flatten(), weight=torch.tensor([1.0, 10.0])
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    called = model.eval()(tokens).argmax(-1)
    f1 = 2 * (called * labels).sum() / (called.sum() + labels.sum())
    assert f1 > 0.9

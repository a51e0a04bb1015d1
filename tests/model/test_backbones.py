"""What every backbone of the table keeps to, and how checkpoints of transformers are read."""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
import transformers
from transformers import AutoModelForTokenClassification, PreTrainedModel

from hyena_ray.attribution.engine import attribute_windows
from hyena_ray.attribution.settings import AttributionSettings
from hyena_ray.dataset.schema import Windows
from hyena_ray.dataset.tokens import TOKEN_IDS, encode
from hyena_ray.errors import InputError
from hyena_ray.model.backbone_table import BACKBONES, SPECIAL
from hyena_ray.model.build import build_model, parameter_groups
from hyena_ray.model.configuration import TransformersConfig
from hyena_ray.model.lora import apply_lora, merge_lora
from hyena_ray.model.saved import StoredReadout, load_window_model, save_window_model
from hyena_ray.model.settings import (
    CAUSAL,
    PRETRAINABLE,
    Architecture,
    LoraSettings,
    ModelSettings,
    Readout,
    Targets,
)
from hyena_ray.model.transformers_classifier import TransformersClassifier
from hyena_ray.model.window import WindowModel
from hyena_ray.tasks import TASKS

WINDOW, FLANK = 20, 8
READOUT = Readout(window=WINDOW, flank=FLANK, lookahead=FLANK)
OFF = LoraSettings()
EVERY = pytest.mark.parametrize("name", PRETRAINABLE)
OF_TRANSFORMERS = pytest.mark.parametrize("name", BACKBONES)


def build(
    name: Architecture,
    readout: Readout = READOUT,
    task: str = "zdna",
    lora: LoraSettings = OFF,
    **settings: Any,
) -> WindowModel:
    chosen = {"architecture": name, "d_model": 16, "n_head": 2} | settings
    model = build_model(ModelSettings(**chosen), readout, lora, TASKS[task], seed=0).eval()
    with torch.no_grad():  # so that logits depend on the input by more than rounding
        for parameter in model.classifier.score.parameters():
            parameter.normal_(std=0.5)
    return model


def some_tokens(rows: int = 3, length: int = WINDOW + 2 * FLANK, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(7, 11, (rows, length), generator=generator)


def turned(tokens: torch.Tensor) -> torch.Tensor:
    return torch.where(tokens < 11, 17 - tokens, tokens).flip(1)


def test_the_table_is_that_of_the_settings() -> None:
    assert ("hyenadna", *BACKBONES) == PRETRAINABLE
    assert {name for name, backbone in BACKBONES.items() if backbone.causal} == {*CAUSAL} - {
        "hyenadna"
    }


# Every backbone, HyenaDNA among them.


@EVERY
@pytest.mark.parametrize(("task", "labels"), [("zdna", WINDOW), ("promoter", 1)])
def test_every_base_or_sequence_has_logits(name: Architecture, task: str, labels: int) -> None:
    model = build(name, task=task, pooling="mean")
    tokens = some_tokens()
    for logits in (model(tokens), model.predict(tokens)):
        assert logits.shape == (3, labels, 2)
        assert logits.dtype == torch.float32
        assert torch.isfinite(logits).all()


@EVERY
def test_both_strands_have_the_same_logits_to_the_bit(name: Architecture) -> None:
    model, tokens = build(name), some_tokens()
    assert torch.equal(model.predict(tokens), model.predict(turned(tokens)).flip(1))


@EVERY
def test_unknown_bases_are_read_and_are_not_known_ones(name: Architecture) -> None:
    model, tokens = build(name), some_tokens()
    unknown = tokens.clone()
    unknown[:, FLANK + 9] = TOKEN_IDS["N"]
    logits = model(unknown)
    assert torch.isfinite(logits).all()
    assert not torch.allclose(logits, model(tokens))
    assert torch.isfinite(model(torch.full_like(tokens, TOKEN_IDS["N"]))).all()


@EVERY
def test_only_a_causal_backbone_does_not_see_what_follows(name: Architecture) -> None:
    classifier, ids = (
        build(name, READOUT.updated({"lookahead": 0}, "here")).classifier,
        some_tokens(),
    )
    changed = ids.clone()
    changed[:, 24:] = 17 - changed[:, 24:]
    same = torch.allclose(classifier(ids).logits[:, :24], classifier(changed).logits[:, :24])
    assert same == classifier.config.causal == (name in CAUSAL)


@EVERY
def test_positions_are_a_part_of_all(name: Architecture) -> None:
    classifier, ids = build(name).classifier, some_tokens()
    part = classifier(ids, positions=slice(3, 11)).logits
    torch.testing.assert_close(part, classifier(ids).logits[:, 3:11])


@EVERY
def test_embeddings_give_what_tokens_give_and_their_gradient_is_a_difference(
    name: Architecture,
) -> None:
    classifier, ids = build(name).double().classifier, some_tokens(1)
    embeddings = classifier.embed(ids, None).detach().requires_grad_()
    assert embeddings.shape[:2] == ids.shape
    logits = classifier(inputs_embeds=embeddings).logits
    torch.testing.assert_close(logits, classifier(ids).logits, rtol=1e-4, atol=1e-5)
    (gradient,) = torch.autograd.grad(logits[..., 1].sum(), embeddings)
    assert (gradient != 0).any(-1).all()
    direction, step = torch.randn_like(embeddings), 2e-3
    with torch.no_grad():
        above, below = (
            classifier(inputs_embeds=embeddings + moved * direction).logits[..., 1].double().sum()
            for moved in (step, -step)
        )
    slope = float((gradient * direction).sum())
    assert float((above - below) / (2 * step)) == pytest.approx(slope, rel=1e-2, abs=1e-2)


@EVERY
def test_a_saved_model_is_the_same_to_the_bit(name: Architecture, tmp_path: Path) -> None:
    import hyena_ray.model.huggingface  # noqa: F401 (registers the models)

    model, tokens = build(name), some_tokens()
    save_window_model(model, tmp_path / "model")
    assert torch.equal(load_window_model(tmp_path / "model").predict(tokens), model.predict(tokens))
    hub = AutoModelForTokenClassification.from_pretrained(tmp_path / "model")
    ids = model.strand_input(tokens).ids
    assert torch.equal(hub(ids).logits, model.classifier(ids).logits)
    hub.save_pretrained(tmp_path / "hub")
    for file in ("config.json", "model.safetensors"):
        assert (tmp_path / "hub" / file).read_bytes() == (tmp_path / "model" / file).read_bytes()


@EVERY
@pytest.mark.parametrize("targets", get_args(Targets))
def test_adapters_are_all_that_changes_beside_the_head(
    name: Architecture, targets: Targets
) -> None:
    settings = LoraSettings(enabled=True, rank=2, targets=targets)
    if name in BACKBONES and targets not in BACKBONES[name].targets:
        with pytest.raises(
            InputError, match=rf"lora\.targets: {re.escape(targets)}: .* has none of them; use"
        ):
            build(name, lora=settings)
        return
    model, tokens = build(name), some_tokens()
    before = model.predict(tokens)
    weights = {key: value.clone() for key, value in model.classifier.state_dict().items()}
    classifier = apply_lora(model.classifier, settings)
    torch.testing.assert_close(model.predict(tokens), before)
    backbone, head = parameter_groups(model)
    assert backbone
    optimizer = torch.optim.SGD([*backbone, *head], lr=0.01)
    for _ in range(2):
        optimizer.zero_grad()
        model(tokens)[..., 1].square().mean().backward()
        optimizer.step()
    assert all(parameter.grad is not None for parameter in backbone)
    adapted = model.predict(tokens)
    merge_lora(classifier)
    torch.testing.assert_close(model.predict(tokens), adapted, rtol=1e-3, atol=1e-3)
    changed = {
        key
        for key, value in classifier.state_dict().items()
        if key in weights and not torch.equal(value, weights[key])
    }
    assert changed, "merged adapters change weights"
    modules = {key.rpartition(".")[0] for key in changed if not key.startswith("score.")}
    if targets != "short_filter":
        assert modules <= set(build(name).classifier.lora_modules(targets))


@EVERY
def test_integrated_gradients_equal_a_sum_over_small_steps(name: Architecture) -> None:
    model = build(name, READOUT.updated({"strands": "forward"}, "here"))
    tokens = some_tokens(1)
    labels = np.zeros((1, WINDOW), np.int8)
    labels[:, 8:12] = 1
    settings = AttributionSettings(methods=("ig",), baseline="n", tolerance=1e-4)
    windows = Windows(
        np.arange(1),
        np.array(["a"]),
        np.array([0]),
        tokens.numpy().astype(np.uint8),
        labels,
        np.ones(1, np.uint8),
    )
    result = attribute_windows(model, windows, settings, labels.astype(bool))
    given = model.strand_input(tokens)
    whole = model.embed(given.ids).detach()
    start = model.embed(torch.full_like(given.ids, TOKEN_IDS["N"])).detach()
    steps = 200
    places = (torch.arange(steps) + 0.5)[:, None, None] / steps
    points = (start + places * (whole - start)).requires_grad_()
    target = model.strand_logits(points, 0)[:, 8:12, 1].mean(1).sum()
    (gradient,) = torch.autograd.grad(target, points)
    total = (gradient * (whole - start)).sum(-1).double().mean(0, keepdim=True)
    expected = model.to_window(total, 0)[0].detach().numpy()
    np.testing.assert_allclose(result.scores["ig"][0], expected, atol=2e-3 * np.abs(expected).max())


# Those of transformers.


def kmer_vocabulary() -> list[str]:
    return [*SPECIAL, *map("".join, itertools.product("ACGT", repeat=6)), *"ATCGN"]


def make_checkpoint(name: str, folder: Path, **values: Any) -> PreTrainedModel:
    """Write a checkpoint as transformers does, and return its backbone."""
    torch.manual_seed(1)
    heads = {
        "transformer": transformers.ModernBertForMaskedLM,
        "nucleotide_transformer": transformers.EsmForMaskedLM,
        "mamba": transformers.MambaForCausalLM,
    }
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"TGCAN"]
    if name == "nucleotide_transformer":
        vocabulary = kmer_vocabulary()
    sizes = BACKBONES[name].sizes(ModelSettings(architecture=name, d_model=16, n_head=2), 256)  # type: ignore[arg-type]
    special = {key: None for key in sizes if key.endswith("token_id")}
    ids = {token.strip("<>[]").lower(): number for number, token in enumerate(vocabulary)}
    special = {key: ids.get(key.removesuffix("_token_id")) for key in special}
    sizes |= special | {"vocab_size": len(vocabulary)} | values
    model = heads[name](heads[name].config_class(**sizes)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
    model.save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(vocabulary) + "\n")
    return model.base_model


def published_ids(name: str, sequence: str, folder: Path) -> torch.Tensor:
    """The ids that the published tokenizers give a sequence, found by brute force."""
    vocabulary = (folder / "vocab.txt").read_text().split()
    tokens, place = [], 0
    size = BACKBONES[name].bases_per_token
    while place < len(sequence):
        longest = size if sequence[place : place + size] in vocabulary else 1
        tokens.append(vocabulary.index(sequence[place : place + longest]))
        place += longest
    first = [vocabulary.index("<cls>")] if BACKBONES[name].class_token else []
    return torch.tensor([first + tokens])


CHECKPOINTS = [
    ("transformer", {}),
    ("transformer", {"layer_types": ["full_attention", "sliding_attention"], "local_attention": 8}),
    ("nucleotide_transformer", {}),
    ("nucleotide_transformer", {"position_embedding_type": "absolute", "token_dropout": True}),
    ("nucleotide_transformer", {"emb_layer_norm_before": True}),
    ("mamba", {}),
]


@pytest.mark.parametrize(("name", "values"), CHECKPOINTS)
@pytest.mark.parametrize("length", [36, 41])
def test_hidden_states_are_those_of_transformers(
    name: Architecture, values: dict[str, Any], length: int, tmp_path: Path
) -> None:
    theirs = make_checkpoint(name, tmp_path, **values)
    ours = build(name, backbone=str(tmp_path)).classifier
    generator = np.random.default_rng(length)
    sequence = "".join(generator.choice([*"ACGT"], length))
    ids = published_ids(name, sequence, tmp_path)
    with torch.no_grad():
        expected = theirs(ids).last_hidden_state[:, int(BACKBONES[name].class_token) :]
        (hidden,) = ours(torch.from_numpy(encode(sequence)).long()[None]).hidden_states
    size = BACKBONES[name].bases_per_token
    tokens = [*np.arange(length // size).repeat(size), *range(length // size, expected.shape[1])]
    torch.testing.assert_close(hidden, expected[:, tokens[:length]])


@OF_TRANSFORMERS
def test_padding_changes_no_label_of_a_sequence(name: Architecture, tmp_path: Path) -> None:
    if name in CAUSAL:
        pytest.skip("a causal backbone reads from the left, as HyenaDNA does")
    make_checkpoint(name, tmp_path)
    model = build(name, task="promoter", backbone=str(tmp_path), pooling="mean").classifier
    ids = some_tokens(2, 24)
    padded = torch.nn.functional.pad(ids, (0, 12), value=TOKEN_IDS["[PAD]"])
    torch.testing.assert_close(model(padded).logits, model(ids).logits)


@OF_TRANSFORMERS
def test_a_trained_model_is_a_backbone_too(name: Architecture, tmp_path: Path) -> None:
    make_checkpoint(name, tmp_path / "hub")
    first = build(name, backbone=str(tmp_path / "hub"))
    save_window_model(first, tmp_path / "model")
    again = build(name, backbone=str(tmp_path / "model"))
    ids = some_tokens()
    assert torch.equal(
        first.classifier(ids).hidden_states[0], again.classifier(ids).hidden_states[0]
    )


def change_config(folder: Path, **values: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


@OF_TRANSFORMERS
def test_a_checkpoint_that_needs_code_is_refused(name: Architecture, tmp_path: Path) -> None:
    make_checkpoint(name, tmp_path)
    change_config(tmp_path, auto_map={"AutoModel": "modeling_x.Model"})
    with pytest.raises(InputError, match="auto_map: the checkpoint needs code from its own"):
        build(name, backbone=str(tmp_path))


@OF_TRANSFORMERS
def test_a_checkpoint_of_another_architecture_is_refused(
    name: Architecture, tmp_path: Path
) -> None:
    make_checkpoint(name, tmp_path)
    other = "mamba" if name != "mamba" else "transformer"
    with pytest.raises(InputError, match=f"model_type: .*: is no {other}, whose model_type is"):
        build(other, backbone=str(tmp_path))
    with pytest.raises(InputError, match="not the configuration of a HyenaDNA model"):
        build("hyenadna", backbone=str(tmp_path))


@OF_TRANSFORMERS
@pytest.mark.parametrize("value", [-(10**7), 10**9, 1e300, float("inf"), "many", [2], True])
def test_no_size_is_without_bounds(name: Architecture, value: Any, tmp_path: Path) -> None:
    model = build(name)
    values = model.classifier.config.network
    for number in BACKBONES[name].bounds:
        with pytest.raises(InputError, match=f"config: {number}: .*not a number within"):
            TransformersConfig(network=values | {number: value})


@OF_TRANSFORMERS
def test_a_network_that_its_file_does_not_hold_is_not_built(
    name: Architecture, tmp_path: Path
) -> None:
    save_window_model(build(name), tmp_path / "model")
    path = tmp_path / "model" / "config.json"
    values = json.loads(path.read_text())
    values["network"] |= {"hidden_size": 65536, "num_hidden_layers": 2}
    path.write_text(json.dumps(values))
    StoredReadout.read(path.parent).write(path.parent)
    with pytest.raises(InputError, match=r"mismatch|missing"):
        load_window_model(tmp_path / "model")


def test_tokens_of_several_letters_are_refused_for_bases(tmp_path: Path) -> None:
    make_checkpoint("transformer", tmp_path)
    (tmp_path / "vocab.txt").write_text("\n".join(["[UNK]", "AC", "GT", "A", "C", "TTT", *"xyz"]))
    with pytest.raises(InputError, match=r"vocab\.txt: G: no token of it, and 1 more"):
        build("transformer", backbone=str(tmp_path))
    (tmp_path / "vocab.txt").unlink()
    with pytest.raises(InputError, match=r"holds none of vocab\.txt, tokenizer\.json"):
        build("transformer", backbone=str(tmp_path))


def test_tokens_are_read_from_tokenizer_json_too(tmp_path: Path) -> None:
    make_checkpoint("transformer", tmp_path)
    read = build("transformer", backbone=str(tmp_path)).classifier.token_table
    order = (tmp_path / "vocab.txt").read_text().split()
    (tmp_path / "vocab.txt").unlink()
    ids = {token: number for number, token in enumerate(order)}
    (tmp_path / "tokenizer.json").write_text(json.dumps({"model": {"vocab": ids}}))
    again = build("transformer", backbone=str(tmp_path)).classifier.token_table
    assert torch.equal(read, again)
    (tmp_path / "tokenizer.json").write_text(json.dumps({"model": {"vocab": {"A": 5}}}))
    with pytest.raises(InputError, match="holds no table of tokens"):
        build("transformer", backbone=str(tmp_path))


@pytest.mark.parametrize("name", ["transformer", "nucleotide_transformer"])
def test_a_window_beyond_the_positions_is_refused(name: Architecture, tmp_path: Path) -> None:
    limit = {"transformer": 30, "nucleotide_transformer": 10}[name]
    make_checkpoint(name, tmp_path, max_position_embeddings=limit)
    with pytest.raises(
        InputError, match=r"readout\.window: 20: .* 36 tokens, above .* max_seq_len"
    ):
        build(name, backbone=str(tmp_path))


@pytest.mark.parametrize("length", range(30, 55))
def test_all_lengths_up_to_the_limit_have_positions(length: int) -> None:
    network = build("nucleotide_transformer").classifier.config.network | {
        "position_embedding_type": "absolute",
        "max_position_embeddings": 16,
    }
    classifier = TransformersClassifier(TransformersConfig(network=network)).eval()
    limit = classifier.config.max_seq_len
    assert limit == 6 * (16 - 2 - 1 - 5)
    if length <= limit:
        assert classifier(some_tokens(1, length)).logits.shape == (1, length, 2)
    else:
        with pytest.raises(InputError, match="above max_seq_len 48"):
            classifier(some_tokens(1, length))


def test_a_kmer_with_an_unknown_base_is_the_mask(tmp_path: Path) -> None:
    make_checkpoint("nucleotide_transformer", tmp_path)
    classifier = build("nucleotide_transformer", backbone=str(tmp_path)).classifier
    assert isinstance(classifier, TransformersClassifier)
    vocabulary = kmer_vocabulary()
    ids = torch.from_numpy(encode("ACGTACANGTACTTN")).long()[None]
    names = [vocabulary[token] for token in classifier.tokens(ids)[0]]
    assert names == ["ACGTAC", "<mask>", "T", "T", "N"]

"""Training learns what is there, goes on to the same bits, and leaves what `--backbone` takes."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file

from hyena_ray.dataset.tokens import IGNORED, TOKEN_IDS, codes_to_tokens
from hyena_ray.errors import InputError
from hyena_ray.model.devices import default_device
from hyena_ray.model.huggingface import HyenaDNAForCausalLM
from hyena_ray.model.provenance import PROVENANCE, Provenance, read_provenance
from hyena_ray.training.checkpoint import CHECKPOINT
from hyena_ray.training.genome_stream import HIDDEN, KEPT, PackedBases, WindowStream, masked
from hyena_ray.training.pretrain_record import ALL
from hyena_ray.training.pretraining import (
    MaskedBases,
    Pretrained,
    StepReport,
    check_start,
    evaluate,
    new_objective,
    pretrain,
    save_backbone,
    summed_loss,
)
from hyena_ray.training.settings import PretrainSettings, RunSettings
from hyena_ray.training.supervised import new_model
from hyena_ray.training.trainer import DivergenceError

SMALL: dict[str, Any] = {
    "model.d_model": 16,
    "model.n_layer": 1,
    "model.initializer_range": None,
    "training.lengths": [16, 32],
    "training.tokens_per_step": 256,
    "training.steps": 20,
    "training.checkpoint_every": 7,
    "training.evaluate_every": 8,
    "training.learning_rate": 0.01,
    "masking.lookahead": 6,
}
PROVENANCE_OF_A_TEST = Provenance(
    objective="next_base",
    genome="g.fa",
    genome_sha256="0",
    simulated=False,
    contigs=(),
    began_from=None,
    before=None,
)


def settings_of(**changes: object) -> PretrainSettings:
    given = {key.replace("__", "."): value for key, value in changes.items()}
    return PretrainSettings().updated(SMALL | given, "test")


def packed(codes: NDArray[np.uint8]) -> PackedBases:
    return PackedBases.of([(0, codes)])


def periodic(length: int) -> NDArray[np.uint8]:
    return np.resize(np.array([0, 1, 2, 0, 3], np.uint8), length)


def order_one(length: int) -> tuple[NDArray[np.uint8], float]:
    """Bases that depend on the one before, and the perplexity of who knows how."""
    rows = np.array([[0.7, 0.1, 0.1, 0.1], [0.1, 0.1, 0.7, 0.1], [0.1] * 4, [0.7, 0.1, 0.1, 0.1]])
    rows[2] = [0.25, 0.25, 0.25, 0.25]
    rng, codes = np.random.default_rng(0), np.zeros(length, np.uint8)
    limits = rows.cumsum(1)
    for at, draw in enumerate(rng.random(length - 1), start=1):
        codes[at] = np.searchsorted(limits[codes[at - 1], :3], draw, side="right")
    losses = -np.log(rows[codes[:-1], codes[1:]])
    return codes, math.exp(losses.mean())


def run(
    settings: PretrainSettings,
    codes: NDArray[np.uint8],
    folder: Path,
    held_out: dict[str, NDArray[np.uint8]] | None = None,
    stop_after: int | None = None,
) -> Pretrained:
    def report(step: StepReport) -> None:
        if step.step == stop_after:
            raise KeyboardInterrupt

    stream = WindowStream(packed(codes), settings)
    return pretrain(
        settings, stream.batches, held_out or {}, folder, report, fingerprint=settings.fingerprint()
    )


def test_a_periodic_genome_has_a_perplexity_near_one(tmp_path: Path) -> None:
    settings = settings_of(training__steps=150, training__reverse_complement=False)
    held_out = {"c": periodic(32 * 4).reshape(4, 32)}
    found = run(settings, periodic(5000), tmp_path, held_out)
    before, last = found.history[0]["perplexity"][ALL], found.history[-1]["perplexity"]["c"]
    assert before > 2
    # The first base alone does not tell the second: A stands before C and before T.
    assert last < 1.1


@pytest.mark.slow
def test_the_perplexity_of_an_order_one_genome_comes_near_its_entropy(tmp_path: Path) -> None:
    codes, truth = order_one(60_000)
    changes = {"training__steps": 250, "training__reverse_complement": False}
    settings = settings_of(**changes, training__lengths=[16, 64], training__tokens_per_step=1024)
    held_out = {"c": codes[50_000:59_600].reshape(-1, 64)}
    found = run(settings, codes[:50_000], tmp_path, held_out)
    last = found.history[-1]["perplexity"]["c"]
    assert truth < 3.1
    assert 0.99 * truth < last < 1.03 * truth


def test_masked_bases_of_a_periodic_genome_are_read_from_both_sides(tmp_path: Path) -> None:
    changes = {"training__steps": 200, "training__reverse_complement": False}
    settings = settings_of(objective="masked", **changes)
    found = run(settings, periodic(5000), tmp_path, {"c": periodic(32 * 4).reshape(4, 32)})
    assert found.history[-1]["perplexity"]["c"] < 1.3


@pytest.mark.parametrize("objective", ["next_base", "masked"])
@pytest.mark.parametrize("stop_after", [3, 7, 15, 19])
def test_a_resumed_run_ends_in_the_same_bits(
    tmp_path: Path, objective: str, stop_after: int
) -> None:
    settings = settings_of(objective=objective)
    codes = np.random.default_rng(0).integers(0, 4, 3000, np.uint8)
    held_out = {"c": codes[:640].reshape(-1, 32)}
    for name in ("whole", "broken"):
        (tmp_path / name).mkdir()
    whole = run(settings, codes, tmp_path / "whole", held_out)
    with pytest.raises(KeyboardInterrupt):
        run(settings, codes, tmp_path / "broken", held_out, stop_after)
    assert check_start(settings, tmp_path / "broken", settings.fingerprint()) == stop_after // 7 * 7
    again = run(settings, codes, tmp_path / "broken", held_out)
    assert again.history == whole.history
    assert [record["step"] for record in whole.history] == [8, 16, 20]
    weights = again.model.state_dict()
    for name, weight in whole.model.state_dict().items():
        assert torch.equal(weights[name], weight), name
    # And what is finished is read, not trained on.
    assert run(settings, codes, tmp_path / "broken", held_out).history == whole.history


def test_a_masked_base_is_seen_neither_by_the_input_nor_by_the_prediction() -> None:
    settings = settings_of(objective="masked")
    model = new_objective(settings)
    codes = np.random.default_rng(0).integers(0, 4, (1, 32), np.uint8)
    seen = np.full((1, 32), KEPT, np.int8)
    seen[0, 12] = HIDDEN
    batches = [masked(codes_to_tokens(changed), seen, 1) for changed in _with_every_base(codes, 12)]
    assert {int(batch.targets[0, 12]) for batch in batches} == {7, 8, 9, 10}
    assert all((batch.targets[0] != IGNORED).sum() == 1 for batch in batches)
    logits = [model(torch.from_numpy(batch.inputs).long())[0, 12] for batch in batches]
    assert all(torch.equal(logits[0], other) for other in logits)


def _with_every_base(codes: NDArray[np.uint8], at: int) -> list[NDArray[np.uint8]]:
    found = []
    for base in range(4):
        changed = codes.copy()
        changed[0, at] = base
        found.append(changed)
    return found


def test_a_masked_base_is_predicted_from_all_before_it_and_the_lookahead_after_it() -> None:
    model = new_objective(settings_of(objective="masked"))
    assert isinstance(model, MaskedBases)
    embeddings = model.hyena.get_input_embeddings()
    ids = torch.randint(7, 11, (1, 32), generator=torch.Generator().manual_seed(0))
    embedded = embeddings(ids).detach().requires_grad_()
    hidden = model.hyena(inputs_embeds=embedded).last_hidden_state
    model.head(hidden)[0, 12].square().sum().backward()
    assert embedded.grad is not None
    reached = embedded.grad[0].abs().sum(1) > 0
    assert reached[:19].all()
    assert not reached[19:].any()


@pytest.mark.parametrize("objective", ["next_base", "masked"])
def test_the_backbone_is_one_that_a_run_takes_with_the_same_weights(
    tmp_path: Path, objective: str
) -> None:
    settings = settings_of(objective=objective, training__steps=3, training__lengths=[32, 66])
    trained = run(settings, periodic(2000), tmp_path).model
    save_backbone(trained, tmp_path / "backbone", PROVENANCE_OF_A_TEST)
    assert read_provenance(tmp_path / "backbone") == PROVENANCE_OF_A_TEST
    assert {path.name for path in (tmp_path / "backbone").iterdir()} == {
        "config.json",
        "model.safetensors",
        PROVENANCE,
    } | (
        {"generation_config.json"}
        if (tmp_path / "backbone/generation_config.json").exists()
        else set()
    )
    run_settings = RunSettings().updated(
        {"model.backbone": str(tmp_path / "backbone"), "data.length": 20, "readout.flank": 16}
        | {"readout.lookahead": 16},
        "test",
    )
    model = new_model(run_settings)
    backbone = model.classifier.hyena.state_dict()
    source = (trained.hyena if objective == "masked" else trained.model.hyena).state_dict()
    assert backbone.keys() == source.keys()
    for name, weight in source.items():
        assert torch.equal(backbone[name], weight), name
    ids = torch.full((2, 52), 7, device=default_device())
    assert model(ids).shape == (2, 20, 2)


def test_the_backbone_has_the_names_of_the_published_layout(tmp_path: Path, shared: Path) -> None:
    settings = settings_of(model__n_layer=2, model__filters="published")
    save_backbone(new_objective(settings), tmp_path / "backbone", PROVENANCE_OF_A_TEST)
    published = load_file(shared / "reference/hyenadna_tiny_1k_random/model.safetensors")
    ours = load_file(tmp_path / "backbone" / "model.safetensors")
    # Of the shared frequency a file holds one copy or more.
    names = {name for name in published if ".freq" not in name or ".1.freq" in name}
    assert {name for name in ours if ".freq" not in name or ".1.freq" in name} == names
    assert HyenaDNAForCausalLM.from_pretrained(tmp_path / "backbone").config.d_model == 16


def test_a_pretraining_starts_from_another_backbone(tmp_path: Path) -> None:
    first = new_objective(settings_of(training__seed=5))
    save_backbone(first, tmp_path / "backbone", PROVENANCE_OF_A_TEST)
    changes = {"model__backbone": str(tmp_path / "backbone"), "model__d_model": 64}
    again = new_objective(settings_of(**changes)).state_dict()
    for name, weight in first.state_dict().items():
        assert torch.equal(again[name], weight), name
    with pytest.raises(InputError, match=r"max_seq_len: 34: below the longest window of 40 bases"):
        new_objective(settings_of(**changes, training__lengths=[40]))


def test_every_pass_of_a_step_counts_by_its_targets(tmp_path: Path) -> None:
    codes = np.random.default_rng(0).integers(0, 4, 3000, np.uint8)
    losses = []
    for passes in (256, 64):
        settings = settings_of(
            objective="masked", training__tokens_per_pass=passes, training__steps=5
        )
        (tmp_path / str(passes)).mkdir()
        losses.append(run(settings, codes, tmp_path / str(passes)).history[-1]["train_loss"])
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_perplexity_is_exp_of_the_mean_loss_of_all_but_the_first_base() -> None:
    settings = settings_of(training__tokens_per_pass=64)  # several batches of two windows
    model = new_objective(settings)
    codes = np.random.default_rng(0).integers(0, 4, (5, 32), np.uint8)
    found = evaluate(model, {"a": codes, "b": codes[:2]}, settings)
    tokens = torch.from_numpy(codes_to_tokens(codes)).long()
    with torch.no_grad():
        log_p = model(tokens)[:, :-1].log_softmax(-1)
    losses = -log_p.gather(-1, tokens[:, 1:, None])
    assert found["a"] == pytest.approx(math.exp(losses.mean()), rel=1e-5)
    assert found["b"] == pytest.approx(math.exp(losses[:2].mean()), rel=1e-5)
    both = torch.cat([losses, losses[:2]])
    assert found[ALL] == pytest.approx(math.exp(both.mean()), rel=1e-5)
    assert evaluate(model, {}, settings) == {}


def test_masked_windows_are_scored_on_the_same_hidden_bases_each_time() -> None:
    settings = settings_of(objective="masked")
    model = new_objective(settings)
    seen: list[torch.Tensor] = []
    model.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    codes = {"a": np.random.default_rng(0).integers(0, 4, (5, 32), np.uint8)}
    other = settings_of(objective="masked", training__seed=3)
    assert evaluate(model, codes, settings) == evaluate(model, codes, other)
    hidden = seen[0] == TOKEN_IDS["[MASK]"]
    assert torch.equal(
        seen[0][~hidden], torch.from_numpy(codes_to_tokens(codes["a"])).long()[~hidden]
    )
    assert 0 < hidden.float().mean() < 0.3


def test_the_loss_of_targets_that_are_ignored_is_nothing() -> None:
    logits = torch.randn(2, 3, 16)
    targets = torch.full((2, 3), IGNORED)
    assert summed_loss(logits, targets) == 0
    targets[1, 2] = 7
    assert summed_loss(logits, targets) == pytest.approx(-float(logits[1, 2].log_softmax(0)[7]))


def test_a_checkpoint_of_another_size_or_of_other_settings_is_refused(tmp_path: Path) -> None:
    settings = settings_of()
    run(settings, periodic(2000), tmp_path)
    with pytest.raises(InputError, match=r"checkpoint\.pt: .* belongs to other settings"):
        check_start(settings, tmp_path, "other")
    state = torch.load(tmp_path / CHECKPOINT, weights_only=True)
    state["model"] = new_objective(settings_of(model__d_model=24)).state_dict()
    torch.save(state, tmp_path / CHECKPOINT)
    with pytest.raises(InputError, match=r"checkpoint\.pt: the weights of a model of another size"):
        check_start(settings, tmp_path, settings.fingerprint())


def test_a_run_that_diverges_says_at_which_step_and_keeps_no_such_state(tmp_path: Path) -> None:
    settings = settings_of(training__learning_rate=1e30, training__checkpoint_every=1)
    with pytest.raises(DivergenceError, match=r"the loss is nan at step \d; lower the learning"):
        run(settings, periodic(2000), tmp_path)
    state = torch.load(tmp_path / CHECKPOINT, weights_only=True)
    assert all(math.isfinite(loss) for loss in state["losses"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"training__lengths": [32, 16]}, "lengths rise"),
        ({"training__lengths": [1]}, "two bases or more"),
        ({"training__lengths": []}, "two bases or more"),
        ({"training__lengths": [512]}, "holds no window of the last length"),
        ({"masking__masked": 0.9, "masking__random": 0.2}, "at most 1 together"),
        ({"objective": "both"}, "objective: both"),
    ],
)
def test_settings_that_cannot_work_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        settings_of(**changes)

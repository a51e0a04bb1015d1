"""Tracks: the right numbers on either strand, and no effect before training."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from hyena_ray.dataset.tokens import reverse_complement
from hyena_ray.errors import InputError
from hyena_ray.genome.signal_scale import TRACK_REACH
from hyena_ray.genome.untrained import g4hunter_values
from hyena_ray.model.baseline_models import DilatedCNN
from hyena_ray.model.build import build_model
from hyena_ray.model.configuration import DilatedCNNConfig, parse_config
from hyena_ray.model.input_tracks import (
    TRACKS,
    USUAL_FREQUENCIES,
    composition,
    dinucleotide_frequencies,
    look_up_zhunt,
    measure_tracks,
    track_channels,
    zhunt,
)
from hyena_ray.model.saved import load_window_model, save_window_model
from hyena_ray.model.settings import (
    LoraSettings,
    ModelSettings,
    Readout,
)
from hyena_ray.model.window import WindowModel
from hyena_ray.tasks import TASKS

READOUT = Readout(window=20, flank=8, lookahead=4, tracks=("zhunt", "g4hunter"))
STORED = 8 + TRACK_REACH["g4hunter"]
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


def other_strand(tokens: Tensor) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(reverse_complement(tokens.numpy())))


def codes_of(text: str) -> Tensor:
    return torch.tensor([["ACGTN".index(letter) for letter in text]])


def disturb(model: WindowModel) -> None:
    """Weights that a training would leave, in place of the first ones."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)


@given(st.text("ACGTN", min_size=1, max_size=60), st.integers(0, 7))
def test_composition_is_that_counted_letter_by_letter(text: str, radius: int) -> None:
    found = composition(codes_of(text), slice(0, len(text)), radius)[0]
    for base, (gc, cpg) in enumerate(found.tolist()):
        near = text[max(0, base - radius) : base + radius + 1]
        known, pairs = near.replace("N", ""), len(re.findall("(?=[ACGT][ACGT])", near))
        assert gc == pytest.approx(sum(c in "GC" for c in known) / max(len(known), 1))
        assert cpg == pytest.approx(near.count("CG") / max(pairs, 1))


@given(st.text("ACGTN", min_size=40, max_size=60), st.integers(1, 15))
def test_frequencies_of_dinucleotides_are_those_counted_one_by_one(text: str, radius: int) -> None:
    bases = slice(radius, len(text) - radius)
    found = dinucleotide_frequencies(codes_of(text), bases, radius)[0]
    for base, frequencies in zip(range(*bases.indices(len(text))), found.tolist(), strict=True):
        near = text[base - radius : base + radius + 1]
        pairs = [near[at : at + 2] for at in range(2 * radius)]
        known = [pair for pair in pairs if "N" not in pair]
        for name, frequency in zip(USUAL_FREQUENCIES, frequencies, strict=True):
            share = sum(pair in name.split("/") for pair in known) / max(len(known), 1)
            assert frequency == pytest.approx(share)


def test_surroundings_are_equal_on_both_strands_and_have_the_gc_content() -> None:
    tokens = torch.randint(7, 12, (2, 2 * 8192 + 30), dtype=torch.uint8)
    inner = slice(8192, 8192 + 30)
    found = measure_tracks(("surroundings",), tokens, inner)
    other = measure_tracks(("surroundings",), other_strand(tokens), inner)
    assert torch.equal(found, other.flip(1))
    tokens = torch.randint(7, 11, (2, 2 * 8192 + 30), dtype=torch.uint8)
    found = measure_tracks(("surroundings",), tokens, inner)
    of_gc = found[..., track_channels(("surroundings",)).index("GC within 8192")]
    gc, _ = composition(tokens.int() - 7, inner, 8192).unbind(-1)
    torch.testing.assert_close(of_gc * 0.083 + 0.456, gc, atol=1e-4, rtol=0)


@given(letters=st.text("ACGTN", min_size=80, max_size=80))
def test_g4hunter_is_the_best_mean_of_either_sign_over_the_windows_that_hold_a_base(
    letters: str,
) -> None:
    found = measure_tracks(("g4hunter",), codes_of(letters) + 7, slice(27, 53))[0].numpy()
    values = g4hunter_values(codes_of(letters).numpy().astype(np.uint8))[0]
    for row, base in enumerate(range(27, 53)):
        means = [values[first : first + 25].mean() for first in range(base - 24, base + 1)]
        np.testing.assert_allclose(found[row], [max(means), -min(means)], atol=1e-6)


@given(letters=st.lists(st.text("ACGTN", min_size=30, max_size=30), min_size=1, max_size=3))
def test_z_hunt_from_a_table_is_z_hunt(letters: list[str]) -> None:
    codes = torch.cat([codes_of(text) for text in letters])
    for dinucleotides in (1, 2, 3, 4):
        found = look_up_zhunt(codes, dinucleotides)
        assert torch.equal(found, zhunt(codes, dinucleotides))


@pytest.mark.parametrize("name", TRACKS)
@given(letters=st.text("ACGTN", min_size=20, max_size=20), data=st.data())
def test_a_track_depends_on_nothing_beyond_its_reach_and_not_on_where_a_row_begins(
    name: str, letters: str, data: st.DataObject
) -> None:
    reach = TRACK_REACH[name]
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    sides = ["".join(rng.choice(list("ACGT"), reach)) for _ in range(2)]
    inner = codes_of(sides[0] + letters + sides[1]) + 7
    beyond = [codes_of("".join(rng.choice(list("ACGTN"), 9))) + 7 for _ in range(2)]
    exact = measure_tracks((name,), inner, slice(reach, reach + 20))
    longer = torch.cat([beyond[0], inner, beyond[1]], 1)
    within = measure_tracks((name,), longer, slice(reach + 9, reach + 29))
    assert exact.shape == (1, 20, len(track_channels((name,))))
    torch.testing.assert_close(within, exact, atol=1e-6, rtol=0)


@pytest.mark.parametrize("architecture", NETWORKS)
def test_at_the_start_a_model_gives_what_it_gives_without(architecture: str) -> None:
    tokens = some_tokens()
    with_it = a_model(architecture)
    without = a_model(architecture, READOUT.updated({"tracks": []}, "test"))
    state = {
        name: value
        for name, value in with_it.state_dict().items()
        if "classifier.tracks." not in name
    }
    without.load_state_dict(state)
    torch.testing.assert_close(with_it(tokens), without(tokens))
    torch.testing.assert_close(with_it.predict(tokens), without.predict(tokens))


@pytest.mark.parametrize("architecture", NETWORKS)
def test_the_other_strand_gets_the_flipped_prediction(architecture: str) -> None:
    model = a_model(architecture)
    disturb(model)
    tokens = some_tokens()
    with torch.no_grad():
        assert torch.equal(model.predict(tokens), model.predict(other_strand(tokens)).flip(1))


@pytest.mark.parametrize("architecture", NETWORKS)
def test_attribution_sees_what_predictions_are_made_of(architecture: str) -> None:
    model = a_model(architecture)
    disturb(model)
    tokens = some_tokens()
    strands = [
        model.strand_logits(model.embed(*model.strand_input(own)), strand)
        for strand, own in enumerate(model.strands(tokens))
    ]
    torch.testing.assert_close(model.predict(tokens), (strands[0] + strands[1]) / 2)


def test_the_embedding_of_tracks_learns() -> None:
    model = a_model("hyenadna").train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    tokens = some_tokens(batch=8)
    for _ in range(2):  # the first step moves the silent layer off 0
        optimizer.zero_grad()
        model(tokens).square().mean().backward()
        optimizer.step()
    for name, parameter in model.named_parameters():
        if "classifier.tracks." in name:
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


def test_a_backbone_of_another_task_gives_all_but_head_and_tracks(tmp_path: Path) -> None:
    plain = a_model("hyenadna", READOUT.updated({"tracks": []}, "test"))
    save_window_model(plain, tmp_path / "model")
    settings = ModelSettings(backbone=str(tmp_path / "model"))
    model = build_model(settings, READOUT, LoraSettings(), TASKS["zdna"], seed=3).eval()
    found = model.state_dict()
    for name, value in plain.state_dict().items():
        if "hyena." in name:
            assert torch.equal(found[name], value), name
    assert not found["classifier.tracks.out_proj.weight"].any()


def test_flanks_shorter_than_the_tracks_need_are_refused() -> None:
    with pytest.raises(InputError, match=r"88: needs 90 bases \(window 20, and 35 on each side\)"):
        a_model("hyenadna")(some_tokens(34))


def test_tracks_belong_to_the_ids_of_a_classifier_that_reads_them() -> None:
    with_them = a_model("hyenadna").classifier
    without = a_model("hyenadna", READOUT.updated({"tracks": []}, "test")).classifier
    ids, tracks = some_tokens().long(), torch.zeros(3, 20 + 2 * STORED, 4)
    for call in (
        lambda: with_them(input_ids=ids),
        lambda: with_them(inputs_embeds=with_them.embed(ids, tracks), tracks=tracks),
        lambda: without(input_ids=ids, tracks=tracks),
    ):
        with pytest.raises(InputError, match="tracks belong to"):
            call()


@pytest.mark.parametrize("architecture", ["kmer_logistic", "rule"])
def test_models_without_embeddings_are_refused(architecture: str) -> None:
    with pytest.raises(InputError, match=rf"readout.tracks: zhunt,g4hunter: {architecture} has"):
        a_model(architecture)


def test_a_readout_has_the_tracks_of_its_classifier() -> None:
    classifier = a_model("dilated_cnn").classifier
    for tracks in ([], ["composition"], ["g4hunter", "zhunt"]):
        with pytest.raises(InputError, match=r"readout.tracks: .*reads zhunt,g4hunter"):
            WindowModel(classifier, READOUT.updated({"tracks": tracks}, "test"))


@pytest.mark.parametrize(
    "tracks", [5, None, "zhunt", ["No track"], [["zhunt"]], {"zhunt": 1}, ["zhunt"] * 2]
)
def test_tracks_in_a_damaged_configuration_are_refused(tracks: object) -> None:
    with pytest.raises(InputError, match="tracks"):
        DilatedCNN(parse_config(DilatedCNNConfig, {"tracks": tracks}, Path("config.json")))


def test_a_track_given_twice_or_without_a_name_is_refused() -> None:
    for names in (["zhunt", "zhunt"], ["Zhunt"]):
        with pytest.raises(InputError, match="tracks"):
            READOUT.updated({"tracks": names}, "test")

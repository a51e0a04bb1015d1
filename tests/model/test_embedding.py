"""Embeddings are hidden states of single sequences, whatever batch, length and strand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from hyena_ray.dataset.tokens import FIRST_BASE, N_TOKEN, encode
from hyena_ray.errors import InputError
from hyena_ray.model.build import build_model
from hyena_ray.model.embedding import cover_of, cut_cover, load_backbone
from hyena_ray.model.huggingface import HyenaDNAConfig, HyenaDNAForCausalLM, HyenaDNAModel
from hyena_ray.model.predictor import SequencePredictor
from hyena_ray.model.saved import save_window_model
from hyena_ray.model.settings import Architecture, LoraSettings, ModelSettings, Readout, Strands
from hyena_ray.model.window import WindowModel
from hyena_ray.tasks import TASKS

WINDOW, FLANK = 12, 5
SIZES = {
    "hyenadna": {"d_model": 8, "n_layer": 2},
    "dilated_cnn": {"channels": 8},
    "bilstm": {"channels": 8},
    "transformer": {"d_model": 8, "n_layer": 1, "n_head": 2},
    "nucleotide_transformer": {"d_model": 8, "n_layer": 1, "n_head": 2},
}
LETTERS = {"A": "T", "C": "G", "G": "C", "T": "A", "N": "N"}


def model_of(architecture: Architecture, task: str = "zdna") -> WindowModel:
    flank = FLANK if task == "zdna" else 0
    readout = Readout(window=WINDOW, flank=flank, lookahead=min(flank, 3))
    settings = ModelSettings(architecture=architecture, **SIZES.get(architecture, {}))  # type: ignore[arg-type]
    return build_model(settings, readout, LoraSettings(), TASKS[task], seed=0).eval()


def brute_force(model: WindowModel, sequence: str, strands: Strands) -> NDArray[np.float32]:
    """Read one window at a time, letter by letter, and look the states of the bases up."""
    flank = model.readout.flank
    windows = -(-len(sequence) // WINDOW)
    before = (windows * WINDOW - len(sequence)) // 2
    padded = "N" * (before + flank) + sequence + "N" * (windows * WINDOW + flank)
    states = []
    for number in range(windows):
        text = padded[number * WINDOW : (number + 1) * WINDOW + 2 * flank]
        by_strand = []
        for own in [text, "".join(LETTERS[letter] for letter in reversed(text))]:
            ids = torch.tensor([[("ACGTN".index(letter)) + FIRST_BASE for letter in own]])
            ids = ids[:, : flank + WINDOW + model.right]
            with torch.inference_mode():
                output = model.classifier(input_ids=ids).hidden_states[-1]
            by_strand.append(output[0, flank : flank + WINDOW].numpy())
        both = (by_strand[0] + by_strand[1][::-1]) / 2
        states.append(by_strand[0] if strands == "forward" else both)
    found: NDArray[np.float32] = np.concatenate(states)[before : before + len(sequence)]
    return found


@pytest.mark.parametrize("architecture", SIZES)
@pytest.mark.parametrize("strands", ["forward", "both"])
def test_embeddings_are_those_of_a_loop_over_single_windows(
    architecture: Architecture, strands: Strands
) -> None:
    model = model_of(architecture)
    predictor = SequencePredictor(model, "test")
    rng = np.random.default_rng(0)
    lengths = (1, 5, WINDOW, WINDOW + 1, 3 * WINDOW, 40)
    sequences = ["".join(rng.choice(list("ACGTN"), size)) for size in lengths]
    bases = predictor.embed(sequences, per="base", strands=strands)
    means = predictor.embed(sequences, strands=strands)
    for sequence, own, mean in zip(sequences, bases, means, strict=True):
        expected = brute_force(model, sequence, strands)
        np.testing.assert_allclose(own, expected, atol=1e-5)
        np.testing.assert_allclose(mean, expected.mean(axis=0), atol=1e-5)
        assert own.dtype == mean.dtype == np.float32
        np.testing.assert_array_equal(predictor.embed(sequence, strands=strands), mean)


@given(st.lists(st.integers(0, 3), min_size=1, max_size=40), st.integers(1, 15), st.integers(0, 6))
def test_windows_hold_every_base_once_in_order_and_their_real_neighbours(
    bases: list[int], window: int, flank: int
) -> None:
    start, end = len(bases) // 3, max(len(bases) // 3 + 1, len(bases) - len(bases) // 4)
    cover = cover_of(start, end, window)
    assert (cover.end - cover.start) % window == 0
    assert cover.end - cover.start - window < end - start <= cover.end - cover.start
    assert 0 <= (cover.end - end) - (start - cover.start) <= 1
    tokens = np.array(bases, np.uint8) + np.uint8(FIRST_BASE)
    cut = cut_cover(tokens, 0, cover, window, flank)
    for number, own in enumerate(cut):
        for place, token in enumerate(own.tolist()):
            base = cover.start + number * window + place - flank
            assert token == (tokens[base] if 0 <= base < len(bases) else N_TOKEN)
    levels = np.stack([tokens, tokens % 5], axis=1)
    with_levels = cut_cover(levels, 0, cover, window, flank)
    np.testing.assert_array_equal(with_levels[..., 0], cut)
    np.testing.assert_array_equal(with_levels[..., 1], np.where(cut == N_TOKEN, 0, cut % 5))


def test_the_reverse_complement_has_the_same_embeddings_backwards() -> None:
    predictor = SequencePredictor(model_of("hyenadna"), "test")
    sequence = "ACGGTTACGCGTAA"
    opposite = "".join(LETTERS[letter] for letter in reversed(sequence))
    given = predictor.embed(sequence, per="base")
    np.testing.assert_allclose(predictor.embed(opposite, per="base")[::-1], given, atol=1e-6)
    forward = predictor.embed(sequence, per="base", strands="forward")
    assert np.abs(forward - given).max() > 1e-3


def test_a_model_of_sequences_embeds_them_too() -> None:
    model = model_of("hyenadna", "promoter")
    sequence = "ACGGTTACGCGT"
    found = SequencePredictor(model, "test").embed(sequence, per="base", strands="forward")
    with torch.inference_mode():
        ids = torch.from_numpy(encode(sequence)[None]).long()
        expected = model.classifier(input_ids=ids).hidden_states[-1][0, :WINDOW]
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_backbone_by_itself_has_the_states_of_transformers(tmp_path: Path) -> None:
    config = HyenaDNAConfig(d_model=8, d_inner=32, n_layer=1, max_seq_len=64, filter_order=8)
    HyenaDNAForCausalLM(config).save_pretrained(tmp_path)
    model = load_backbone(tmp_path)
    assert (model.readout.window, model.readout.flank) == (64, 0)  # all that it reads
    sequence = "ACGTTGCA" * 8
    found = SequencePredictor(model, "test").embed(sequence, per="base", strands="forward")
    with torch.inference_mode():
        ids = torch.from_numpy(encode(sequence)[None]).long()
        expected = HyenaDNAModel.from_pretrained(tmp_path)(ids).last_hidden_state[0]
    np.testing.assert_allclose(found, expected, atol=1e-5)
    with pytest.raises(InputError, match=r"--window: 65: the backbone reads 1 to 64 bases"):
        load_backbone(tmp_path, window=65)


def test_a_transformer_by_itself_has_the_states_of_its_model(tmp_path: Path) -> None:
    model = model_of("transformer")
    save_window_model(model, tmp_path / "model")
    alone = load_backbone(tmp_path / "model", window=WINDOW + 2 * FLANK)
    sequence = "ACGTTGCACCGATTAGGCCAAT"
    found = SequencePredictor(alone, "test").embed(sequence, per="base", strands="forward")
    with torch.inference_mode():
        ids = torch.from_numpy(encode(sequence)[None]).long()
        expected = model.classifier(input_ids=ids).hidden_states[-1][0]
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("architecture", ["rule", "zhunt", "kmer_logistic", "trees"])
def test_a_model_without_hidden_states_is_refused_with_the_reason(
    architecture: Architecture,
) -> None:
    predictor = SequencePredictor(model_of(architecture), "here")
    with pytest.raises(InputError, match=r"model: here: .* it has no hidden states; give a model"):
        predictor.embed("ACGT")


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({"sequence": ""}, "sequence: is empty"),
        ({"sequence": ["ACGT", "ACXT"]}, "sequence 2"),
        ({"sequence": 7}, "sequence: .*neither text nor a list"),
        ({"sequence": "ACGT", "per": "region"}, "per: region: is none of sequence, base"),
        ({"sequence": "ACGT", "strands": "reverse"}, "strands: reverse: is none of forward, both"),
        ({"sequence": "ACGT", "tracks": {"dnase": [1]}}, "does not read that track"),
    ],
)
def test_what_cannot_be_embedded_is_refused(given: dict[str, object], line: str) -> None:
    with pytest.raises(InputError, match=line):
        SequencePredictor(model_of("dilated_cnn"), "test").embed(**given)  # type: ignore[call-overload]

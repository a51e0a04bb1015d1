"""Signal tracks as inputs of models: equal on both strands, with the scale of the training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import AutoModelForTokenClassification

from hyena_ray.dataset.tokens import codes_to_tokens, encode, ids_of, tokens_to_codes
from hyena_ray.errors import InputError
from hyena_ray.genome.signal_scale import LEVELS, SignalScale
from hyena_ray.model.build import build_model
from hyena_ray.model.ensemble import Ensemble, scorer_of
from hyena_ray.model.fitted_baseline import SIGNAL_RADII, FittedBaseline, measure_signals
from hyena_ray.model.huggingface import (
    BiLSTMClassifier,
    BoostedTreesClassifier,
    DilatedCNNClassifier,
    HyenaDNAForTokenClassification,
)
from hyena_ray.model.input_tracks import measure_tracks, track_channels
from hyena_ray.model.predictor import ContigSlice, Scorer, SequencePredictor, probabilities
from hyena_ray.model.saved import load_window_model, model_sha256, save_window_model
from hyena_ray.model.settings import LoraSettings, ModelSettings, Readout, refuse_unused
from hyena_ray.model.window import WindowModel, reverse_complement
from hyena_ray.tasks import TASKS
from hyena_ray.training.augmentation import Changes, crop
from tests.fake_graphs import FakeGraphs

NETWORKS = ["hyenadna", "dilated_cnn", "bilstm"]
READERS = [*NETWORKS, "trees"]
HUB_CLASSES = {
    "hyenadna": HyenaDNAForTokenClassification,
    "dilated_cnn": DilatedCNNClassifier,
    "bilstm": BiLSTMClassifier,
    "trees": BoostedTreesClassifier,
}
WINDOW, FLANK = 20, 8


def a_scale(name: str = "dnase", number: int = 1, **changes: float) -> SignalScale:
    values = {"spread": 2.0, "low": -1.0, "high": 3.0, "mean": 0.4, "sd": 0.7} | changes
    return SignalScale(name=name, number=number, **values)


def a_readout(*tracks: str, **changes: object) -> Readout:
    given = {"dnase": a_scale(), "pol2": a_scale("pol2", 0, spread=0.1)}
    scales = tuple(given[name] for name in tracks if name in given)
    sizes = {"window": WINDOW, "flank": FLANK, "lookahead": 4}
    return Readout(**sizes, tracks=tracks, scales=scales).updated(changes, "test")


def a_model(architecture: str, *tracks: str, seed: int = 3) -> WindowModel:
    """A model whose prediction depends on all that it reads."""
    settings = ModelSettings.parse(
        {"architecture": architecture, "d_model": 16, "channels": 8, "trees": 20}, "test"
    )
    model = build_model(
        settings, a_readout(*(tracks or ("dnase",))), LoraSettings(), TASKS["zdna"], seed=seed
    )
    generator = torch.Generator().manual_seed(seed)
    if architecture == "trees":
        fit_trees(model)
    else:
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.1)
    return model.eval()


def fit_trees(model: WindowModel) -> None:
    """Fit trees to labels that only the track knows."""
    tokens = some_tokens(batch=60)
    given = model.strand_input(tokens)
    assert given.tracks is not None
    bases = slice(model.left, model.left + WINDOW)
    labels = (given.tracks[:, bases, 0] > 0).to(torch.int8)
    assert isinstance(model.classifier, FittedBaseline)
    windows = [(given.ids, labels, given.tracks)]
    model.classifier.fit(0, windows, bases, torch.ones(2), seed=0)


def some_tokens(stored: int = FLANK, batch: int = 3, tracks: int = 2, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    shape = (batch, WINDOW + 2 * stored)
    ids = torch.randint(7, 11, (*shape, 1), generator=generator, dtype=torch.uint8)
    levels = torch.randint(0, 256, (*shape, tracks), generator=generator, dtype=torch.uint8)
    levels *= torch.rand(levels.shape, generator=generator) < 0.9
    return torch.cat((ids, levels), -1)


def turned(tokens: Tensor) -> Tensor:
    """The other strand, base by base."""
    rows = []
    for row in tokens.tolist():
        rows.append([[17 - base[0], *base[1:]] for base in reversed(row)])
    return torch.tensor(rows, dtype=tokens.dtype)


def test_a_track_has_the_value_of_its_level() -> None:
    tokens, scale = some_tokens(), a_scale()
    found = measure_tracks(("dnase",), tokens, slice(3, 9), (scale,))[..., 0]
    for row, values in zip(tokens[:, 3:9, 2].tolist(), found.tolist(), strict=True):
        for level, value in zip(row, values, strict=True):
            compressed = -1 + (level - 1) * 4 / (LEVELS - 1)
            expected = (compressed - 0.4) / 0.7 if level else 0
            assert value == pytest.approx(expected, abs=1e-5)


def test_tracks_of_a_user_and_of_the_letters_are_channels_in_the_order_asked_for() -> None:
    names = ("pol2", "zhunt", "dnase")
    scales = (a_scale("pol2", 0), a_scale("dnase", 1))
    tokens, bases = some_tokens(stored=20), slice(15, 30)
    together = measure_tracks(names, tokens, bases, scales)
    assert together.shape[-1] == len(track_channels(names)) == 4
    parts = [measure_tracks((name,), tokens, bases, scales) for name in names]
    assert torch.equal(together, torch.cat(parts, -1))
    assert torch.equal(parts[1], measure_tracks(("zhunt",), ids_of(tokens), bases))


def test_the_level_of_a_base_stays_with_it_on_the_other_strand() -> None:
    tokens = some_tokens()
    assert torch.equal(reverse_complement(tokens), turned(tokens))
    assert torch.equal(reverse_complement(reverse_complement(tokens)), tokens)


@pytest.mark.parametrize("architecture", READERS)
def test_the_other_strand_gets_the_flipped_prediction(architecture: str) -> None:
    model, tokens = a_model(architecture), some_tokens()
    with torch.no_grad():
        assert torch.equal(model.predict(tokens), model.predict(turned(tokens)).flip(1))


@pytest.mark.parametrize("architecture", READERS)
def test_a_model_reads_its_own_track_and_no_other(architecture: str) -> None:
    model, tokens = a_model(architecture), some_tokens()
    with torch.no_grad():
        before = model.predict(tokens)
        for column, matters in ((1, False), (2, True)):
            other = tokens.clone()
            other[..., column] = 255 - other[..., column]
            assert torch.equal(model.predict(other), before) != matters


@pytest.mark.parametrize("architecture", NETWORKS)
def test_a_model_without_tracks_reads_data_that_have_some(architecture: str) -> None:
    settings = ModelSettings.parse(
        {"architecture": architecture, "d_model": 16, "channels": 8}, "test"
    )
    readout = a_readout()
    model = build_model(settings, readout, LoraSettings(), TASKS["zdna"], seed=3).eval()
    tokens = some_tokens()
    with torch.no_grad():
        assert torch.equal(model.predict(tokens), model.predict(ids_of(tokens)))


@pytest.mark.parametrize("architecture", READERS)
def test_windows_without_the_track_are_refused(architecture: str) -> None:
    model, tokens = a_model(architecture), some_tokens()
    for without in (ids_of(tokens), tokens[..., :2]):
        with pytest.raises(InputError, match="lack a track"):
            model.predict(without)


@pytest.mark.parametrize("architecture", READERS)
def test_a_saved_model_has_its_scale_and_predicts_the_same(
    architecture: str, tmp_path: Path
) -> None:
    model, tokens = a_model(architecture), some_tokens()
    save_window_model(model, tmp_path / "model")
    again = load_window_model(tmp_path / "model")
    assert again.readout == model.readout
    assert again.readout.scales == (a_scale(),)
    assert model_sha256(again) == model_sha256(model)
    with torch.no_grad():
        torch.testing.assert_close(again.predict(tokens), model.predict(tokens))


@pytest.mark.parametrize("architecture", READERS)
def test_transformers_reads_the_classifier_of_a_saved_model(
    architecture: str, tmp_path: Path
) -> None:
    model = a_model(architecture)
    save_window_model(model, tmp_path / "model")
    classifier = AutoModelForTokenClassification.from_pretrained(tmp_path / "model").eval()
    assert isinstance(classifier, HUB_CLASSES[architecture])
    ids, tracks = model.strand_input(some_tokens())
    with torch.no_grad():
        expected = model.classifier(input_ids=ids, tracks=tracks).logits
        torch.testing.assert_close(classifier(input_ids=ids, tracks=tracks).logits, expected)


def test_the_scale_is_part_of_what_a_model_is() -> None:
    model = a_model("dilated_cnn")
    before = model_sha256(model)
    model.readout = model.readout.model_copy(update={"scales": (a_scale(mean=0.5),)})
    assert model_sha256(model) != before


def test_a_readout_without_signal_tracks_is_stored_as_before() -> None:
    assert "scales" not in a_readout("zhunt").model_dump(mode="json")


def test_a_model_needs_the_scale_of_each_of_its_tracks() -> None:
    classifier = a_model("dilated_cnn", "dnase", "zhunt", "pol2").classifier
    readout = a_readout("dnase", "zhunt", "pol2")
    for scales in ((), readout.scales[:1], readout.scales[::-1], readout.scales * 2):
        with pytest.raises(InputError, match=r"readout\.scales"):
            WindowModel(classifier, readout.model_copy(update={"scales": scales}))


@pytest.mark.parametrize(
    ("architecture", "tracks", "fits"),
    [
        ("trees", ("dnase",), True),
        ("trees", ("dnase", "zhunt"), False),
        ("kmer_logistic", ("dnase",), False),
        ("rule", ("dnase",), False),
        ("zhunt", ("dnase",), False),
        ("bilstm", ("dnase", "zhunt"), True),
    ],
)
def test_tracks_that_an_architecture_cannot_read_are_refused(
    architecture: str, tracks: tuple[str, ...], fits: bool
) -> None:
    settings = ModelSettings.parse({"architecture": architecture}, "test")
    if fits:
        refuse_unused(settings, tracks, "test")
    else:
        with pytest.raises(InputError, match=r"readout\.tracks"):
            refuse_unused(settings, tracks, "test")


def test_trees_see_a_base_and_the_means_around_it() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(2, 1300, 2)).astype(np.float32)
    found = measure_signals(values, slice(0, 1300))
    for base in (0, 3, 49, 600, 1299):
        expected = [values[:, base]]
        for radius in SIGNAL_RADII:
            near = values[:, max(0, base - radius) : base + radius + 1]
            expected.append(near.mean(1))
        np.testing.assert_allclose(found[:, base], np.concatenate(expected, -1), atol=2e-6)
    other = measure_signals(np.ascontiguousarray(values[:, ::-1]), slice(0, 1300))
    assert np.array_equal(found, other[:, ::-1])


def test_crops_and_strands_of_training_keep_levels_with_their_bases() -> None:
    tokens = some_tokens(batch=4)
    labels = torch.randint(0, 2, (4, WINDOW), dtype=torch.int8)
    offsets, flags = np.array([0, 3, 1, 2]), np.array([True, False, True, False])
    made, _ = Changes(removed=3, offsets=offsets, turned=flags).make(tokens, labels)
    for row, (offset, flag) in enumerate(zip(offsets.tolist(), flags.tolist(), strict=True)):
        own = tokens[row : row + 1, offset : offset + tokens.shape[1] - 3]
        assert torch.equal(made[row : row + 1], turned(own) if flag else own)
    assert crop(tokens, torch.tensor(offsets), 3).shape == (4, tokens.shape[1] - 3, 3)


# Prediction.


LETTERS = "".join(np.random.default_rng(5).choice(list("ACGTN"), 90, p=[0.24] * 4 + [0.04]))
SIGNAL = np.random.default_rng(6).normal(size=90)
SIGNAL[10:20] = np.nan


@pytest.mark.parametrize("architecture", READERS)
def test_every_base_of_a_sequence_is_scored_as_in_windows_of_its_levels(architecture: str) -> None:
    model = a_model(architecture)
    predictor = SequencePredictor(model, "test")
    found = np.asarray(predictor.predict(LETTERS, stride=WINDOW, tracks={"dnase": SIGNAL}))
    ids = np.pad(encode(LETTERS), (FLANK, FLANK), constant_values=11)
    levels = np.pad(a_scale().encode(SIGNAL), (FLANK, FLANK))
    tokens = np.stack((ids, np.full_like(levels, 77), levels), -1)
    starts = [*range(0, 80, WINDOW)]
    windows = np.stack([tokens[at : at + WINDOW + 2 * FLANK] for at in starts])
    expected = probabilities(model, torch.from_numpy(windows)).numpy().ravel()
    known = np.array([letter != "N" for letter in LETTERS[:70]])
    # The last window of the sequence begins at 70, and shares bases with the one before it.
    np.testing.assert_allclose(found[:70][known], expected[:70][known], atol=2e-6)
    assert np.array_equal(np.isnan(found), [letter == "N" for letter in LETTERS])
    both = predictor.predict([LETTERS, LETTERS], stride=WINDOW, tracks=[{"dnase": SIGNAL}] * 2)
    for one in both:
        np.testing.assert_array_equal(one, found)
    regions = predictor.predict_regions(LETTERS, tracks={"dnase": SIGNAL}, threshold=0.0)
    assert regions


def test_pieces_of_a_contig_are_scored_as_the_whole() -> None:
    model = a_model("dilated_cnn")
    codes, levels = tokens_to_codes(encode(LETTERS)), np.zeros((90, 2), np.uint8)
    levels[:, 1] = a_scale().encode(SIGNAL)
    with Scorer(model) as scorer:
        whole = scorer.score(ContigSlice(0, codes, levels), 90, 0, 90, step=10)
        for first, last in ((0, 30), (30, 75), (75, 90)):
            begin, end = max(0, first - 40), min(90, last + 40)
            piece = ContigSlice(begin, codes[begin:end], levels[begin:end])
            part = scorer.score(piece, 90, first, last, step=10)
            np.testing.assert_array_equal(part, whole[first:last])


def test_passes_that_are_replayed_score_as_those_that_are_run() -> None:
    model, rng = a_model("dilated_cnn"), np.random.default_rng(3)
    bases = ContigSlice(
        0,
        rng.integers(0, 4, 3000, dtype=np.uint8),
        rng.integers(0, 256, (3000, 2)).astype(np.uint8),
    )
    with Scorer(model, 16) as plain, Scorer(model, 16, FakeGraphs()) as replayed:
        one, other = (some.score(bases, 3000, 0, 3000, step=10) for some in (plain, replayed))
    np.testing.assert_allclose(other, one, atol=2e-6)


def test_tracks_that_do_not_fit_the_model_or_the_sequence_are_refused() -> None:
    predictor = SequencePredictor(a_model("dilated_cnn"), "test")
    plain = build_model(
        ModelSettings(architecture="dilated_cnn", channels=8),
        a_readout(),
        LoraSettings(),
        TASKS["zdna"],
        seed=0,
    )
    for tracks, problem in (
        (None, "reads dnase, which is not given"),
        ({}, "reads dnase, which is not given"),
        ({"dnase": SIGNAL, "pol2": SIGNAL}, "pol2: the model does not read"),
        ({"dnase": SIGNAL[1:]}, "the sequence has 90 bases"),
        ({"dnase": np.full(90, np.inf)}, "infinite"),
    ):
        with pytest.raises(InputError, match=problem) as error:
            predictor.predict(LETTERS, tracks=tracks)
        assert len(error.value.lines) == 1
    with pytest.raises(InputError, match="for each of 2"):
        predictor.predict([LETTERS, LETTERS], tracks=[{"dnase": SIGNAL}])
    with pytest.raises(InputError, match="but none"):
        SequencePredictor(plain, "test").predict(LETTERS, tracks={"dnase": SIGNAL})


def test_members_of_an_ensemble_read_their_own_tracks() -> None:
    first, second = a_model("dilated_cnn"), a_model("bilstm", "pol2", "dnase")
    ensemble, tokens = Ensemble([first, second]).eval(), some_tokens()
    assert {scale.name for scale in ensemble.readout.scales} == {"dnase", "pol2"}
    with torch.inference_mode():
        each = torch.stack([probabilities(member, tokens) for member in (first, second)])
        torch.testing.assert_close(probabilities(ensemble, tokens), each.mean(0))


def test_members_that_were_trained_on_other_tracks_are_refused() -> None:
    first, second = a_model("dilated_cnn"), a_model("bilstm")
    other = a_scale(sd=0.8)
    second.readout = second.readout.model_copy(update={"scales": (other,)})
    with pytest.raises(InputError, match="trained on other tracks"):
        scorer_of([first, second], [Path("a"), Path("b")])


def test_ids_of_codes_have_no_levels() -> None:
    codes = np.zeros((2, 5), np.uint8)
    assert ids_of(codes_to_tokens(codes)).shape == (2, 5)

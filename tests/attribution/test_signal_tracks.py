"""Signal tracks in attribution: a path goes from no value to the value of the base."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hyena_ray.attribution.engine import attribute_windows
from hyena_ray.attribution.path_baselines import make_baselines, sequence_keys
from hyena_ray.attribution.sanity_checks import faithfulness
from hyena_ray.attribution.settings import AttributionSettings
from hyena_ray.attribution.targets import trim_tokens
from hyena_ray.dataset.schema import Windows
from hyena_ray.dataset.tokens import ids_of, with_levels
from hyena_ray.genome.signal_scale import SignalScale
from hyena_ray.model.build import build_model
from hyena_ray.model.settings import LoraSettings, ModelSettings, Readout
from hyena_ray.model.window import WindowModel
from hyena_ray.tasks import TASKS
from tests.attribution.small_model import FLANK, WINDOW, draw_windows, hyenadna

SCALE = SignalScale(name="dnase", number=1, spread=1.0, low=0.0, high=4.0, mean=1.0, sd=1.0)


def settings(**changes: object) -> AttributionSettings:
    values = {"batch": 150, "steps": 8, "tolerance": None, "shuffles": 2, "methods": ["ig"]}
    return AttributionSettings.parse(values | changes, "test")


def a_model(seed: int = 0) -> WindowModel:
    """HyenaDNA whose logits depend on letters and on the second track of the data."""
    model = build_model(
        ModelSettings(d_model=16, n_layer=2, max_seq_len=66, head="lookahead"),
        Readout(window=WINDOW, flank=FLANK, lookahead=4, tracks=("dnase",), scales=(SCALE,)),
        LoraSettings(),
        TASKS["zdna"],
        seed=seed,
    )
    model.load_state_dict(hyenadna(seed=seed, flank=FLANK).state_dict(), strict=False)
    generator = torch.Generator().manual_seed(seed)
    embedding = model.classifier.tracks
    assert embedding is not None
    with torch.no_grad():
        for parameter in embedding.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.5)
    model.threshold = 0.0
    return model


def tracked_windows(seed: int = 0) -> Windows:
    windows, rng = draw_windows(9), np.random.default_rng(seed)
    levels = rng.integers(0, 256, (*windows.tokens.shape, 2)).astype(np.uint8)
    return windows._replace(tokens=with_levels(windows.tokens, levels))


@pytest.mark.parametrize("baseline", ["shuffle", "n", "zero"])
def test_the_scores_of_a_path_add_up_with_the_tracks(baseline: str) -> None:
    model, windows = a_model(), tracked_windows()
    found = attribute_windows(model, windows, settings(baseline=baseline, steps=200))
    rows = found.true_positive.any(axis=1)
    integral = found.integrals["ig"]
    assert rows.any()
    assert np.median(integral.completeness[rows]) < 0.02
    assert ((integral.tracks[rows] > 0) & (integral.tracks[rows] < 1)).all()


@pytest.mark.parametrize("baseline", ["shuffle", "n"])
def test_a_baseline_has_no_value_in_any_track(baseline: str) -> None:
    tokens = tracked_windows().tokens
    keys = sequence_keys(tokens)
    read, cpu = slice(0, tokens.shape[1]), torch.device("cpu")
    made = make_baselines(tokens, read, keys, settings(baseline=baseline), cpu)
    letters = make_baselines(ids_of(tokens), read, keys, settings(baseline=baseline), cpu)
    for one, other in zip(made, letters, strict=True):
        assert one.shape == tokens.shape
        assert not one[..., 1:].any()
        assert torch.equal(ids_of(one), other)


def test_a_model_that_hears_nothing_of_its_track_scores_letters_as_without() -> None:
    windows, deaf = tracked_windows(), a_model()
    assert deaf.classifier.tracks is not None
    for parameter in deaf.classifier.tracks.parameters():
        torch.nn.init.zeros_(parameter)
    plain = hyenadna(flank=FLANK)
    plain.load_state_dict({n: v for n, v in deaf.state_dict().items() if ".tracks." not in n})
    plain.threshold = 0.0
    letters = windows._replace(tokens=ids_of(windows.tokens))
    for methods in (["ig"], ["ism"]):
        # Shuffles belong to what is read, and levels are read by one of the two alone.
        chosen = settings(methods=methods, baseline="n")
        with_levels_, without = (
            attribute_windows(model, some, chosen).scores[methods[0]]
            for model, some in ((deaf, windows), (plain, letters))
        )
        np.testing.assert_allclose(with_levels_, without, atol=1e-6)
    # What a model does not read changes no draw.
    one, other = (attribute_windows(plain, some, settings()) for some in (windows, letters))
    np.testing.assert_array_equal(one.scores["ig"], other.scores["ig"])


def test_a_model_of_the_track_alone_has_all_of_its_scores_from_it() -> None:
    model, windows = a_model(), tracked_windows()
    torch.nn.init.zeros_(model.classifier.get_input_embeddings().weight)
    found = attribute_windows(model, windows, settings(methods=["ig", "ism"]))
    rows = found.true_positive.any(axis=1)
    np.testing.assert_allclose(found.integrals["ig"].tracks[rows], 1)
    np.testing.assert_allclose(found.scores["ism"][rows], 0, atol=1e-6)


def test_windows_of_equal_letters_and_other_levels_have_scores_of_their_own() -> None:
    model, windows = a_model(), tracked_windows()
    windows.tokens[1] = windows.tokens[2]
    windows.labels[1] = windows.labels[2]
    alike = attribute_windows(model, windows, settings(baseline="n")).scores["ig"]
    np.testing.assert_array_equal(alike[1], alike[2])
    windows.tokens[1, :, 2] = 255 - windows.tokens[1, :, 2]
    apart = attribute_windows(model, windows, settings(baseline="n")).scores["ig"]
    assert not np.allclose(apart[1], apart[2], equal_nan=True)


def test_tracks_that_a_model_does_not_read_change_no_score() -> None:
    model, windows = a_model(), tracked_windows()
    other = windows._replace(tokens=windows.tokens.copy())
    other.tokens[..., 1] += 1
    np.testing.assert_array_equal(trim_tokens(model, windows), trim_tokens(model, other))
    one, two = (
        attribute_windows(model, some, settings()).scores["ig"] for some in (windows, other)
    )
    np.testing.assert_array_equal(one, two)


def test_a_deleted_base_loses_its_value_too() -> None:
    """A model that reads nothing but the track would not change if letters alone were deleted."""
    model, windows = a_model(), tracked_windows()
    torch.nn.init.zeros_(model.classifier.get_input_embeddings().weight)
    found = attribute_windows(model, windows, settings())
    rows = np.flatnonzero(found.true_positive.any(axis=1))
    curves = faithfulness(
        model.eval(),
        windows.rows(rows),
        found.true_positive[rows],
        found.scores["ig"][rows],
        settings(),
    )
    np.testing.assert_allclose(curves.deletion[[0, -1]], [1, 0], atol=1e-6)
    assert curves.areas[0] < curves.areas[1]

"""The trees give XGBoost's probabilities, and their features are what they are called."""

from __future__ import annotations

import json
import math
import re
from itertools import groupby
from pathlib import Path

import numpy as np
import pytest
import torch
import xgboost
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from hyena_ray.dataset.tokens import codes_to_tokens, encode, tokens_to_codes
from hyena_ray.errors import InputError
from hyena_ray.genome.untrained import zhunt_scores
from hyena_ray.model.boosted_trees import BoostedTrees, TreeEnsemble
from hyena_ray.model.build import build_model
from hyena_ray.model.configuration import BoostedTreesConfig
from hyena_ray.model.input_tracks import COMPOSITION_RADII, composition
from hyena_ray.model.perfect_trees import ALWAYS_LEFT, perfect_trees
from hyena_ray.model.saved import load_window_model, save_window_model
from hyena_ray.model.settings import TREES_MEASURE, LoraSettings, ModelSettings, Readout
from hyena_ray.model.tree_features import DINUCLEOTIDES, FAR, FEATURE_SETS
from hyena_ray.tasks import TASKS

sequences = st.text("ACGTN", min_size=1, max_size=60)


def codes_of(sequence: str) -> NDArray[np.uint8]:
    return tokens_to_codes(encode(sequence))[None]


def random_codes(rows: int, length: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 4, (rows, length), dtype=np.uint8)


def features_of(task: str, sequence: str) -> dict[str, list[float]]:
    """Return every feature of every base by name."""
    found = FEATURE_SETS[task].measure(codes_of(sequence), slice(0, len(sequence)))[0]
    return dict(zip(FEATURE_SETS[task].names, found.T.tolist(), strict=True))


# Trees.


@pytest.mark.parametrize("depth", [1, 3, 6, 8])
@pytest.mark.parametrize("weighted", [False, True])
def test_the_trees_give_the_probabilities_of_xgboost(depth: int, weighted: bool) -> None:
    rng = np.random.default_rng(depth)
    rows = rng.normal(size=(3000, 5)).astype(np.float32)
    rows[:, 1] = np.round(rows[:, 1], 1)  # ties
    rows[:, 2] *= 1e5
    chance = 1 / (1 + np.exp(-3 * rows[:, 0] * rows[:, 1] - (rows[:, 2] > 2e4)))
    labels = rng.random(3000) < chance
    weights = np.where(labels, 2.0, 0.7) if weighted else None
    options = {"objective": "binary:logistic", "base_score": 0.3, "max_depth": depth}
    theirs = xgboost.train(
        options | {"subsample": 0.5, "seed": 0, "nthread": 1},
        xgboost.QuantileDMatrix(rows, labels, weight=weights),
        num_boost_round=30,
    )
    ours = TreeEnsemble(30, depth)
    ours.fill(perfect_trees(json.loads(theirs.save_raw("json")), depth), math.log(0.3 / 0.7))
    # Also on the float32s next to each threshold.
    limits = ours.threshold.numpy().reshape(-1, 1)
    limits = limits[limits[:, 0] < ALWAYS_LEFT]
    edges = np.repeat(np.concatenate([limits, np.nextafter(limits, np.float32(np.inf))]), 5, 1)
    for given_rows in (rows, edges):
        found = ours(torch.from_numpy(given_rows))[:, 0].sigmoid().detach().numpy()
        np.testing.assert_allclose(found, theirs.inplace_predict(given_rows), atol=1e-6)


def test_trees_have_any_shape_of_rows_and_no_effect_at_first() -> None:
    trees = TreeEnsemble(3, 2)
    assert trees(torch.randn(2, 7, 4)).shape == (2, 7, 1)
    assert not trees(torch.randn(2, 7, 4)).any()


def fitted(task: str, codes: NDArray[np.uint8], labels: NDArray[np.int8]) -> BoostedTrees:
    config = BoostedTreesConfig(features=task, trees=20, depth=4, shrinkage=0.3, smallest_leaf=1)
    model = BoostedTrees(config)
    windows = [(torch.from_numpy(codes_to_tokens(codes)), torch.from_numpy(labels))]
    model.fit(0, windows, slice(0, codes.shape[1]), torch.tensor([0.7, 2.0]), seed=0)
    return model.eval()


PLANTED = {"zdna": "CGCGCGCGCGCGCG", "g4": "GGGTTAGGGTTAGGGTTAGGG"}


@pytest.mark.parametrize("task", PLANTED)
def test_planted_regions_are_learnt_from_a_few_windows(task: str) -> None:
    motif = codes_of(PLANTED[task])[0]
    codes, labels = random_codes(200, 90), np.zeros((200, 90), np.int8)
    for row in range(0, 200, 2):
        at = 10 + row // 4
        if at + len(motif) <= 90:
            codes[row, at : at + len(motif)], labels[row, at : at + len(motif)] = motif, 1
    model = fitted(task, codes[:100], labels[:100])
    ids = torch.from_numpy(codes_to_tokens(codes[100:]).astype(np.int64))
    called = (model(ids).logits.argmax(-1) == 1).numpy()
    truth = labels[100:] == 1
    assert (called & truth).sum() > 0.9 * truth.sum()
    assert (called & ~truth).sum() < 0.1 * truth.sum()


def test_bases_that_do_not_count_have_no_part_in_a_fit() -> None:
    codes = random_codes(40, 60)
    labels = (zhunt_scores(codes) > 100).astype(np.int8)
    labels[:, 30:] = -100
    codes_and_more = np.concatenate([codes, random_codes(5, 60, seed=9)])
    more = np.concatenate([labels, np.full((5, 60), -100, np.int8)])
    one, two = fitted("zdna", codes, labels), fitted("zdna", codes_and_more, more)
    for name, tensor in one.state_dict().items():
        assert torch.equal(tensor, two.state_dict()[name]), name


def test_fitted_trees_are_saved_and_loaded_to_the_bit(tmp_path: Path) -> None:
    settings = ModelSettings(architecture="trees", trees=20, tree_shrinkage=0.3, smallest_leaf=1)
    readout = Readout(window=40, flank=10, lookahead=0, strands="forward")
    model = build_model(settings, readout, LoraSettings(), TASKS["zdna"], seed=0).eval()
    codes = random_codes(30, 60)
    labels = (zhunt_scores(codes)[:, 10:50] > 100).astype(np.int8)
    tokens = torch.from_numpy(codes_to_tokens(codes))
    windows = [(tokens, torch.from_numpy(labels))]
    assert isinstance(model.classifier, BoostedTrees)
    model.classifier.fit(0, windows, slice(10, 50), torch.ones(2), seed=0)
    save_window_model(model, tmp_path / "model")
    loaded = load_window_model(tmp_path / "model")
    assert torch.equal(loaded.predict(tokens), model.predict(tokens))
    assert model.predict(tokens).std() > 0.1
    assert {path.suffix for path in (tmp_path / "model").iterdir()} == {".json", ".safetensors"}


def test_trees_learn_what_surrounds_a_base_for_thousands_of_bases(tmp_path: Path) -> None:
    settings = ModelSettings(architecture="trees", trees=20, tree_shrinkage=0.3, smallest_leaf=1)
    readout = Readout(window=10, flank=20, lookahead=0, tracks=("surroundings",))
    model = build_model(settings, readout, LoraSettings(), TASKS["zdna"], seed=0).eval()
    rng = np.random.default_rng(0)
    stored = readout.required_flank
    codes = random_codes(40, 10 + 2 * stored)
    labels = np.repeat(rng.random(40) < 0.5, 10).reshape(40, 10).astype(np.int8)
    rich = rng.choice(4, codes.shape, p=(0.1, 0.4, 0.4, 0.1)).astype(np.uint8)
    far = np.ones(codes.shape[1], bool)
    far[stored - 1000 : stored + 1010] = False  # where the other features end
    codes = np.where(far & (labels[:, :1] == 1), rich, codes)
    tokens = torch.from_numpy(codes_to_tokens(codes))
    given = model.strand_input(tokens)
    assert given.tracks is not None
    assert isinstance(model.classifier, BoostedTrees)
    windows = [(given.ids, torch.from_numpy(labels), given.tracks)]
    model.classifier.fit(0, windows, slice(20, 30), torch.ones(2), seed=0)
    called = model.predict(tokens).argmax(-1).numpy()
    assert np.array_equal(called, labels)
    save_window_model(model, tmp_path / "model")
    assert torch.equal(load_window_model(tmp_path / "model").predict(tokens), model.predict(tokens))


@pytest.mark.parametrize("name", TREES_MEASURE)
def test_trees_refuse_tracks_in_whose_place_they_have_features(name: str) -> None:
    with pytest.raises(InputError, match=rf"tracks: {name}: trees have features"):
        BoostedTrees(BoostedTreesConfig(tracks=[name]))


def test_an_unknown_set_of_features_is_refused() -> None:
    with pytest.raises(InputError, match="features: promoter: unknown set of features"):
        BoostedTrees(BoostedTreesConfig(features="promoter"))


# Features.


def test_the_features_of_z_dna_are_z_hunt_by_size_and_composition() -> None:
    codes = random_codes(3, 150)
    found = FEATURE_SETS["zdna"].measure(codes, slice(40, 60))
    assert found.shape == (3, 20, len(FEATURE_SETS["zdna"].names)) == (3, 20, 10)
    for column, size in enumerate(DINUCLEOTIDES):
        assert np.array_equal(found[..., column], zhunt_scores(codes, (size, size))[:, 40:60])
    for number, radius in enumerate(COMPOSITION_RADII):
        expected = composition(torch.from_numpy(codes), slice(40, 60), radius).numpy()
        assert np.array_equal(found[..., 4 + 2 * number : 6 + 2 * number], expected)


def runs_left(sequence: str, base: int, shortest: int) -> list[tuple[int, int]]:
    """Distance to the last base, and length, of the nearest runs of G before a base, by search."""
    spans, at = [], 0
    for letter, run in groupby(sequence):
        size = len(list(run))
        if letter == "G" and size >= shortest:
            spans.append((at, at + size))
        at += size
    runs = [(base - (end - 1), end - start) for start, end in spans if end <= base]
    return (sorted(runs) + 3 * [(FAR, 0)])[:3]


@given(st.text("ACGT", min_size=1, max_size=70))
def test_runs_of_g_are_found_where_they_are(sequence: str) -> None:
    sequence += "GGGG" + "TTAGGG" * 8  # so that G is the richer strand everywhere but far from it
    found = features_of("g4", sequence)
    mirrored, last = sequence[::-1], len(sequence) - 1
    for base in range(len(sequence) - 30, len(sequence)):
        for shortest in (2, 3):
            for number in range(1, 4):
                name = f"run {number} of {shortest} G or more"
                before = runs_left(sequence, base, shortest)[number - 1]
                behind = runs_left(mirrored, last - base, shortest)[number - 1]
                for side, (distance, length) in (("before", before), ("behind", behind)):
                    near = distance < FAR
                    assert found[f"distance to {name}, {side}"][base] == (distance if near else FAR)
                    if shortest == 2:
                        assert found[f"length of {name}, {side}"][base] == (length if near else 0)
        run = re.match("G*", sequence[base:]), re.match("G*", mirrored[last - base :])
        whole = sum(len(match[0]) for match in run if match) - 1 if sequence[base] == "G" else 0
        assert found["run of G"][base] == whole


def test_g4hunter_is_the_mean_around_a_base_and_the_best_that_holds_it() -> None:
    sequence = "A" * 60 + "GGGTTAGGGTTAGGGTTAGGG" + "A" * 60
    values = [3 if letter == "G" else 0 for letter in sequence]
    found = features_of("g4", sequence)
    for radius in (7, 12, 20, 40):
        for base in range(50, 90):
            near = values[max(0, base - radius) : base + radius + 1]
            expected = sum(near) / (2 * radius + 1)
            assert found[f"G4Hunter within {radius}"][base] == pytest.approx(expected)
    assert found["best G4Hunter of 25"][60:81] == pytest.approx([36 / 25] * 21)
    assert found["best G4Hunter of 41"][60:81] == pytest.approx([36 / 41] * 21)


def test_both_strands_have_the_same_features_of_quadruplexes() -> None:
    codes = random_codes(4, 300)
    other = np.ascontiguousarray(3 - codes[:, ::-1])
    measure = FEATURE_SETS["g4"].measure
    assert np.array_equal(measure(codes, slice(0, 300)), measure(other, slice(0, 300))[:, ::-1])


@pytest.mark.parametrize("bases", ["ACGT", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAGG", "AAAC" + 60 * "G"])
@pytest.mark.parametrize("task", FEATURE_SETS)
def test_features_depend_on_their_reach_and_not_on_the_window(task: str, bases: str) -> None:
    features = FEATURE_SETS[task]
    letters = np.random.default_rng(0).choice(list(bases), 2 * features.reach + 400)
    contig, at = codes_of("".join(letters)), features.reach + 150
    whole = features.measure(contig, slice(at, at + 60))
    for start, stop in ((at, at + 60), (at + 10, at + 35)):
        first = start - features.reach
        near = contig[:, first : stop + features.reach]
        found = features.measure(near, slice(start - first, stop - first))
        assert np.array_equal(found, whole[:, start - at : stop - at])


@pytest.mark.parametrize("task", FEATURE_SETS)
@given(sequence=sequences)
def test_features_of_any_sequence_are_finite_and_as_many_as_their_names(
    task: str, sequence: str
) -> None:
    found = FEATURE_SETS[task].measure(codes_of(sequence), slice(0, len(sequence)))
    assert found.shape == (1, len(sequence), len(FEATURE_SETS[task].names))
    assert found.dtype == np.float32
    assert np.isfinite(found).all()

"""Z-HUNT's scores against the package itself, and the baseline that reads them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import zhuntrs
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from hyena_ray.dataset.tokens import codes_to_tokens
from hyena_ray.errors import InputError
from hyena_ray.genome.untrained import zhunt_reach, zhunt_scores
from hyena_ray.model.build import build_model
from hyena_ray.model.configuration import ZHuntConfig
from hyena_ray.model.settings import LoraSettings, ModelSettings, Readout
from hyena_ray.model.zhunt import ZHuntModel
from hyena_ray.tasks import TASKS

PAIRS = [(1, 1), (6, 6), (3, 6), (4, 8), (10, 10)]
LETTERS = b"ACGTN"


def random_codes(rows: int, length: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 4, (rows, length), dtype=np.uint8)


def by_the_package(codes: NDArray[np.uint8], shortest: int, longest: int) -> NDArray[np.float64]:
    """Every row by itself; windows with an unknown base, or shorter than the longest, are none."""
    best = np.zeros(codes.shape)
    for row, bases in enumerate(codes):
        text = bytes(LETTERS[code] for code in bases)
        found = zhuntrs.Engine(shortest, longest).predict(text)
        for start, end, score in zip(found.start, found.end, found.zhscore, strict=True):
            if (bases[start : start + 2 * longest] < 4).all():
                best[row, start:end] = np.maximum(best[row, start:end], score)
    return best


def assert_equals_the_package(codes: NDArray[np.uint8], pair: tuple[int, int]) -> None:
    found = zhunt_scores(codes, pair)
    assert (found.dtype, found.shape) == (np.float32, codes.shape)
    np.testing.assert_allclose(found, by_the_package(codes, *pair), rtol=1e-6, atol=0)


@pytest.mark.parametrize("pair", PAIRS)
def test_a_base_has_the_highest_score_of_the_windows_that_hold_it(pair: tuple[int, int]) -> None:
    codes = random_codes(12, 90)
    codes[1] = codes[0]  # the same row again
    codes[2, 10:] = codes[3, :-10]  # rows that overlap
    codes[4] = np.tile([1, 2], 45)
    codes[5] = 4
    codes[6, ::17] = 4
    codes[7, 40] = 4
    codes[8] = 0
    assert_equals_the_package(codes, pair)


@settings(max_examples=40)
@given(
    st.lists(st.lists(st.integers(0, 4), min_size=30, max_size=30), min_size=1, max_size=4),
    st.sampled_from([(2, 2), (2, 4), (6, 6)]),
)
def test_repeats_and_unknown_bases_change_no_score(
    rows: list[list[int]], pair: tuple[int, int]
) -> None:
    assert_equals_the_package(np.array(rows, np.uint8), pair)


def test_threads_change_no_score(monkeypatch: pytest.MonkeyPatch) -> None:
    codes = random_codes(30, 60)
    alone = zhunt_scores(codes)
    monkeypatch.setattr("hyena_ray.genome.untrained._PIECE", 100)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    assert np.array_equal(zhunt_scores(codes), alone)


@pytest.mark.parametrize("shape", [(0, 50), (3, 0), (2, 11)])
def test_rows_without_a_whole_window_score_nothing(shape: tuple[int, int]) -> None:
    scores = zhunt_scores(np.zeros(shape, np.uint8))
    assert scores.shape == shape
    assert not scores.any()


@pytest.mark.parametrize("pair", PAIRS)
def test_a_score_depends_on_its_reach_and_no_further(pair: tuple[int, int]) -> None:
    contig, reach = random_codes(1, 200), zhunt_reach(pair)
    whole = zhunt_scores(contig, pair)[0, 90]
    near = contig[:, 90 - reach : 90 + reach + 1]
    assert zhunt_scores(near, pair)[0, reach] == whole
    if pair[0] == pair[1]:  # the base that is farthest away is in a window with it
        changed = near.copy()
        changed[0, -1] = 4
        assert (zhunt_scores(changed, pair) <= zhunt_scores(near, pair)).all()


def test_alternating_cg_scores_above_random_dna_and_above_runs() -> None:
    codes = random_codes(1, 4000)
    codes[0, 2000:2016] = np.tile([1, 2], 8)
    codes[0, 3000:3016] = 1
    scores = zhunt_scores(codes)[0]
    tract = scores[2000:2016].min()
    elsewhere = np.delete(scores, np.s_[1985:2031])
    assert tract > 10_000
    assert (elsewhere < tract).mean() > 0.99
    assert scores[3003:3013].max() < 100


@pytest.mark.parametrize("pair", [(0, 3), (6, 5), (6, 13), (-1, -1)])
def test_windows_that_there_are_not_are_refused(pair: tuple[int, int]) -> None:
    with pytest.raises(InputError, match=r"dinucleotides: .*not ascending within 1 to 12"):
        zhunt_scores(random_codes(1, 40), pair)
    with pytest.raises(InputError, match=r"model: zhunt_windows.*ascending within 1 to 12"):
        ModelSettings.parse({"zhunt_windows": [list(pair)]}, "model")


def test_no_window_at_all_is_refused() -> None:
    with pytest.raises(InputError, match="zhunt_windows"):
        ModelSettings.parse({"zhunt_windows": []}, "model")


@pytest.mark.parametrize("window", [20, 50, 100])
def test_a_base_has_one_probability_whatever_the_window(window: int) -> None:
    contig = random_codes(1, 200)
    flank = zhunt_reach((4, 8))
    start = 100 - window // 2
    settings = ModelSettings(architecture="zhunt", zhunt_windows=((4, 8),))
    readout = Readout(window=window, flank=flank, lookahead=0, strands="forward")
    model = build_model(settings, readout, LoraSettings(), TASKS["zdna"], seed=0).eval()
    tokens = codes_to_tokens(contig[:, start - flank : start + window + flank])
    logits = model.predict(torch.from_numpy(tokens))[0, :, 1]
    scores = zhunt_scores(contig, (4, 8))[0, start : start + window]
    assert torch.allclose(logits, torch.from_numpy(np.log1p(scores)) - 6, atol=1e-5)


def test_probabilities_keep_the_order_of_the_scores_and_meet_the_labels() -> None:
    codes = random_codes(60, 80)
    scores = zhunt_scores(codes)
    labels = (scores > 300).astype(np.int8)
    model = ZHuntModel(ZHuntConfig(candidates=[[4, 4], [6, 6]]))
    windows = [(torch.from_numpy(codes_to_tokens(codes)), torch.from_numpy(labels))]
    loss = model.fit(1, windows, slice(0, 80), torch.ones(2), seed=0)
    assert model.config.dinucleotides == [6, 6]
    logits = model(windows[0][0].long()).logits
    found = logits.softmax(-1)[..., 1].detach().numpy()
    assert loss == pytest.approx(
        -np.log(np.where(labels == 1, found, 1 - found)).mean(dtype=np.float64), rel=1e-4
    )
    order = np.argsort(scores, axis=None)
    assert (np.diff(logits[..., 1].detach().numpy().ravel()[order]) >= 0).all()
    # What a logistic regression with an offset has: as many positives as it expects.
    assert found.sum() == pytest.approx(labels.sum(), rel=0.01)


def test_a_model_of_sequences_or_of_three_classes_is_refused() -> None:
    with pytest.raises(InputError, match="pooling: mean: zhunt labels bases"):
        ZHuntModel(ZHuntConfig(pooling="mean"))
    with pytest.raises(InputError, match="num_labels: 3: zhunt has two"):
        ZHuntModel(ZHuntConfig(num_labels=3))

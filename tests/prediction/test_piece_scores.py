"""Scores of a piece: every base has the mean of the windows that hold it, wherever it was cut."""

from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor
from typing import cast

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from hyena_ray.dataset.tokens import codes_to_tokens
from hyena_ray.errors import InputError
from hyena_ray.genome.contigs import N_CODE
from hyena_ray.model.beta_calibration import BetaCalibration
from hyena_ray.model.build import build_model
from hyena_ray.model.predictor import (
    PRECISION,
    SMALLEST,
    ContigSlice,
    ScoredSpan,
    Scorer,
    default_batch,
    pass_sizes,
    window_starts,
)
from hyena_ray.model.replay import EAGER, Replay
from hyena_ray.model.settings import LoraSettings, ModelSettings, Readout
from hyena_ray.model.window import WindowModel
from hyena_ray.tasks import TASKS
from tests.fake_graphs import FakeGraphs
from tests.prediction.pattern_model import FLANK, PATTERN, REVERSED, WINDOW, pattern_model


class PlaceModel(nn.Module):
    """Its logits depend on all tokens that it is given, and on the place within the window."""

    def __init__(self, window: int, stored: int) -> None:
        super().__init__()
        self.readout = Readout(window=window, flank=stored, lookahead=0)
        self.unused = nn.Parameter(torch.zeros(1))

    def predict(self, tokens: torch.Tensor) -> torch.Tensor:
        weight = torch.arange(tokens.shape[1], dtype=torch.float64) + 1
        seen = (tokens.double() * weight).sum(1, keepdim=True) % 11 / 4
        place = torch.arange(self.readout.window, dtype=torch.float64) / 5
        logit = (seen - place).float()
        return torch.stack([torch.zeros_like(logit), logit], -1)

    def probability(self, tokens: torch.Tensor) -> torch.Tensor:
        return BetaCalibration().probability(self.predict(tokens))


def scorer_of(model: PlaceModel, batch: int, replay: Replay | None = None) -> Scorer:
    """Score with a model that has what a `Scorer` asks of a window model, and nothing else."""
    return Scorer(cast(WindowModel, model), batch, replay)


def by_hand(model: PlaceModel, codes: np.ndarray, step: int) -> np.ndarray:
    """Every window of a contig, one after the other."""
    window, stored, size = model.readout.window, model.readout.required_flank, len(codes)
    starts = [start for start in range(0, size, step) if start + window <= size]
    if not starts or starts[-1] + window < size:
        starts.append(max(0, size - window))
    found: list[list[float]] = [[] for _ in codes]
    for start in starts:
        places = range(start - stored, start + window + stored)
        given = np.array([codes[p] if 0 <= p < size else N_CODE for p in places], np.uint8)
        scores = model.probability(torch.from_numpy(codes_to_tokens(given[None])))[0]
        for offset, score in enumerate(scores.tolist()):
            if start + offset < size:
                found[start + offset].append(score)
    return np.array(
        [
            np.nan if code == N_CODE else np.mean(scores)
            for code, scores in zip(codes, found, strict=True)
        ]
    )


@st.composite
def contigs(draw: st.DrawFn) -> tuple[np.ndarray, int, int, int, list[int], int]:
    window = draw(st.integers(1, 12))
    stored, step = draw(st.integers(0, 9)), draw(st.integers(1, window))
    codes = np.array(draw(st.lists(st.integers(0, 4), min_size=1, max_size=70)), np.uint8)
    first = draw(st.integers(0, len(codes) - 1))
    codes[first : first + draw(st.integers(0, 40))] = N_CODE
    cuts = sorted(draw(st.sets(st.integers(1, len(codes)), max_size=3)) | {0, len(codes)})
    return codes, window, stored, step, cuts, draw(st.integers(1, 7))


@given(contigs())
def test_a_base_has_the_mean_of_all_windows_that_hold_it_and_n_has_none(case) -> None:
    codes, window, stored, step, cuts, batch = case
    model = PlaceModel(window, stored)
    found = []
    for first, last in itertools.pairwise(cuts):
        begin, end = max(0, first - window - stored), min(len(codes), last + window + stored)
        around = ContigSlice(begin, codes[begin:end])
        scorer = scorer_of(model, batch)
        found.append(scorer.score(around, len(codes), first, last, step=step))
    whole = np.concatenate(found)
    np.testing.assert_allclose(whole, by_hand(model, codes, step), atol=PRECISION)
    known = whole[np.isfinite(whole)].astype(np.float64)
    assert (known / PRECISION == np.round(known / PRECISION)).all()


@given(st.lists(contigs(), min_size=1, max_size=5), st.booleans())
def test_spans_of_many_contigs_score_as_each_alone(cases, recorded: bool) -> None:
    _, window, stored, step, _, batch = cases[0]
    model = PlaceModel(window, stored)
    spans, expected = [], []
    for codes, _, _, _, cuts, _ in cases:
        alone = by_hand(model, codes, step)
        for first, last in itertools.pairwise(cuts):
            begin, end = max(0, first - window - stored), min(len(codes), last + window + stored)
            around = ContigSlice(begin, codes[begin:end])
            spans.append(ScoredSpan(around, len(codes), first, last))
            expected.append(alone[first:last])
    with scorer_of(model, batch, FakeGraphs() if recorded else None) as scorer:
        found = scorer.score_spans(spans, step=step)
    np.testing.assert_allclose(found, np.concatenate(expected), atol=PRECISION)


@given(contigs())
def test_recorded_passes_give_the_same_scores(case) -> None:
    codes, window, stored, step, _, batch = case
    model, size = PlaceModel(window, stored), len(codes)
    whole = ContigSlice(0, codes)
    expected = scorer_of(model, batch).score(whole, size, 0, size, step=step)
    graphs = FakeGraphs()
    with scorer_of(model, batch, graphs) as scorer:
        for _ in range(EAGER + 2):
            found = scorer.score(whole, size, 0, size, step=step)
            np.testing.assert_array_equal(found, expected)
        sizes = pass_sizes(windows_of(codes, window, step), batch, repeated=True)
        assert graphs.graphs == len({*sizes})
    assert graphs.graphs == 0


def windows_of(codes: np.ndarray, window: int, step: int) -> int:
    """Return the number of windows that contain a known base."""
    starts = window_starts(len(codes), window, step, 0, len(codes))
    return sum(bool((codes[start : start + window] != N_CODE).any()) for start in starts)


@given(st.integers(0, 5_000), st.integers(1, 600))
def test_passes_cover_every_window_and_recorded_ones_have_few_sizes(
    windows: int, batch: int
) -> None:
    sizes = pass_sizes(windows, batch, repeated=False)
    assert sum(sizes) == windows
    assert sizes[:-1] == [batch] * (len(sizes) - 1)
    captured = pass_sizes(windows, batch, repeated=True)
    smallest = max(1, batch // SMALLEST)
    assert 0 <= sum(captured) - windows < smallest
    assert captured == sorted(captured, reverse=True)
    assert len({*captured}) <= SMALLEST.bit_length()
    assert all(smallest <= size <= batch for size in captured)


class HungryModel(PlaceModel):
    """A model that runs out of memory on batches of more than `most` windows."""

    def __init__(self, most: int) -> None:
        super().__init__(window=10, stored=3)
        self.most = most

    def predict(self, tokens: torch.Tensor) -> torch.Tensor:
        if len(tokens) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.")
        return super().predict(tokens)


def random_contig(size: int) -> ContigSlice:
    return ContigSlice(0, np.random.default_rng(size).integers(4, size=size, dtype=np.uint8))


def test_a_scorer_that_runs_out_of_memory_continues_with_smaller_batches() -> None:
    contig = random_contig(400)
    scorer = scorer_of(HungryModel(most=20), 64)
    found = scorer.score(contig, 400, 0, 400, step=5)
    assert scorer.batch == 16
    plain = scorer_of(HungryModel(most=16), 16)
    np.testing.assert_array_equal(found, plain.score(contig, 400, 0, 400, step=5))
    with pytest.raises(InputError, match="--batch"):
        scorer_of(HungryModel(most=0), 64).score(contig, 400, 0, 400, step=5)


def test_threads_that_share_a_scorer_get_the_scores_of_their_own_pieces() -> None:
    model = build_model(
        ModelSettings(d_model=8, n_layer=1),
        Readout(window=40, flank=8, lookahead=4),
        LoraSettings(),
        TASKS["zdna"],
        seed=0,
    ).eval()
    pieces = [random_contig(size) for size in range(300, 340)]

    def score(scorer: Scorer, contig: ContigSlice) -> list[float]:
        size = len(contig.codes)
        scores: list[float] = scorer.score(contig, size, 0, size, step=20).tolist()
        return scores

    with Scorer(model, 8, FakeGraphs()) as scorer, ThreadPoolExecutor(4) as threads:
        together = list(threads.map(lambda contig: score(scorer, contig), pieces))
    with Scorer(model, 8, FakeGraphs()) as scorer:
        assert together == [score(scorer, contig) for contig in pieces]


def test_the_default_batch_of_a_gpu_is_a_power_of_two_and_smaller_for_longer_windows() -> None:
    gpu, cpu = torch.device("cuda"), torch.device("cpu")
    sizes = [
        default_batch(Readout(window=window), gpu) for window in (100, 1_000, 1 << 20, 1 << 22)
    ]
    assert sizes == sorted(sizes, reverse=True)
    assert all(size & (size - 1) == 0 for size in sizes)
    assert sizes[-1] == 1
    assert {default_batch(Readout(window=window), cpu) for window in (100, 10_000)} == {128}


@given(st.integers(1, 80), st.integers(1, 12), st.data())
def test_the_windows_of_a_piece_are_those_of_the_contig_that_touch_it(
    size: int, window: int, data: st.DataObject
) -> None:
    step = data.draw(st.integers(1, window))
    first = data.draw(st.integers(0, size - 1))
    last = data.draw(st.integers(first + 1, size))
    every = window_starts(size, window, step, 0, size)
    expected = [start for start in every if start < last and start + window > first]
    assert window_starts(size, window, step, first, last).tolist() == expected


@pytest.mark.parametrize("overlap", [0, 3, 9])
@pytest.mark.parametrize("strands", ["both", "forward"])
def test_a_planted_pattern_is_called_at_its_own_base_on_either_strand(
    strands: str, overlap: int
) -> None:
    rng = np.random.default_rng(0)
    bases = "".join(rng.choice(list("ACGT"), 10_000))
    bases = PATTERN + bases + "N" * 25 + REVERSED + "NNN" + PATTERN  # at both ends, and between N
    codes = np.array(["ACGTN".index(base) for base in bases], np.uint8)
    scorer, whole, size = Scorer(pattern_model(strands), 64), ContigSlice(0, codes), len(codes)
    found = scorer.score(whole, size, 0, size, step=WINDOW - overlap)
    expected = np.zeros(len(codes))
    for place in range(len(bases) - 4):
        if bases[place : place + 5] == PATTERN:
            expected[place + FLANK] = 0.5 if strands == "both" else 1
        elif bases[place : place + 5] == REVERSED and strands == "both":
            expected[place + FLANK] = 0.5
    expected[codes == N_CODE] = np.nan
    np.testing.assert_array_equal(found, expected)
    assert np.nansum(expected > 0) > 4

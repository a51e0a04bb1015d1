"""Scores of a piece: every base has the mean of the windows that hold it, wherever it was cut."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from hyena_ray.dataset.tokens import codes_to_tokens
from hyena_ray.genome.contigs import N_CODE
from hyena_ray.model.predictor import PRECISION, ContigSlice, score_piece, window_starts
from hyena_ray.model.settings import Readout
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
        scores = model.predict(torch.from_numpy(codes_to_tokens(given[None]))).softmax(-1)[0, :, 1]
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
        found.append(
            score_piece(model, around, len(codes), first, last, step=step, batch=batch)  # type: ignore[arg-type]
        )
    whole = np.concatenate(found)
    np.testing.assert_allclose(whole, by_hand(model, codes, step), atol=PRECISION)
    known = whole[np.isfinite(whole)].astype(np.float64)
    assert (known / PRECISION == np.round(known / PRECISION)).all()


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
    found = score_piece(
        pattern_model(strands),
        ContigSlice(0, codes),
        len(codes),
        0,
        len(codes),
        step=WINDOW - overlap,
        batch=64,
    )
    expected = np.zeros(len(codes))
    for place in range(len(bases) - 4):
        if bases[place : place + 5] == PATTERN:
            expected[place + FLANK] = 0.5 if strands == "both" else 1
        elif bases[place : place + 5] == REVERSED and strands == "both":
            expected[place + FLANK] = 0.5
    expected[codes == N_CODE] = np.nan
    np.testing.assert_array_equal(found, expected)
    assert np.nansum(expected > 0) > 4

"""The windows of an epoch: all with a label, and a draw of the others in their shares."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from hyena_ray.dataset.negative_draws import NegativeDraw, check_shares, epoch_windows
from hyena_ray.dataset.preparation import PrepareSettings, prepare
from hyena_ray.dataset.reader import PreparedData
from hyena_ray.dataset.shuffled_windows import ShuffledWindows
from hyena_ray.errors import InputError
from hyena_ray.genome.negatives import KINDS
from hyena_ray.genome.simulation import simulate_genome
from hyena_ray.training.loaders import ArraySource

LABELLED, RANDOM, TRACT = (KINDS[name] for name in ("labelled", "random", "tract"))


@pytest.fixture(scope="module", params=["contig:train=sim1,sim2;val=sim3;test=sim4", "kfold:3"])
def data(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> PreparedData:
    """Three random negatives and a quarter of one with a tract for each window with a label."""
    folder = tmp_path_factory.mktemp("draws")
    made = simulate_genome(folder, contig_length=40_000, tracts=80, decoys=160)
    recipe = PrepareSettings(
        task="zdna",
        genome=made.genome,
        regions=made.regions,
        lengths=(40,),
        flank=8,
        split=request.param,
        negatives="random:3,tract:0.25",
    )
    prepare(recipe, folder / "data")
    whole = PreparedData.open(folder / "data")
    return whole.for_fold(1) if whole.manifest.folds else whole


def order(data: PreparedData, shares: str, epoch: int | None, seed: int = 5) -> list[int]:
    """Return the windows of an epoch of a stream, by their numbers in order of their ids."""
    windows = ShuffledWindows.of(data, 40, "train").sample(None, shares)
    place = np.argsort(windows.by_id)
    size = windows.buffer_size(32)
    buffers = [
        windows.order(first, first + size, epoch=epoch, seed=seed)
        for first in range(0, windows.count, size)
    ]
    found: list[int] = place[np.concatenate(buffers)].tolist()
    return found


@settings(deadline=None)
@given(
    kinds=st.lists(st.sampled_from([0, 1, 2, 3]), max_size=80),
    shares=st.sampled_from(["random:1", "random:0.5,tract:1", "tract:2,gc:1", "random:0"]),
    epoch=st.integers(0, 3),
)
def test_an_epoch_has_all_labelled_windows_and_the_others_in_their_shares(
    kinds: list[int], shares: str, epoch: int
) -> None:
    stored = np.array(kinds, np.uint8)
    draw = NegativeDraw.of(stored, shares)
    rows = draw.rows(epoch=epoch, seed=1)
    assert len(rows) == draw.count
    assert (np.diff(rows) > 0).all()
    found = np.bincount(stored[rows], minlength=4)
    every = np.bincount(stored, minlength=4)
    assert found[LABELLED] == every[LABELLED]
    wanted = dict.fromkeys(("random", "gc", "tract"), 0.0)
    wanted |= {k: float(n) for k, n in (part.split(":") for part in shares.split(","))}
    for kind, share in wanted.items():
        number = KINDS[kind]
        assert found[number] == min(every[number], round(share * every[LABELLED]))
    assert draw.rows(epoch=epoch, seed=1).tolist() == rows.tolist()


def test_every_negative_is_as_likely_as_another_and_epochs_are_independent() -> None:
    stored = np.repeat(np.array([0, 1], np.uint8), [4, 20])
    draw = NegativeDraw.of(stored, "random:2")
    taken = np.zeros((2000, 24), bool)
    for epoch in range(2000):
        taken[epoch, draw.rows(epoch=epoch, seed=0)] = True
    np.testing.assert_allclose(taken[:, 4:].mean(0), 8 / 20, atol=0.05)
    again = (taken[:-1, 4:] & taken[1:, 4:]).mean()
    assert again == pytest.approx(0.4**2, abs=0.02)


def test_epochs_and_seeds_draw_other_negatives(data: PreparedData) -> None:
    draw = NegativeDraw.of(data.kinds(40, "train"), "random:1,tract:0.5")
    drawn = {tuple(draw.rows(epoch=epoch, seed=seed)) for epoch in (0, 1) for seed in (0, 1)}
    assert len(drawn) == 4


@pytest.mark.parametrize("shares", ["random:1,tract:1", "tract:0.5", "random:3,tract:1"])
@pytest.mark.parametrize("epoch", [None, 0, 1])
def test_both_feeds_take_the_same_windows(
    data: PreparedData, shares: str, epoch: int | None
) -> None:
    windows = data.read(40, "train")
    source = ArraySource(windows, shares)
    rows = NegativeDraw.of(windows.kind, shares).rows(epoch=epoch or 0, seed=5)
    streamed = order(data, shares, epoch)
    assert sorted(streamed) == rows.tolist()
    assert (streamed == rows.tolist()) == (epoch is None)
    tokens: list[NDArray[np.uint8]] = [
        batch.tokens().numpy() for batch in source.batches(32, epoch=epoch, seed=5)
    ]
    found, expected = np.concatenate(tokens), windows.tokens[rows]
    assert len(found) == source.count == len(streamed)
    if epoch is None:
        assert np.array_equal(found, expected)
    assert sorted(map(bytes, found)) == sorted(map(bytes, expected))


@pytest.mark.parametrize("limit", [None, 50, 10_000])
@pytest.mark.parametrize("shares", [None, "random:1,tract:1"])
def test_the_windows_of_an_epoch_are_known_before_it(
    data: PreparedData, limit: int | None, shares: str | None
) -> None:
    source = ArraySource(data.read(40, "train", limit), shares)
    assert epoch_windows(data, 40, "train", limit, shares) == source.count
    assert ShuffledWindows.of(data, 40, "train").sample(limit, shares).count == source.count


@pytest.mark.parametrize(
    ("shares", "problem"),
    [
        ("random:3,tract:0.25", None),
        ("random:4", "asks for .* random negatives, and the data hold"),
        ("gc:1", "asks for .* gc negatives, and the data hold 0: random:[23.]+,tract:0.2"),
    ],
)
def test_negatives_that_are_not_stored_are_refused(
    data: PreparedData, shares: str, problem: str | None
) -> None:
    stored = data.manifest.stored_kinds(40, "train")
    assert stored["labelled"] == (data.kinds(40, "train") == LABELLED).sum()
    if problem is None:
        check_shares(stored, shares, "data.negatives", splits=3)
        return
    with pytest.raises(InputError, match=problem):
        check_shares(stored, shares, "data.negatives")

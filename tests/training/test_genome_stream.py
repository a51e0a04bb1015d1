"""The stream: every window once in an epoch, no N, half of them turned, the same on any worker."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from hyena_ray.dataset.tokens import COMPLEMENT, FIRST_BASE, IGNORED, TOKEN_IDS, codes_to_tokens
from hyena_ray.genome.contigs import N_CODE
from hyena_ray.training.data_parallel import Workers
from hyena_ray.training.genome_stream import (
    PackedBases,
    WindowStream,
    known_stretches,
    permuted,
    tile_counts,
)
from hyena_ray.training.settings import PretrainSettings


def settings_of(**changes: object) -> PretrainSettings:
    small = {"training.lengths": [4, 8], "training.tokens_per_step": 40, "training.steps": 20}
    given = {key.replace("__", "."): value for key, value in changes.items()}
    return PretrainSettings().updated(small | given, "test")


def genome_of(lengths: list[int], seed: int = 0) -> PackedBases:
    rng = np.random.default_rng(seed)
    return PackedBases.of(
        (n, rng.integers(0, 4, length, np.uint8)) for n, length in enumerate(lengths)
    )


def places(bases: PackedBases, starts: NDArray[np.int64], length: int) -> set[tuple[int, int]]:
    """Stretch and base of every base that these windows cover; each window lies in one stretch."""
    found = []
    for start in starts:
        (stretch,) = np.flatnonzero(
            (bases.starts <= start) & (start + length <= bases.starts + bases.lengths)
        )
        first = int(start - bases.starts[stretch])
        found += [(int(stretch), base) for base in range(first, first + length)]
    assert len(set(found)) == len(found), "windows overlap"
    return set(found)


@given(st.integers(1, 3000), st.integers(0, 2**64 - 8))
def test_a_permutation_has_every_number_once(count: int, key: int) -> None:
    found = permuted(np.arange(count), count, key)
    assert sorted(found.tolist()) == list(range(count))


def test_any_part_of_a_permutation_is_that_of_the_whole_and_keys_differ() -> None:
    whole = permuted(np.arange(1000), 1000, 7)
    part = np.array([900, 3, 3, 41])
    assert (permuted(part, 1000, 7) == whole[part]).all()
    assert (permuted(np.arange(1000), 1000, 8) == whole).mean() < 0.02
    # As many numbers stay below another as in a random order, to six standard deviations.
    rises = (np.diff(permuted(np.arange(100_000), 100_000, 1)) > 0).mean()
    assert rises == pytest.approx(0.5, abs=6 * np.sqrt(1 / 12 / 100_000))


@given(st.lists(st.integers(1, 40), min_size=1, max_size=6), st.data())
def test_packed_bases_are_cut_as_they_were_given(lengths: list[int], data: st.DataObject) -> None:
    rng = np.random.default_rng(len(lengths))
    given_ = [rng.integers(0, 4, length, np.uint8) for length in lengths]
    half = len(given_) // 2
    parts = [PackedBases.of(enumerate(given_[:half])), PackedBases.of(enumerate(given_[half:]))]
    for bases in (PackedBases.of(enumerate(given_)), PackedBases.joined(parts)):
        for number, codes in enumerate(given_):
            assert (bases.stretch(number) == codes).all()
            first = data.draw(st.integers(0, len(codes) - 1))
            size = data.draw(st.integers(1, len(codes) - first))
            cut = bases.cut(bases.starts[number : number + 1] + first, size)
            assert (cut[0] == codes[first : first + size]).all()
        assert bases.packed.nbytes == sum(-(-length // 4) for length in lengths)


@given(st.lists(st.integers(0, 4), max_size=60), st.integers(1, 5))
def test_stretches_are_all_runs_without_n_that_are_long_enough(
    codes: list[int], shortest: int
) -> None:
    text = "".join("ACGTN"[code] for code in codes)
    expected = [run for run in text.split("N") if len(run) >= shortest]
    found = known_stretches(np.array(codes, np.uint8), shortest)
    assert [text[part] for part in found] == expected


@given(
    st.lists(st.integers(4, 60), min_size=1, max_size=5),
    st.integers(0, 3),
    st.integers(0, 3),
)
def test_an_epoch_has_every_window_once_and_none_over_a_stretchs_end(
    lengths: list[int], seed: int, epoch: int
) -> None:
    bases = genome_of([*lengths, 8])
    stream = WindowStream(bases, settings_of(training__seed=seed))
    for stage, whole in enumerate(stream.stages):
        count = stream.count(stage)
        assert count == tile_counts(bases.lengths, whole.length).sum()
        starts = stream.starts(stage, np.arange(epoch * count, (epoch + 1) * count))
        covered = places(bases, starts, whole.length)
        assert len(covered) == count * whole.length
        # Of every stretch that holds a window, less than two windows are left out.
        for stretch, length in enumerate(bases.lengths):
            missed = length - sum(place[0] == stretch for place in covered)
            assert missed <= 2 * whole.length - 2 or length < whole.length


def test_epochs_differ_in_order_and_in_where_they_cut() -> None:
    stream = WindowStream(genome_of([4000]), settings_of())
    count = stream.count(1)
    first, second = (stream.starts(1, np.arange(e * count, (e + 1) * count)) for e in range(2))
    assert set(first % 8) != set(second % 8)
    assert (np.argsort(first) != np.argsort(second)).mean() > 0.9


def test_steps_follow_each_other_through_epochs_of_one_length_then_the_next() -> None:
    settings = settings_of()
    stream = WindowStream(genome_of([70]), settings)
    assert [(stage.length, stage.first, stage.last, stage.rows) for stage in stream.stages] == [
        (4, 0, 6, 10),
        (8, 6, 20, 5),
    ]
    for index, stage in enumerate(stream.stages):
        drawn = [stream.positions(s, np.arange(stage.rows)) for s in range(stage.first, stage.last)]
        expected = stream.starts(index, np.arange((stage.last - stage.first) * stage.rows))
        assert (np.concatenate(drawn) == expected).all()


@pytest.mark.parametrize("objective", ["next_base", "masked"])
@pytest.mark.parametrize("size", [1, 2, 3, 12])
def test_workers_share_out_the_windows_of_one(objective: str, size: int) -> None:
    stream = WindowStream(genome_of([90, 30]), settings_of(objective=objective))
    for step in (0, 5, 6, 19):
        whole = stream.batch(step)
        parts = [stream.batch(step, Workers(rank, size)) for rank in range(size)]
        assert {part.weight for part in parts} == {whole.weight}
        for rank, part in enumerate(parts):
            if rank < len(whole.inputs):
                assert (part.inputs == whole.inputs[rank::size]).all()
                assert (part.targets == whole.targets[rank::size]).all()
            else:
                assert (part.targets == IGNORED).all()
                assert len(part.inputs) == 1


@pytest.mark.parametrize("objective", ["next_base", "masked"])
def test_a_step_is_the_same_whenever_it_is_asked_for_and_another_seed_has_others(
    objective: str,
) -> None:
    settings = settings_of(objective=objective)
    bases = genome_of([200, 100])
    again = list(WindowStream(bases, settings).batches(range(3, 20)))
    for step, batch in enumerate(WindowStream(bases, settings).batches(range(20))):
        if step >= 3:
            assert (batch.inputs == again[step - 3].inputs).all()
            assert (batch.targets == again[step - 3].targets).all()
    other = WindowStream(bases, settings_of(objective=objective, training__seed=1))
    assert (other.batch(3).inputs != again[0].inputs).any()


def test_half_of_the_windows_are_on_the_other_strand() -> None:
    bases = genome_of([400])
    turned = []
    for step in range(20):
        settings = settings_of()
        stream = WindowStream(bases, settings)
        tokens = stream.batch(step).inputs
        rows = np.arange(len(tokens))
        given_ = codes_to_tokens(bases.cut(stream.positions(step, rows), tokens.shape[1]))
        other = COMPLEMENT[given_[:, ::-1]]
        forward, reverse = (tokens == given_).all(1), (tokens == other).all(1)
        assert (forward | reverse).all()
        turned.append((reverse & ~forward).sum() / len(tokens))
    assert np.mean(turned) == pytest.approx(0.5, abs=0.1)
    one = WindowStream(bases, settings_of(training__reverse_complement=False))
    expected = codes_to_tokens(bases.cut(one.positions(7, np.arange(5)), 8))
    assert (one.batch(7).inputs == expected).all()


def test_the_target_of_a_base_is_the_next_one() -> None:
    batch = WindowStream(genome_of([100]), settings_of()).batch(10)
    assert (batch.targets[:, :-1] == batch.inputs[:, 1:]).all()
    assert (batch.targets[:, -1] == IGNORED).all()
    assert batch.weight == (batch.targets != IGNORED).sum()


def test_masked_bases_are_hidden_drawn_anew_or_kept_in_their_shares() -> None:
    changes = {"objective": "masked", "training__tokens_per_step": 80_000}
    stream = WindowStream(genome_of([100_000]), settings_of(**changes))
    batch = stream.batch(19)
    rows = np.arange(len(batch.inputs))
    plain = settings_of(training__tokens_per_step=80_000)
    true = WindowStream(stream.bases, plain).batch(19).inputs
    assert len(rows) == 10_000
    target = batch.targets != IGNORED
    assert batch.weight == target.sum()
    assert target.mean() == pytest.approx(0.15, abs=0.01)
    assert (batch.targets[target] == true[target]).all()
    assert (batch.inputs[~target] == true[~target]).all()
    seen, right = batch.inputs[target], true[target]
    assert (seen == TOKEN_IDS["[MASK]"]).mean() == pytest.approx(0.8, abs=0.02)
    # A random base is the right one in a quarter of cases.
    assert (seen == right).mean() == pytest.approx(0.1 + 0.025, abs=0.02)
    others = seen[(seen != TOKEN_IDS["[MASK]"]) & (seen != right)]
    assert set(others) == set(range(FIRST_BASE, FIRST_BASE + 4))
    assert N_CODE + FIRST_BASE not in batch.inputs

"""Errors are of the kind that a walk along the genome finds."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from hyena_ray.dataset.schema import Windows
from hyena_ray.tasks import TASKS
from hyena_ray.training.errors_by_kind import FALSE, MARGIN, MISSED, ErrorCounts, count_errors
from hyena_ray.training.held_out import HeldOut

WIDTH = 13


def stretches(seed: int) -> tuple[HeldOut, np.ndarray, np.ndarray]:
    """Stretches of two contigs, with gaps between some; labels, calls and tracts in short runs."""
    rng = np.random.default_rng(seed)
    places = [(contig, 13 * at) for contig in ("a", "b") for at in range(6) if rng.random() < 0.8]
    places = places or [("a", 0)]
    contig, start = zip(*places, strict=True)
    shape = (len(places), WIDTH)

    def runs(share: float) -> np.ndarray:
        mask = rng.random(shape) < share / 3
        return mask | np.roll(mask, 1, 1) | np.roll(mask, 2, 1)

    labels = runs(0.15).astype(np.int8)
    rows = Windows(
        np.arange(len(places)),
        np.array(contig),
        np.array(start),
        np.zeros(shape, np.uint8),
        labels,
        np.ones(len(places), np.uint8),
    )
    weight = np.where(labels.any(1), 1.0, rng.integers(1, 5, len(places)))
    order = rng.permutation(len(places))
    held_out = HeldOut(rows.rows(order), weight[order], TASKS["zdna"])
    return held_out, runs(0.3)[order], runs(0.3)[order]


def walk(held_out: HeldOut, called: np.ndarray, tract: np.ndarray) -> ErrorCounts:
    """Count the same errors base by base."""
    bases = {}
    for row, (contig, start) in enumerate(
        zip(held_out.rows.contig, held_out.rows.start, strict=True)
    ):
        for at in range(WIDTH):
            label = bool(held_out.rows.labels[row, at])
            values = (label, called[row, at], tract[row, at], held_out.weight[row])
            bases[contig, int(start) + at] = values
    labelled = [place for place, values in bases.items() if values[0]]

    def runs_where(member: dict[tuple[str, int], bool]) -> list[list[tuple[str, int]]]:
        found: list[list[tuple[str, int]]] = []
        for contig, at in sorted(place for place, value in member.items() if value):
            if found and found[-1][-1] == (contig, at - 1):
                found[-1].append((contig, at))
            else:
                found.append([(contig, at)])
        return found

    false, missed = np.zeros((3, 2)), np.zeros((3, 2))
    for run in runs_where({p: v[1] and not v[0] for p, v in bases.items()}):
        near = any(
            contig == own and abs(at - place) <= MARGIN
            for own, place in run
            for contig, at in labelled
        )
        kind = 0 if near else 1 if any(bases[place][2] for place in run) else 2
        false[kind] += bases[run[0]][3], sum(bases[place][3] for place in run)
    for region in runs_where({p: v[0] for p, v in bases.items()}):
        lost = [place for place in region if not bases[place][1]]
        if lost:
            found = 2 * len(lost) <= len(region)
            kind = 0 if found else 1 if any(bases[place][2] for place in region) else 2
            missed[kind] += bases[region[0]][3], sum(bases[place][3] for place in lost)
    return ErrorCounts(false, missed, sum(values[3] for values in bases.values()))


@settings(deadline=None, max_examples=100)
@given(st.integers(0, 100_000))
def test_errors_are_those_of_a_walk_along_the_genome(seed: int) -> None:
    held_out, called, tract = stretches(seed)
    found, expected = count_errors(held_out, called, tract), walk(held_out, called, tract)
    np.testing.assert_allclose(found.false, expected.false)
    np.testing.assert_allclose(found.missed, expected.missed)
    assert found.bases == expected.bases


def test_every_false_or_missed_base_is_of_one_kind() -> None:
    held_out, called, tract = stretches(3)
    errors = count_errors(held_out, called, tract).errors("Z-HUNT", 400.0)
    label, weight = held_out.rows.labels == 1, held_out.weight[:, None]
    assert sum(kind.bases for kind in errors.false) == (weight * (called & ~label)).sum()
    assert sum(kind.bases for kind in errors.missed) == (weight * (~called & label)).sum()
    assert [kind.kind for kind in (*errors.false, *errors.missed)] == [*FALSE, *MISSED]
    np.testing.assert_allclose(sum(kind.share for kind in errors.false), 1)
    mb = float(weight.sum() * WIDTH) / 1e6
    for kind in (*errors.false, *errors.missed):
        np.testing.assert_allclose(kind.per_mb, kind.runs / mb)


def test_without_a_predictor_no_error_is_on_a_tract() -> None:
    held_out, called, _ = stretches(4)
    counts = count_errors(held_out, called, None)
    assert not counts.false[1].any()
    assert not counts.missed[1].any()
    assert counts.false[2].any()


def test_a_model_that_knows_the_labels_makes_no_error() -> None:
    held_out, _, tract = stretches(5)
    counts = count_errors(held_out, held_out.rows.labels == 1, tract)
    assert not counts.false.any()
    assert not counts.missed.any()
    errors = counts.errors("Z-HUNT", 400.0)
    assert {kind.share for kind in (*errors.false, *errors.missed)} == {0.0}

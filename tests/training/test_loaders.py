"""A source hands out every window, and reports each batch once it was used."""

from __future__ import annotations

from pathlib import Path

from hyena_ray.dataset.reader import PreparedData
from hyena_ray.training.loaders import ArraySource, ProgressSource


def test_a_progress_source_gives_the_same_batches_and_reports_each_once_it_was_used(
    small_data: Path,
) -> None:
    windows = PreparedData.open(small_data).read(40, "train", 70)
    reported: list[int] = []
    plain, counted = ArraySource(windows), ProgressSource(ArraySource(windows), reported.append)
    assert counted.count == 70
    before = []
    for ours, theirs in zip(
        counted.batches(32, epoch=1, seed=2), plain.batches(32, epoch=1, seed=2), strict=True
    ):
        before.append(sum(reported))
        assert (ours.tokens == theirs.tokens).all()
    assert before == [0, 32, 64]
    assert reported == [32, 32, 6]

"""A difference is that of two rows in the same seeds and the same draws."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.csv
import pytest

from hyena_ray.workflows.comparison_differences import (
    DIFFERENCES,
    differences_from,
    differences_markdown,
    write_differences,
)
from tests.prediction.test_predict_job import evaluated

METRICS = ("average_precision", "recall")
SEEDS = ("seed=0", "seed=1")


def score(folder: Path, figures: dict[str, float], drawn: dict[str, np.ndarray]) -> Path:
    """Write an evaluation with some figures, and the same figures in every draw."""
    folder.mkdir(parents=True)
    found = evaluated(0.4)
    found = found._replace(
        metrics=found.metrics._replace(**figures),
        drawn={name: tuple(values.tolist()) for name, values in drawn.items()},
    )
    found.write(folder)
    return folder


@pytest.fixture
def scored(tmp_path: Path) -> dict[str, dict[str, Path]]:
    """Two rows of two seeds, of which the second is 0.1 better in every draw, but one."""
    rng = np.random.default_rng(0)
    rows: dict[str, dict[str, Path]] = {"a": {}, "b": {}}
    for seed in SEEDS:
        drawn = {name: rng.random(100) for name in METRICS}
        better = {name: values + 0.1 for name, values in drawn.items()}
        better["recall"][:50] -= 0.4
        for row, values in (("a", drawn), ("b", better)):
            figures = {name: float(value.mean()) for name, value in values.items()}
            rows[row][seed] = score(tmp_path / row / seed, figures, values)
    return rows


def test_a_difference_is_that_of_pairs_however_wide_each_of_them_is(
    scored: dict[str, dict[str, Path]],
) -> None:
    found = {each.metric: each for each in differences_from("a", scored)}
    assert {each.preset for each in found.values()} == {"b"}
    assert found.keys() == set(METRICS)
    better = found["average_precision"]
    assert better.runs == 2
    assert (better.difference, better.low, better.high) == pytest.approx((0.1, 0.1, 0.1))
    assert (found["recall"].low, found["recall"].high) == pytest.approx((-0.3, 0.1))
    back = {each.metric: each for each in differences_from("b", scored)}
    for name in METRICS:
        mirrored = (-found[name].difference, -found[name].high, -found[name].low)
        assert (back[name].difference, back[name].low, back[name].high) == pytest.approx(mirrored)


def test_runs_without_a_pair_do_not_count(scored: dict[str, dict[str, Path]]) -> None:
    del scored["a"]["seed=0"]
    assert {each.runs for each in differences_from("a", scored)} == {1}
    assert differences_from("a", scored | {"a": {}}) == []


def test_file_and_text_say_the_same(scored: dict[str, dict[str, Path]], tmp_path: Path) -> None:
    found = differences_from("a", scored)
    write_differences(tmp_path, found)
    rows = pyarrow.csv.read_csv(tmp_path / DIFFERENCES).to_pylist()
    assert [tuple(row.values()) for row in rows] == [pytest.approx(each) for each in found]
    text = differences_markdown("a", found)
    assert "Differences from a" in text
    assert all(str(each) in text for each in found)
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in table}) == 1

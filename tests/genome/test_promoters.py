"""Simulated promoters: elements tell them apart, composition and half of the elements do not."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from hyena_ray.genome.simulation import (
    GC_BOX,
    INITIATOR,
    SIMULATED,
    TATA_BOX,
    PromoterElement,
    simulate_promoters,
)

Rows = list[tuple[str, int]]


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Rows:
    made = simulate_promoters(tmp_path_factory.mktemp("promoters"), 1, rows=(3000, 500, 500))
    found: Rows = []
    for path, count in zip(made, (3000, 500, 500), strict=True):
        with path.open(newline="") as stream:
            table = list(csv.DictReader(stream))
        assert len(table) == count
        assert all(row["origin"].startswith(SIMULATED) for row in table)
        found += [(row["sequence"], int(row["label"])) for row in table]
    return found


def has_tata(sequence: str) -> bool:
    return re.match("TATA[AT]A[AT][AG]", sequence[3:]) is not None


def has_initiator(sequence: str) -> bool:
    return re.match("[CT][CT]A.[AT][CT][CT]", sequence[32:]) is not None


def has_gc_box(sequence: str) -> bool:
    return re.search("GGGCGG[AG]|[CT]CCGCCC", sequence) is not None


def accuracy(rows: Rows, rule: Callable[[str], bool]) -> float:
    return float(np.mean([rule(sequence) == bool(label) for sequence, label in rows]))


def test_all_have_seventy_bases_and_half_are_promoters(rows: Rows) -> None:
    assert {len(sequence) for sequence, _ in rows} == {70}
    assert set("".join(sequence for sequence, _ in rows)) == set("ACGT")
    assert sum(label for _, label in rows) == len(rows) / 2
    assert len({sequence for sequence, _ in rows}) == len(rows)


def test_every_promoter_has_two_elements_and_few_others_have_one(rows: Rows) -> None:
    rules = (has_tata, has_initiator, has_gc_box)
    counts = np.array([[rule(sequence) for rule in rules] for sequence, _ in rows]).sum(axis=1)
    labels = np.array([label for _, label in rows])
    assert (counts[labels == 1] >= 2).all()
    assert (counts[labels == 0] >= 1).mean() < 0.15
    assert (counts[labels == 0] >= 2).mean() < 0.01


def test_no_simple_rule_comes_near_that_of_elements(rows: Rows) -> None:
    best = accuracy(rows, lambda s: sum((has_tata(s), has_initiator(s), has_gc_box(s))) >= 2)
    assert best > 0.98
    for rule in (has_tata, has_initiator, has_gc_box):
        assert 0.7 < accuracy(rows, rule) < best - 0.05
    content = [sum(letter in "CG" for letter in sequence) for sequence, _ in rows]
    labels = [label for _, label in rows]
    by_content = max(
        float(np.mean((np.array(content) >= least) == labels)) for least in np.unique(content)
    )
    assert by_content < 0.54


def test_shuffled_elements_have_the_letters_of_whole_ones(rows: Rows) -> None:
    labels = np.array([label for _, label in rows])
    for letter in "ACGT":
        counts = np.array([sequence.count(letter) for sequence, _ in rows])
        assert counts[labels == 1].mean() == pytest.approx(counts[labels == 0].mean(), abs=0.4)


@pytest.mark.parametrize("element", [TATA_BOX, INITIATOR, GC_BOX])
def test_what_an_element_draws_it_matches(element: PromoterElement) -> None:
    rng = np.random.default_rng(0)
    drawn = [element.draw(rng) for _ in range(50)]
    assert all(map(element.matches, drawn))
    assert not any(element.matches((codes + 1) % 4) for codes in drawn)


def test_the_seed_fixes_every_byte(tmp_path: Path) -> None:
    content = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        (tmp_path / name).mkdir()
        made = simulate_promoters(tmp_path / name, seed, rows=(20, 10, 10))
        content.append([path.read_bytes() for path in made])
    assert content[0] == content[1]
    assert content[0] != content[2]

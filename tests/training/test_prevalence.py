"""Negatives stand for those that were not drawn."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from hyena_ray.dataset.manifest import Count
from hyena_ray.dataset.schema import Windows
from hyena_ray.training.evaluation import genome_weights


def windows(contigs: str, labelled: str) -> Windows:
    """One window for each letter; 1 marks those with a labelled base."""
    count = len(contigs)
    labels = np.zeros((count, 3), np.int8)
    labels[:, 1] = [int(c) for c in labelled]
    ids = np.arange(count)
    return Windows(ids, np.array(list(contigs)), ids, np.zeros((count, 3), np.uint8), labels)


def counted(contig: str, positive: int, negative: int, candidates: int) -> Count:
    return Count(
        length=3,
        split="test",
        contig=contig,
        positive=positive,
        negative=negative,
        candidates=candidates,
        labelled=positive,
    )


def test_a_negative_represents_the_candidates_of_its_contig() -> None:
    found = genome_weights(
        windows("aaabb", "10010"), [counted("a", 1, 2, 100), counted("b", 1, 1, 7)]
    )
    assert found is not None
    assert found.tolist() == [1, 50, 50, 1, 7]


def test_candidates_of_a_contig_without_negatives_are_shared_out() -> None:
    found = genome_weights(
        windows("aaab", "1001"), [counted("a", 1, 2, 100), counted("b", 1, 0, 300)]
    )
    assert found is not None
    assert found.tolist() == [1, 200, 200, 1]
    assert found[[1, 2]].sum() == 400


def test_without_negatives_the_genome_is_unknown() -> None:
    assert genome_weights(windows("a", "1"), [counted("a", 1, 0, 30)]) is None


def test_weighted_negatives_give_the_average_precision_of_the_whole() -> None:
    """Drawn at random, a tenth of the negatives tells on average what all of them would."""
    rng = np.random.default_rng(0)
    positive, negative = rng.normal(3, 1, 400), rng.normal(0, 1, 40_000)
    labels = np.repeat([1, 0], [400, 40_000])
    whole = average_precision_score(labels, np.concatenate([positive, negative]))
    weight = genome_weights(
        windows("a" * 4400, "1" * 400 + "0" * 4000), [counted("a", 400, 4000, 40_000)]
    )
    weighted, plain = [], []
    for _ in range(20):
        scores = np.concatenate([positive, rng.choice(negative, 4000, replace=False)])
        weighted.append(average_precision_score(labels[:4400], scores, sample_weight=weight))
        plain.append(average_precision_score(labels[:4400], scores))
    assert np.mean(weighted) == pytest.approx(whole, abs=0.02)
    assert np.mean(plain) > whole + 0.1

"""Weights to go on from that have seen what is held out now, or only simulated DNA, are named."""

from __future__ import annotations

from typing import Any

import pytest

from hyena_ray.model.provenance import ContigUse, Provenance, Use
from hyena_ray.training.leaks import held_out_leak


def seen(
    uses: dict[str, Use], before: Provenance | None = None, *, trained: int = 100, **values: Any
) -> Provenance:
    """Of a pretraining on the first of 100 bases; a contig's letter, whatever its case, stands for
    its bases."""
    contigs = tuple(
        ContigUse(
            name=name,
            length=100,
            sha256=name.lower(),
            use=use,
            trained=trained if use == "trained" else 0,
        )
        for name, use in uses.items()
    )
    made: dict[str, Any] = {"objective": "next_base", "genome": "hg.fa", "genome_sha256": "same"}
    made |= {"simulated": False, "contigs": contigs, "began_from": None, "before": before}
    return Provenance(**made | values)


def test_what_was_trained_on_before_and_is_held_out_now_is_named_by_its_bases() -> None:
    first = seen({"a": "trained", "b": "trained", "c": "held_out"}, genome_sha256="other")
    second = seen({"a": "trained"}, first)
    third = seen({"A": "held_out", "B": "trained", "C": "held_out"}, second)
    assert held_out_leak(third) == (
        "held-out bases were trained on before, of A; their perplexity flatters it"
    )


def test_the_end_of_a_contig_may_be_held_out_again_and_not_more_of_it() -> None:
    before = seen({"a": "trained", "b": "held_out"}, trained=90)
    assert held_out_leak(seen({"a": "trained", "b": "trained"}, before, trained=90)) == ""
    assert "of a; their" in held_out_leak(seen({"a": "trained"}, before, trained=80))
    assert "of a; their" in held_out_leak(seen({"a": "held_out"}, before))


@pytest.mark.parametrize(
    "before",
    [None, seen({"a": "held_out", "b": "trained"}), seen({"a": "left_out", "c": "trained"})],
)
def test_nothing_is_said_where_nothing_was_seen(before: Provenance | None) -> None:
    assert held_out_leak(seen({"a": "held_out", "b": "trained"}, before)) == ""


def test_simulated_dna_is_reported_where_real_dna_is_read() -> None:
    before = seen({"s": "trained"}, simulated=True, genome="toy.fa")
    assert held_out_leak(seen({"a": "held_out"}, before)) == (
        "was pretrained on a simulated genome (toy.fa), from which it knows nothing of real DNA"
    )
    assert held_out_leak(seen({"a": "held_out"}, before, simulated=True)) == ""

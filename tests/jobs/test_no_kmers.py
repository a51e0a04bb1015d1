"""Work that found no k-mer to list ends complete, with empty tables, and a page that says why."""

from __future__ import annotations

from pathlib import Path

import pytest

from hyena_ray.report.write import write_report
from hyena_ray.runs.record import read_kind
from hyena_ray.runs.table_file import read_table, why_empty
from hyena_ray.workflows.attribute import AttributeRecord
from tests.jobs.attributed import attribute_here

CASES = {
    "one method": {"methods": ("input_x_gradient",), "min_count": 10**6},
    "several": {"methods": ("input_x_gradient", "ism", "tp"), "min_count": 10**6},
    "true positives": {"methods": ("tp",), "min_count": 10**6},
}


@pytest.mark.parametrize("case", CASES)
def test_too_few_kmers_are_an_empty_table_and_a_reason_on_the_page(
    good: Path, tmp_path: Path, case: str
) -> None:
    out = attribute_here(good / "model", good / "data", tmp_path / "out", k=3, **CASES[case])
    assert read_kind(out) == "attribute"
    record = AttributeRecord.read(out)
    assert record.attributed > 0
    assert set(record.kmers.values()) == {()}
    page = write_report(out).read_text()
    assert record.notes
    for note in record.notes:
        assert note in page


def test_a_model_without_true_positives_ends_complete(good: Path, tmp_path: Path) -> None:
    """As the best model of a search may be, of which the search has been paid for."""
    out = attribute_here(
        good / "deaf",
        good / "data",
        tmp_path / "out",
        may_be_empty=True,
        k=3,
        methods=("ism", "ig"),
    )
    record = AttributeRecord.read(out)
    assert record.attributed == 0
    (note,) = record.notes
    assert note in write_report(out).read_text()
    assert why_empty(read_table(out / "kmers" / "consensus.parquet", ("kmer",))) == note

"""The results of scored variants as tables: one row for each allele, those that were skipped, and
the strongest ones base by base."""

from __future__ import annotations

import csv
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from hyena_ray.files import atomic_file
from hyena_ray.genome.intervals import Intervals
from hyena_ray.genome.region_files import Regions
from hyena_ray.genome.variant_alleles import CheckedAllele
from hyena_ray.prediction.variant_shards import (
    BASES,
    FIGURES,
    PER_BASE,
    CheckedVariants,
    VariantPlan,
    strongest,
)
from hyena_ray.storage import AnyPath

TABLE, CSV, SKIPPED = "variants.parquet", "variants.csv", "skipped.csv"
"""Names of the files of all alleles, and of those that were skipped."""
STRONGEST = "strongest.parquet"
"""Name of the file with the probabilities of the strongest alleles base by base."""
DIGITS = 6
"""Digits of a figure in text files: more are noise of float32."""
GAINED, LOST = "gained", "lost"
"""What becomes of a call."""


class Nearest(NamedTuple):
    """The region that is nearest to each of n alleles."""

    start: NDArray[np.int64]
    """Its first base, 0-based; -1 on a contig without regions."""
    end: NDArray[np.int64]
    """One past its last base."""
    distance: NDArray[np.int64]
    """0 where they overlap, 1 where they touch, and so on; -1 on a contig without regions."""


def nearest_regions(
    regions: Intervals, start: NDArray[np.int64], end: NDArray[np.int64]
) -> Nearest:
    """Find the region of a contig that is nearest to each allele, the left one of two.

    Args:
        regions: Merged regions of the contig.
        start: First base of every allele, 0-based, shape (n,).
        end: One past its last base, shape (n,); the start where bases are inserted.

    Example:
        >>> found = nearest_regions(Intervals(np.array([5]), np.array([9])), *np.array([[2], [3]]))
        >>> [int(own[0]) for own in found]
        [5, 9, 3]
    """
    if not len(regions.start):
        nothing = np.full(len(start), -1)
        return Nearest(nothing, nothing, nothing)
    right = np.searchsorted(regions.start, start, side="right")
    # Of a deletion over several regions the first one behind its start overlaps it.
    pair = np.stack((right - 1, right)).clip(0, len(regions.start) - 1)
    gaps = np.maximum(regions.start[pair] - end, start - regions.end[pair])
    distances = np.where(gaps < 0, 0, gaps + 1)
    side = distances.argmin(0)
    columns = np.arange(len(start))
    chosen = pair[side, columns]
    return Nearest(regions.start[chosen], regions.end[chosen], distances[side, columns])


def variant_table(
    plan: VariantPlan, checked: CheckedVariants, scores: pa.Table, regions: Regions | None
) -> pa.Table:
    """Join alleles and their scores: a row for each scored allele, in the order of the file.

    Args:
        plan: Plan of the run.
        checked: Its alleles.
        scores: Scores of all shards.
        regions: Regions; None leaves those columns out.
    """
    scored = checked.scored
    offset = np.array([_start(one) - _before(one, plan.window) for one in scored])
    figures = {name: scores[name].to_numpy() for name in FIGURES}
    called_ref, called_alt = (
        figures[name] >= plan.threshold for name in ("highest_ref", "highest_alt")
    )
    call = np.where(called_alt & ~called_ref, GAINED, np.where(called_ref & ~called_alt, LOST, ""))
    order = strongest(figures["change"], figures["summed_change"], len(scored))
    rank = np.empty(len(scored), np.int64)
    rank[order] = np.arange(1, len(scored) + 1)
    columns: dict[str, object] = {
        "contig": [one.row.contig for one in scored],
        "position": [one.row.start + 1 for one in scored],
        "ref": [one.row.ref for one in scored],
        "alt": [one.row.alts[one.number] for one in scored],
        "rank": rank,
    }
    for name in FIGURES[:-1]:
        # What has no value, such as the spread of one model, is empty in all files.
        columns[name] = pa.array(figures[name], from_pandas=True)
    columns["changed_at"] = offset + figures["changed_at"] + 1
    columns["call"] = call
    if regions is not None:
        nearest = _nearest(checked, scored, regions)
        missing = nearest.distance < 0
        for name, values in zip(Nearest._fields, nearest, strict=True):
            columns[f"region_{name}"] = pa.array(values, mask=missing)
    return pa.table(columns)


def _start(one: CheckedAllele) -> int:
    assert one.allele is not None
    return one.allele.start


def _before(one: CheckedAllele, window: int) -> int:
    """Return the bases of a window before its allele."""
    assert one.allele is not None
    return one.allele.start - one.allele.window_start(window)


def _nearest(checked: CheckedVariants, scored: list[CheckedAllele], regions: Regions) -> Nearest:
    parts: list[Nearest] = []
    by_contig: dict[str, list[tuple[int, int]]] = {}
    for one in scored:
        assert one.allele is not None
        by_contig.setdefault(one.row.contig, []).append((one.allele.start, one.allele.end))
    for contig, spans in by_contig.items():  # rows of a contig are together
        merged = regions.merged(contig, checked.sizes[contig])
        parts.append(nearest_regions(merged, *np.array(spans, np.int64).T))
    return Nearest(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def strongest_table(plan: VariantPlan, checked: CheckedVariants, scores: pa.Table) -> pa.Table:
    """Return the strongest alleles with bases and probabilities of both windows.

    Args:
        plan: Plan of the run.
        checked: Its alleles.
        scores: Scores of all shards.
    """
    order = strongest(scores["change"].to_numpy(), scores["summed_change"].to_numpy())
    chosen = [checked.scored[number] for number in order]
    taken = scores.take(pa.array(order))
    alleles = [one.allele for one in chosen if one.allele is not None]
    return pa.table(
        {
            "number": order,
            "start": [allele.window_start(plan.window) for allele in alleles],
            "before": [_before(one, plan.window) for one in chosen],
            "replaced": [allele.ref for allele in alleles],
            "replacement": [allele.alt for allele in alleles],
            **{name: taken[name] for name in (*BASES, *PER_BASE)},
        }
    )


def write_results(
    checked: CheckedVariants, table: pa.Table, profiles: pa.Table, folder: AnyPath
) -> None:
    """Write the tables of a run, each file atomically.

    Args:
        checked: Alleles of the run.
        table: Table of `variant_table`.
        profiles: Table of `strongest_table`.
        folder: Folder of the run.
    """
    for name, written in ((TABLE, table), (STRONGEST, profiles)):
        with atomic_file(folder / name) as path:
            pq.write_table(written, path, write_page_checksum=True)
    rows = zip(*(column.to_pylist() for column in table.columns), strict=True)
    with atomic_file(folder / CSV) as path, path.open("w", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(table.column_names)
        writer.writerows([shown(value) for value in row] for row in rows)
    with atomic_file(folder / SKIPPED) as path, path.open("w", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(("line", "contig", "position", "ref", "alt", "reason"))
        for one in checked.alleles:
            if one.reason is not None:
                row = one.row
                alt = row.alts[one.number]
                writer.writerow((row.line, row.contig, row.start + 1, row.ref, alt, one.reason))


def shown(value: object) -> object:
    """Return a value as text files have it: empty for None, and floats without noise.

    Args:
        value: A value of a table.
    """
    return "" if value is None else f"{value:.{DIGITS}g}" if isinstance(value, float) else value


def count_calls(table: pa.Table, what: str) -> int:
    """Return how many alleles gain or lose a call.

    Args:
        table: Table of `variant_table`.
        what: `GAINED` or `LOST`.
    """
    return int(pc.sum(pc.equal(table["call"], what)).as_py() or 0)

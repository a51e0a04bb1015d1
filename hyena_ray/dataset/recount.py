"""Count prepared windows anew, to hold a manifest against the files that it describes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from hyena_ray.dataset.manifest import Count, DataFile
from hyena_ray.dataset.reader import PreparedData
from hyena_ray.dataset.schema import windows_from_table
from hyena_ray.genome.negatives import LABELLED
from hyena_ray.runs.stored_files import MANIFEST, Fault


class Group(NamedTuple):
    """Windows that a manifest counts together."""

    length: int
    """Bases of a window or a stretch."""
    split: str
    """Name of the split."""
    contig: str
    """Name of the contig; for sequences, the split."""


def count_faults(data: PreparedData) -> list[Fault]:
    """Hold the counts of a manifest against the labels and the kinds in the files.

    The number of negatives that could have been drawn is not in the files: it is at least the
    number of those that were.

    Args:
        data: Prepared data, not a view of a fold, whose files are as their checksums say.

    Returns:
        Counts that differ, counts of more negatives than could have been drawn, and windows whose
        kind says that they are labelled where they are not, or the other way round.

    Raises:
        InputError: A file is damaged.
    """
    manifest = data.manifest
    found = list(_faults_of(data, "counts", manifest.counts, manifest.files))
    if manifest.stretches is not None:
        stretches = manifest.stretches
        found += _faults_of(data, "stretches.counts", stretches.counts, stretches.files)
    return found


def _faults_of(
    data: PreparedData, name: str, counts: Sequence[Count], files: Sequence[DataFile]
) -> Iterator[Fault]:
    stored: dict[str, Counter[Group]] = {key: Counter() for key in ("positive", "negative")}
    stored["labelled"] = Counter()
    names = {number: kind for kind, number in data.manifest.kinds.items()}
    by_kind: Counter[tuple[Group, str]] = Counter()
    for file in files:
        windows = windows_from_table(data.read_file(file), data.folder / file.path)
        labelled = (windows.labels == 1).sum(1)
        wrong = ((windows.kind == data.manifest.kinds[LABELLED]) != (labelled > 0)).sum()
        if wrong:
            problem = f"{wrong} windows have a label and are of no such kind, or the reverse"
            yield Fault(file.path, problem)
        for contig in np.unique(windows.contig):
            group = Group(file.length, file.split, str(contig))
            of_contig = windows.contig == contig
            own = labelled[of_contig]
            kinds, numbers = np.unique(windows.kind[of_contig][own == 0], return_counts=True)
            for kind, number in zip(kinds.tolist(), numbers.tolist(), strict=True):
                by_kind[group, names.get(kind, f"kind {kind}")] += number
            stored["positive"][group] += int((own > 0).sum())
            stored["negative"][group] += int((own == 0).sum())
            stored["labelled"][group] += int(own.sum())
    for count in counts:
        group = Group(count.length, count.split, count.contig)
        place = f"({name}: {group.length} bases, {group.split}, {group.contig})"
        for key, found_by in stored.items():
            value, expected = getattr(count, key), found_by.pop(group, 0)
            if value != expected:
                yield Fault(MANIFEST, f"{place} says {key} {value}, and the files hold {expected}")
        for kind, told in count.kinds.items():
            expected = by_kind.pop((group, kind), 0)
            if told.drawn != expected:
                problem = f"says {kind} {told.drawn}, and the files hold {expected}"
                yield Fault(MANIFEST, f"{place} {problem}")
            if told.candidates < told.drawn:
                problem = f"says {told.drawn} {kind} of {told.candidates} candidates"
                yield Fault(MANIFEST, f"{place} {problem}")
        if count.candidates < count.negative:
            problem = f"says {count.negative} negatives of {count.candidates} candidates"
            yield Fault(MANIFEST, f"{place} {problem}")
    for (group, kind), rest in by_kind.items():
        place = f"({name}: {group.length} bases, {group.split}, {group.contig})"
        yield Fault(MANIFEST, f"{place} has no count of {kind}, and the files hold {rest}")
    for key, found_by in stored.items():
        for group, number in found_by.items():
            if number:
                place = f"({name}: {group.length} bases, {group.split}, {group.contig})"
                yield Fault(MANIFEST, f"{place} has no count, and the files hold {key} {number}")

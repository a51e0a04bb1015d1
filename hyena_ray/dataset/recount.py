"""Count prepared windows anew, to hold a manifest against the files that it describes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from hyena_ray.dataset.manifest import Count, DataFile
from hyena_ray.dataset.reader import PreparedData
from hyena_ray.dataset.schema import windows_from_table
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
    """Hold the counts of a manifest against the labels in the files.

    The number of negatives that could have been drawn is not in the files: it is at least the
    number of those that were.

    Args:
        data: Prepared data, not a view of a fold, whose files are as their checksums say.

    Returns:
        Counts that differ, and counts of more negatives than could have been drawn.

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
    for file in files:
        windows = windows_from_table(data.read_file(file), data.folder / file.path)
        labelled = (windows.labels == 1).sum(1)
        for contig in np.unique(windows.contig):
            group = Group(file.length, file.split, str(contig))
            own = labelled[windows.contig == contig]
            stored["positive"][group] += int((own > 0).sum())
            stored["negative"][group] += int((own == 0).sum())
            stored["labelled"][group] += int(own.sum())
    for count in counts:
        group = Group(count.length, count.split, count.contig)
        place = f"({name}: {group.length} bases, {group.split}, {group.contig})"
        for key, numbers in stored.items():
            value, expected = getattr(count, key), numbers.pop(group, 0)
            if value != expected:
                yield Fault(MANIFEST, f"{place} says {key} {value}, and the files hold {expected}")
        if count.candidates < count.negative:
            problem = f"says {count.negative} negatives of {count.candidates} candidates"
            yield Fault(MANIFEST, f"{place} {problem}")
    for key, numbers in stored.items():
        for group, number in numbers.items():
            if number:
                place = f"({name}: {group.length} bases, {group.split}, {group.contig})"
                yield Fault(MANIFEST, f"{place} has no count, and the files hold {key} {number}")

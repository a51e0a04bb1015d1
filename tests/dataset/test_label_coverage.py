"""Every labelled base is counted once, as kept or with the reason of its loss."""

from __future__ import annotations

import logging
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from hyena_ray.dataset.manifest import Manifest
from hyena_ray.genome.label_coverage import LabelCoverage
from hyena_ray.genome.splits import parse_split
from tests.dataset.small_genome import SPLIT, Inputs

STRETCH = 50


def stretch_splits(inputs: Inputs, rule: str, name: str) -> list[int]:
    """Split of every stretch of a contig, as `prepare` draws it."""
    size = len(inputs.contigs[name])
    starts = range(0, size, STRETCH)
    labelled = {p for a, b in inputs.regions[name] for p in range(a, b)}
    positive = np.array([bool(labelled & set(range(s, s + STRETCH))) for s in starts])
    seed = [0, STRETCH, *name.encode()]
    splits: list[int] = parse_split(rule).assign(name, positive, seed).tolist()
    return splits


def fate_of_base(
    inputs: Inputs, name: str, base: int, length: int, stride: int, splits: list[int]
) -> str:
    """Look at every tile that holds a base."""
    bases = inputs.contigs[name]
    if len(bases) < length:
        return "short_contig"
    banned = {p for a, b in inputs.blacklist[name] for p in range(a, b)}
    reasons = []
    for start in range(0, len(bases) - length + 1, stride):
        if not start <= base < start + length:
            continue
        if bases[start : start + length].count("N") > length / 2:
            reasons.append("unknown")
        elif banned & set(range(start, start + length)):
            reasons.append("blacklist")
        elif splits[start // STRETCH] != splits[(start + length - 1) // STRETCH]:
            reasons.append("border")
        else:
            return "kept"
    return max(reasons, key=["unknown", "blacklist", "border"].index, default="contig_end")


def merged(pairs: list[tuple[int, int]]) -> list[tuple[int, int]]:
    regions: list[tuple[int, int]] = []
    for start, end in sorted(pairs):
        if regions and start <= regions[-1][1]:
            regions[-1] = regions[-1][0], max(end, regions[-1][1])
        else:
            regions.append((start, end))
    return regions


def counted(
    inputs: Inputs, rule: str, entry: LabelCoverage, stride: int
) -> tuple[Counter[str], Counter[str]]:
    """Count regions and bases of a split base by base."""
    index = parse_split(rule).names.index(entry.split)
    regions: Counter[str] = Counter()
    bases: Counter[str] = Counter()
    for name in inputs.contigs:
        splits = stretch_splits(inputs, rule, name)
        for start, end in merged(inputs.regions[name]):
            fates = [
                fate_of_base(inputs, name, base, entry.length, stride, splits)
                for base in range(start, end)
            ]
            for base, fate in zip(range(start, end), fates, strict=True):
                if splits[base // STRETCH] == index:
                    bases[fate] += 1
            if splits[start // STRETCH] == index:
                regions["kept" if "kept" in fates else fates[0]] += 1
    return regions, bases


RULES = {"contig": SPLIT, "random": "stratified:0.6/0.2/0.2", "folds": "kfold:3"}


@pytest.mark.parametrize("rule", RULES.values(), ids=list(RULES))
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("stride", [None, 5])
def test_the_counts_are_those_of_a_loop_over_bases(
    tmp_path: Path, rule: str, seed: int, stride: int | None
) -> None:
    inputs = Inputs(tmp_path, seed)
    recipe = inputs.settings(split=rule, lengths=[20, 35], train_stride=stride)
    manifest = recipe.write(None)
    assert manifest.stretches is not None
    for coverage, step in ((manifest.labels, stride), (manifest.stretches.labels, None)):
        assert coverage
        for entry in coverage:
            regions, bases = counted(inputs, rule, entry, step or entry.length)
            for found, expected in ((entry.regions, regions), (entry.bases, bases)):
                assert found.model_dump() == {
                    name: expected[name] for name in type(found).model_fields
                }
    assert {(e.length, e.split) for e in manifest.labels} == {
        (count.length, count.split) for count in manifest.counts
    }


SIZES = {"chr1": 5999, "chr2": 3000, "chr3": 3000, "chr4": 3000, "tiny": 700}


def prepared(folder: Path, rows: str, **changes: object) -> Manifest:
    rng = np.random.default_rng(0)
    genome = "".join(f">{n}\n{''.join(rng.choice(list('ACGT'), s))}\n" for n, s in SIZES.items())
    inputs = Inputs(folder)
    inputs.genome.write_text(genome)
    inputs.bed.write_text(rows)
    split = "contig:train=chr1,tiny;val=chr2;test=chr3"
    common = {"blacklist": None, "lengths": [100], "stretch": 1000, "split": split}
    return inputs.settings(**common | changes).write(None)


GOOD = "".join(
    f"{name}\t{at}\t{at + 40}\n" for name in ("chr1", "chr2", "chr3") for at in (10, 910)
)


def test_a_region_that_no_window_reaches_is_counted_printed_and_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        manifest = prepared(tmp_path, GOOD + "chr1\t5950\t5990\nchr4\t5\t9\ntiny\t5\t25\n")
    (train,) = manifest.labels
    assert train.regions.lost == {"contig_end": 1}
    assert train.bases.lost == {"contig_end": 40}
    assert train.regions.kept == 3
    text = "train, 100 bases: 3 of 4 regions and 100 of 140 labelled bases are kept; lost: 1 region"
    assert text in manifest.table()
    assert "1 region on contigs that are in no split" in manifest.table()
    assert any(record.message.startswith(text) for record in caplog.records)


def test_stretches_lose_regions_that_windows_keep(tmp_path: Path) -> None:
    split = "contig:train=chr2;val=chr1;test=chr3,tiny"
    manifest = prepared(tmp_path, GOOD + "chr1\t5400\t5440\ntiny\t5\t25\n", split=split)
    assert manifest.stretches is not None
    lost = {entry.split: entry.regions.lost for entry in manifest.stretches.labels}
    assert lost == {"val": {"contig_end": 1}, "test": {"short_contig": 1}}


def test_nothing_is_warned_of_where_all_is_kept(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        manifest = prepared(tmp_path, GOOD)
    assert not any(entry.regions.lost for entry in manifest.label_coverage)
    assert not [record for record in caplog.records if "kept" in record.message]

"""Prepared data that were damaged or changed: the Parquet part of the list of bad inputs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hyena_ray.runs.record import KINDS
from tests.jobs.bad_inputs import (
    ATTRIBUTE,
    COMPARE,
    EVALUATE,
    SANITY,
    TRAIN,
    TUNE,
    Case,
    Change,
    Line,
    User,
    as_it_is,
    at,
    both,
    edited,
    holds,
    reads,
    removed,
    with_json,
)

PART = "data/stretches/split=test/part-00000.parquet"
MANIFEST = "data/manifest.json"


def rewritten(change: Callable[[pa.Table], pa.Table]) -> Change:
    """The file holds another table."""

    def rewrite(folder: Path) -> None:
        table = pq.read_table(folder / PART)
        pq.write_table(change(table), folder / PART)

    return rewrite


def retyped(table: pa.Table) -> pa.Table:
    start = table["start"].cast(pa.float64())
    return table.set_column(2, pa.field("start", pa.float64(), nullable=False), start)


def with_null(table: pa.Table) -> pa.Table:
    start = table["start"].to_pylist()
    return table.set_column(2, "start", pa.array([None, *start[1:]], pa.int64()))


def listed(**values: object) -> Change:
    """The manifest says something else of the file, which is the second of the stretches."""
    return with_json(MANIFEST, lambda manifest: manifest["stretches"]["files"][1].update(values))


def checksum(sha256: str) -> Change:
    """The manifest has another checksum of the file."""

    def change(manifest: Any) -> None:
        (file,) = (file for file in manifest["contents"] if f"data/{file['path']}" == PART)
        file["sha256"] = sha256

    return with_json(MANIFEST, change)


def stray_part(folder: Path) -> None:
    """A file that a directory read would take in."""
    (folder / PART).with_name("part-00001.parquet").write_bytes((folder / PART).read_bytes())


BAD: dict[str, tuple[Change, Line]] = {
    "truncated": (
        edited(PART, lambda content: content[:-40]),
        at(PART, "damaged"),
    ),
    "zero length": (
        holds(PART, b""),
        at(PART, "damaged"),
    ),
    "wrong magic": (
        edited(PART, lambda content: b"RAR1" + content[4:-4] + b"RAR1"),
        at(PART, "damaged"),
    ),
    "missing file": (removed(PART), at(PART, "missing")),
    "missing column": (
        rewritten(lambda table: table.drop_columns("labels")),
        at(PART, "labels", "missing"),
    ),
    "renamed column": (
        rewritten(lambda table: table.rename_columns({"labels": "label"})),
        at(PART, "labels", "missing"),
    ),
    "wrong type": (
        rewritten(retyped),
        at(PART, "start", "double", "int64"),
    ),
    "nulls": (
        rewritten(with_null),
        at(PART, "start", "int64 not null"),
    ),
    "another count": (
        listed(rows=7),
        at(f"{MANIFEST}: stretches.counts", "20", "7"),
    ),
    "another hash": (
        checksum("0" * 64),
        at(PART, "sha256", "differs"),
    ),
    "a changed bit": (
        edited(PART, lambda content: content[:99] + bytes([content[99] ^ 1]) + content[100:]),
        at(PART, "sha256", "differs"),
    ),
    "stray part": (
        stray_part,
        at("data/stretches/split=test/part-00001.parquet", "not list", "manifest.json"),
    ),
    "a path out of the folder": (
        listed(path="../../x"),
        at(MANIFEST, "stretches.files.1.path", "../../x"),
    ),
    "no manifest": (
        removed(MANIFEST),
        at("--data", "data", "manifest.json", "prepare"),
    ),
    "manifest of another version": (
        with_json(MANIFEST, lambda manifest: manifest.update(schema_version=99)),
        at(MANIFEST, "99", f"reads {KINDS['prepare'].schema_version}"),
    ),
    "edited manifest": (
        edited(MANIFEST, lambda content: content.replace(b'"candidates": ', b'"candidates": 1')),
        at(MANIFEST, "changed", "sha256"),
    ),
    "other tokens": (
        with_json(MANIFEST, lambda manifest: manifest["tokens"].update(A=8)),
        at(f"{MANIFEST}: tokens", "7"),
    ),
    "counts that its files have not": (
        with_json(MANIFEST, lambda manifest: manifest["counts"][0].update(positive=1)),
        at(f"{MANIFEST}: counts", "20", "train"),
    ),
    "truncated manifest": (
        edited(MANIFEST, lambda content: content[:99]),
        at(MANIFEST, "JSON"),
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_prepared_data_that_were_damaged_are_refused(user: User, case: str) -> None:
    change, line = BAD[case]
    user.is_refused(Case(change, EVALUATE, line))


READERS = {
    command.split()[0]: command
    for command in (f"{TRAIN} --test", EVALUATE, SANITY, TUNE, ATTRIBUTE, COMPARE)
}


@pytest.mark.parametrize("job", READERS)
def test_every_job_finds_a_damaged_test_split_before_it_writes(user: User, job: str) -> None:
    """Not after the hours of training that come first."""
    line = at(PART, "sha256", "differs")
    change = edited(PART, lambda content: content[:99] + bytes([content[99] ^ 1]) + content[100:])
    user.is_refused(Case(change, READERS[job], line))


LONG_WINDOW = at("model", "50 bases", "data", "40 bases", "--stretch 50")
OTHER_FLANK = at("model", "5 bases", "data", "4 bases", "--flank 5")


@pytest.mark.parametrize("job", ["evaluate", "sanity", "attribute"])
def test_windows_that_the_data_cannot_give_are_refused(user: User, job: str) -> None:
    user.is_refused(Case(reads("window", 50), READERS[job], LONG_WINDOW))
    longer = both(reads("window", 20), reads("flank", 5))
    user.is_refused(Case(longer, READERS[job], OTHER_FLANK))


@pytest.mark.parametrize("job", ["evaluate", "sanity", "attribute"])
def test_data_of_another_kind_than_the_models_are_refused(user: User, job: str) -> None:
    command = READERS[job].replace("--data data", "--data sequences")
    user.is_refused(Case(as_it_is, command, at("model", "bases", "sequences", "promoter")))


def test_a_stray_temporary_file_changes_nothing(user: User) -> None:
    command = EVALUATE.replace("--out out", "--out plain")
    assert user.runs(command).code == 0
    (user.folder / PART).with_name(".part-00001.parquet.7.tmp").write_bytes(b"half")
    (user.folder / PART).with_name("part-00001.tmp").write_bytes(b"half")
    done = user.runs(EVALUATE)
    assert done.code == 0, done.stderr
    found, plain = (user.folder / name / "evaluation.json" for name in ("out", "plain"))
    assert found.read_bytes() == plain.read_bytes()

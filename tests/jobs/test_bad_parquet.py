"""Prepared data that were damaged or changed: the Parquet part of the list of bad inputs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.jobs.bad_inputs import (
    ATTRIBUTE,
    COMPARE,
    EVALUATE,
    SANITY,
    TRAIN,
    TUNE,
    Case,
    Change,
    User,
    as_it_is,
    both,
    edited,
    holds,
    reads,
    removed,
    with_json,
)

PART = "data/length=20/split=test/part-00000.parquet"
MANIFEST = "data/manifest.json"
AGAIN = "prepare the data again"


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
    """The manifest says something else of the file, which is the third."""
    return with_json(MANIFEST, lambda manifest: manifest["files"][2].update(values))


def stray_part(folder: Path) -> None:
    """A file that a directory read would take in."""
    (folder / PART).with_name("part-00001.parquet").write_bytes((folder / PART).read_bytes())


BAD: dict[str, tuple[Change, str]] = {
    "truncated": (
        edited(PART, lambda content: content[:-40]),
        f"{PART}: damaged Parquet file (...); {AGAIN}",
    ),
    "zero length": (holds(PART, b""), f"{PART}: damaged Parquet file (...); {AGAIN}"),
    "wrong magic": (
        edited(PART, lambda content: b"RAR1" + content[4:-4] + b"RAR1"),
        f"{PART}: damaged Parquet file (...); {AGAIN}",
    ),
    "missing file": (removed(PART), f"{PART}: the file is missing; {AGAIN}"),
    "missing column": (
        rewritten(lambda table: table.drop_columns("labels")),
        f"{PART}: labels: the column is missing; {AGAIN}",
    ),
    "renamed column": (
        rewritten(lambda table: table.rename_columns([*table.column_names[:4], "label"])),
        f"{PART}: labels: the column is missing; {AGAIN}",
    ),
    "wrong type": (
        rewritten(retyped),
        f"{PART}: start is double not null: the manifest's windows have int64 not null; {AGAIN}",
    ),
    "nulls": (
        rewritten(with_null),
        f"{PART}: start is int64: the manifest's windows have int64 not null; {AGAIN}",
    ),
    "another count": (
        listed(rows=7),
        f"{PART}: 48 rows: the manifest says 7; {AGAIN}",
    ),
    "another hash": (
        listed(sha256="0" * 64),
        f"{PART}: sha256 differs from the manifest's; {AGAIN}",
    ),
    "a changed bit": (
        edited(PART, lambda content: content[:99] + bytes([content[99] ^ 1]) + content[100:]),
        f"{PART}: sha256 differs from the manifest's; {AGAIN}",
    ),
    "stray part": (
        stray_part,
        "data/length=20/split=test/part-00001.parquet: manifest.json does not list the file; "
        "remove it",
    ),
    "a path out of the folder": (
        listed(path="../../x"),
        f"{MANIFEST}: files.2.path: ../../x: String should match pattern ...; correct the value",
    ),
    "no manifest": (
        removed(MANIFEST),
        "data: has no manifest.json: not a prepared folder, or an unfinished one; "
        "make it with jobs/prepare.py",
    ),
    "manifest of another version": (
        edited(MANIFEST, lambda content: content.replace(b'_version": 2', b'_version": 9')),
        f"{MANIFEST}: schema_version: 9: this version reads 2; {AGAIN}",
    ),
    "truncated manifest": (
        edited(MANIFEST, lambda content: content[:99]),
        f"{MANIFEST}: not readable as JSON (...); make it again",
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
    line = f"{PART}: sha256 differs from the manifest's; {AGAIN}"
    change = edited(PART, lambda content: content[:99] + bytes([content[99] ^ 1]) + content[100:])
    user.is_refused(Case(change, READERS[job], line))


OTHER_WINDOW = (
    "model: window of 30 bases: the data in data has windows of 20 bases; "
    "prepare data with --lengths 30, or give another model"
)
OTHER_FLANK = (
    "model: flank of 5 bases: the data in data has 4 bases on each side; "
    "prepare data with --flank 5 or more, or give another model"
)


@pytest.mark.parametrize("job", ["evaluate", "sanity", "attribute"])
def test_windows_other_than_the_models_are_refused(user: User, job: str) -> None:
    user.is_refused(Case(reads("window", 30), READERS[job], OTHER_WINDOW))
    longer = both(reads("window", 20), reads("flank", 5))
    user.is_refused(Case(longer, READERS[job], OTHER_FLANK))


@pytest.mark.parametrize("job", ["evaluate", "sanity", "attribute"])
def test_data_of_another_kind_than_the_models_are_refused(user: User, job: str) -> None:
    command = READERS[job].replace("--data data", "--data sequences")
    line = "model: labels bases: the data in sequences is promoter; "
    user.is_refused(Case(as_it_is, command, f"{line}give a model of that task, or other data"))


def test_a_stray_temporary_file_changes_nothing(user: User) -> None:
    command = EVALUATE.replace("--out out", "--out plain")
    assert user.runs(command).code == 0
    (user.folder / PART).with_name(".part-00001.parquet.7.tmp").write_bytes(b"half")
    (user.folder / PART).with_name("part-00001.tmp").write_bytes(b"half")
    done = user.runs(EVALUATE)
    assert done.code == 0, done.stderr
    found, plain = (user.folder / name / "evaluation.json" for name in ("out", "plain"))
    assert found.read_bytes() == plain.read_bytes()

"""Sequences from CSV: in one split each, counted, and refused by line when they are no DNA."""

from __future__ import annotations

import csv
import gzip
import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hyena_ray.dataset.manifest import Manifest
from hyena_ray.dataset.preparation import PrepareSettings, SequenceSettings, prepare
from hyena_ray.dataset.reader import PreparedData
from hyena_ray.dataset.tokens import decode
from hyena_ray.errors import InputError
from hyena_ray.genome.simulation import SIMULATED
from hyena_ray.runs.record import MANIFEST

SPLITS = ("train", "val", "test")
Row = tuple[str, int]
ROWS: dict[str, list[Row]] = {
    "train": [("ACGTA", 1), ("CCCCC", 0), ("GATTA", 1), ("NNNNN", 0), ("CCCCC", 1), ("GATTA", 1)],
    "val": [("TTTTT", 0), ("acgta", 1), ("GGGGG", 1), ("TACAT", 0)],
    "test": [("AAAAA", 0), ("TACAT", 1), ("AAAAA", 0)],
}


def save(folder: Path, rows: dict[str, list[Row]]) -> SequenceSettings:
    folder.mkdir(parents=True, exist_ok=True)
    for split, of_split in rows.items():
        lines = "".join(f"{sequence},{label}\n" for sequence, label in of_split)
        (folder / f"{split}.csv").write_text(f"sequence,label\n{lines}")
    return recipe(folder)


def recipe(folder: Path, **changes: Path) -> SequenceSettings:
    paths = {split: folder / f"{split}.csv" for split in SPLITS}
    return SequenceSettings(task="promoter", **(paths | changes))


def rows_of(data: PreparedData, split: str) -> list[tuple[int, str, int, str, int]]:
    windows = data.read(data.manifest.lengths[0], split)
    assert windows.labels.shape == (len(windows.start), 1)
    return [
        (int(number), str(contig), int(start), decode(tokens), int(label))
        for number, contig, start, tokens, (label,) in zip(*windows[:5], strict=True)
    ]


def test_each_split_holds_its_rows_but_those_of_a_later_one(tmp_path: Path) -> None:
    manifest = prepare(save(tmp_path, ROWS), tmp_path / "data")
    data = PreparedData.open(tmp_path / "data")
    assert rows_of(data, "train") == [
        (1, "train", 1, "CCCCC", 0),
        (2, "train", 2, "GATTA", 1),
        (3, "train", 3, "NNNNN", 0),
        (4, "train", 4, "CCCCC", 1),
        (5, "train", 5, "GATTA", 1),
    ]
    assert rows_of(data, "val") == [
        (6, "val", 0, "TTTTT", 0),
        (7, "val", 1, "ACGTA", 1),
        (8, "val", 2, "GGGGG", 1),
    ]
    assert [row[3:] for row in rows_of(data, "test")] == ROWS["test"]
    assert data.window_ids(5, "test").tolist() == [10, 11, 12]
    counts = [(r.rows, r.dropped, r.repeated, r.conflicting) for r in manifest.sequences]
    assert counts == [(6, 1, 2, 2), (4, 1, 0, 0), (3, 0, 1, 0)]
    assert "train: dropped 1 of 6 sequences" in manifest.table()
    assert (manifest.lengths, manifest.flank, manifest.splits) == ((5,), 0, SPLITS)
    assert not manifest.simulated
    assert Manifest.read(tmp_path / "data") == manifest
    assert {i.role: i.sha256 for i in manifest.inputs} == {
        split: hashlib.sha256((tmp_path / f"{split}.csv").read_bytes()).hexdigest()
        for split in SPLITS
    }


SEQUENCE = st.tuples(st.text("ACG", min_size=3, max_size=3), st.integers(0, 1))


@settings(deadline=None, max_examples=30)
@given(st.tuples(*[st.lists(SEQUENCE, max_size=25)] * 3))
def test_no_sequence_is_in_two_splits_and_none_is_lost(
    tmp_path_factory: pytest.TempPathFactory, drawn: tuple[list[Row], ...]
) -> None:
    folder = tmp_path_factory.mktemp("drawn")
    # Some that no other file has, so that every split keeps both classes.
    own = [[(f"TG{last}", 0), (f"TT{last}", 1)] for last in "ACG"]
    rows = {split: own[i] + drawn[i] for i, split in enumerate(SPLITS)}
    manifest = prepare(save(folder, rows), folder / "data")
    data = PreparedData.open(folder / "data")
    found = {split: {row[3] for row in rows_of(data, split)} for split in SPLITS}
    assert found["train"].isdisjoint(found["val"] | found["test"])
    assert found["val"].isdisjoint(found["test"])
    given_ones = {sequence for of_split in rows.values() for sequence, _ in of_split}
    assert set.union(*found.values()) == given_ones
    for count, of, split in zip(manifest.counts, manifest.sequences, SPLITS, strict=True):
        kept = [row for row in rows[split] if row[0] in found[split]]
        assert [row[3:] for row in rows_of(data, split)] == kept
        assert count.positive == count.labelled == sum(label for _, label in kept)
        assert count.negative == count.candidates == len(kept) - count.positive
        assert of.dropped == len(rows[split]) - len(kept)
        assert of.repeated == len(kept) - len({sequence for sequence, _ in kept})
        both = {s for s, label in kept if (s, 1 - label) in kept}
        assert of.conflicting == sum(sequence in both for sequence, _ in kept)


@pytest.mark.parametrize(
    "stored",
    [
        lambda text: b"\xef\xbb\xbf" + text,
        lambda text: text.replace(b"\n", b"\r\n"),
        lambda text: text.rstrip(b"\n"),
        lambda text: gzip.compress(text),
        lambda text: text.replace(b"sequence,label", b'"sequence","label"'),
        lambda text: text.replace(b"ACGTA", b'"ACGTA"'),
        lambda text: text.lower(),
        lambda text: text.replace(b"\n", b"\n\n"),
        lambda text: b"".join(
            b",".join(reversed([b"x", *line.split(b",")])) + b"\n" for line in text.splitlines()
        ),
    ],
    ids=["bom", "crlf", "no end", "gzip", "quoted", "quoted row", "lower", "blank", "columns"],
)
def test_the_way_a_file_is_stored_changes_no_sequence(
    tmp_path: Path, stored: Callable[[bytes], bytes]
) -> None:
    plain = prepare(save(tmp_path, ROWS), tmp_path / "one")
    for split in SPLITS:
        path = tmp_path / f"{split}.csv"
        path.write_bytes(stored(path.read_bytes()))
    assert prepare(recipe(tmp_path), tmp_path / "two").files == plain.files


def test_sequences_that_were_simulated_stay_marked(tmp_path: Path) -> None:
    save(tmp_path, ROWS)
    with (tmp_path / "val.csv").open("w", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(("label", "origin", "sequence"))
        table.writerows([(1, "", "ACGTA"), (0, f"{SIMULATED} seed=3", "GGGGT")])
    manifest = prepare(recipe(tmp_path), tmp_path / "data")
    assert manifest.simulated
    assert "simulated" in manifest.table()


HEAD = "sequence,label\n"
BAD: dict[str, tuple[str | bytes, str]] = {
    "no header": (
        "ACGTA,1\nCCCCC,0\n",
        ":1: ACGTA,1: the column sequence is missing; write a first",
    ),
    "blank": ("\n\n", ": the file is empty; give --train"),
    "alphabet": (HEAD + "ACGTA,1\nACGEA,0\n", ":3: 'E': letter 4 of the sequence is not one of A"),
    "rna": (HEAD + "ACGUA,1\n", ":2: 'U': letter 4"),
    "blank letter": (HEAD + " CGTA,1\n", ":2: ' ': letter 1"),
    "not ascii": (HEAD + "ACGTÄ,1\n", ":2: 'Ä': letter 5"),
    "empty sequence": (HEAD + ",1\n", ":2: the sequence is empty; remove the line"),
    "lengths": (HEAD + "ACGTA,1\nACGT,0\n", ":3: 4 bases: the sequences before have 5"),
    "float label": (HEAD + "ACGTA,1.0\n", ":2: 1.0: the label is neither 0 nor 1"),
    "word label": (HEAD + "ACGTA,yes\n", ":2: yes: the label is neither 0 nor 1"),
    "no label": (HEAD + "ACGTA,\n", ":2: '': the label is neither 0 nor 1"),
    "more columns": (HEAD + "ACGTA,1\nACGTA,1,x\n", ":3: 3 columns: the first line has 2"),
    "open quote": (HEAD + '"ACGTA,1\nCCCCC,0\n', ":2: not CSV (unexpected end of data)"),
    "tabs": ("sequence\tlabel\nACGTA\t1\n", ":1: sequence label: the column sequence is missing"),
    "cut gzip": (gzip.compress(HEAD.encode() * 99)[:-9], ": damaged gzip"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_file_is_refused_by_line_and_nothing_is_written(tmp_path: Path, case: str) -> None:
    content, message = BAD[case]
    save(tmp_path / "in", ROWS)
    (tmp_path / "in" / "train.csv").write_bytes(
        content if isinstance(content, bytes) else content.encode()
    )
    with pytest.raises(InputError) as refusal:
        prepare(recipe(tmp_path / "in"), tmp_path / "deep" / "data")
    assert str(refusal.value).startswith(f"{tmp_path}/in/train.csv{message}")
    assert "\n" not in str(refusal.value)
    assert not (tmp_path / "deep").exists()


def test_files_that_do_not_go_together_are_refused(tmp_path: Path) -> None:
    settings = save(tmp_path / "in", ROWS | {"test": [("ACGT", 1), ("AAAA", 0)]})
    with pytest.raises(InputError, match=r"test\.csv: 4 bases: .*train\.csv have 5"):
        prepare(settings, tmp_path / "data")
    save(tmp_path / "in", ROWS)
    same = recipe(tmp_path / "in", val=tmp_path / "in" / "train.csv")
    with pytest.raises(InputError, match="train: every sequence is in the file of a later"):
        prepare(same, tmp_path / "data")
    with pytest.raises(InputError, match=r"none\.csv: there is no such file; give --test a CSV"):
        prepare(recipe(tmp_path / "in", test=Path("none.csv")), tmp_path / "data")
    assert not (tmp_path / "data").exists()


def test_what_a_task_is_not_made_from_is_refused(tmp_path: Path) -> None:
    settings = save(tmp_path, ROWS)
    with pytest.raises(InputError, match="task: zdna: labels belong to a base, which SequenceSet"):
        prepare(settings.updated({"task": "zdna"}, "test"), tmp_path / "data")
    windows = PrepareSettings(task="promoter", genome=tmp_path / "g", regions=tmp_path / "r")
    with pytest.raises(InputError, match="task: promoter: labels belong to a sequence"):
        prepare(windows, tmp_path / "data")


def test_an_existing_folder_is_replaced_only_on_request(tmp_path: Path) -> None:
    settings = save(tmp_path / "in", ROWS)
    prepare(settings, tmp_path / "data")
    with pytest.raises(InputError, match="exists already"):
        prepare(settings, tmp_path / "data")
    with pytest.raises(InputError, match="holds the input"):
        prepare(settings, tmp_path / "in", overwrite=True)
    (tmp_path / "data" / MANIFEST).rename(tmp_path / "manifest.json")
    with pytest.raises(InputError, match="something other than a run"):
        prepare(settings, tmp_path / "data", overwrite=True)
    (tmp_path / "manifest.json").rename(tmp_path / "data" / MANIFEST)
    prepare(settings, tmp_path / "data", overwrite=True)
    assert PreparedData.open(tmp_path / "data").count(5, "train") == 5


def test_the_benchmark_of_promoters_loses_what_its_files_share(
    shared: Path, tmp_path: Path
) -> None:
    folder = shared / "data" / "gue_prom_core_all"
    settings = recipe(folder, val=folder / "dev.csv")
    manifest = prepare(settings, tmp_path / "data")
    counts = [(r.rows, r.dropped, r.repeated, r.conflicting) for r in manifest.sequences]
    # 54 of train stand in dev, 42 others in test.
    assert counts == [(47_356, 96, 148, 80), (5_920, 8, 6, 6), (5_920, 0, 4, 2)]
    data = PreparedData.open(tmp_path / "data")
    keys = [{row.tobytes() for row in data.read(70, split).tokens} for split in SPLITS]
    assert keys[0].isdisjoint(keys[1] | keys[2])
    assert keys[1].isdisjoint(keys[2])
    assert np.concatenate([data.window_ids(70, split) for split in SPLITS])[-1] == 59_195

"""Prepare, against a loop over bases; every refusal leaves nothing behind."""

from __future__ import annotations

import gzip
import hashlib
import tracemalloc
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hyena_ray.dataset import genome_windows, schema
from hyena_ray.dataset.manifest import Count, DataFile, Manifest
from hyena_ray.dataset.preparation import PrepareSettings, prepare
from hyena_ray.dataset.reader import PreparedData
from hyena_ray.dataset.schema import Windows
from hyena_ray.dataset.tokens import decode
from hyena_ray.errors import InputError
from hyena_ray.genome.simulation import simulate_genome
from hyena_ray.runs.run import PROVENANCE
from tests.dataset.small_genome import SPLIT, Inputs, assert_same_windows


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    return Inputs(tmp_path_factory.mktemp("inputs"))


@pytest.fixture(scope="module")
def data(inputs: Inputs) -> PreparedData:
    return drawn_alike(inputs, inputs.folder / "data")


def drawn_alike(inputs: Inputs, folder: Path, **changes: object) -> PreparedData:
    """Prepare with as many held-out stretches with a label as without: three times as many would be
    all that so small a genome has."""
    prepare(inputs.settings(held_out_negatives="random:1", **changes), folder)
    return PreparedData.open(folder)


def content(folder: Path) -> dict[str, bytes]:
    """Return every file by name, but for the provenance, which says when they were written."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != PROVENANCE)
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def stored_ids(folder: Path, file: DataFile) -> list[int]:
    """Return the ids in a file, read without the package."""
    ids: list[int] = pq.read_table(folder / file.path, columns=["window_id"])[
        "window_id"
    ].to_pylist()
    return ids


Place = tuple[str, int]


def judged(inputs: Inputs, names: str, length: int) -> tuple[set[Place], set[Place]]:
    """Return where tiles with and without a label begin, after a loop over all bases."""
    positive: set[Place] = set()
    negative: set[Place] = set()
    for name in names:
        bases = inputs.contigs[name]
        for start in range(0, len(bases) - length + 1, length):
            tile = range(start, start + length)
            banned = any(p in tile for a, b in inputs.blacklist[name] for p in range(a, b))
            if banned or bases[start : start + length].count("N") > length / 2:
                continue
            labelled = any(p in tile for a, b in inputs.regions[name] for p in range(a, b))
            (positive if labelled else negative).add((name, start))
    return positive, negative


def assert_drawn(
    inputs: Inputs, windows: Windows, names: str, ratio: float, counts: tuple[Count, ...]
) -> None:
    """Check against a loop that all positive rows are there, the right number of negative ones, and
    that their tokens and labels are those of the genome."""
    length = windows.labels.shape[1]
    positive, negative = judged(inputs, names, length)
    places = list(zip(windows.contig.tolist(), windows.start.tolist(), strict=True))
    chosen = [bool(labels.any()) for labels in windows.labels]
    assert {p for p, c in zip(places, chosen, strict=True) if c} == positive
    drawn = {p for p, c in zip(places, chosen, strict=True) if not c}
    assert drawn <= negative
    assert len(drawn) == min(round(ratio * len(positive)), len(negative))
    assert {count.contig for count in counts} == set(names)
    for count in counts:
        assert count.candidates == sum(name == count.contig for name, _ in negative)
    before, bases_before = 0, {}
    for name, bases in inputs.contigs.items():
        bases_before[name] = before
        before += len(bases)
    ids = windows.window_id.tolist()
    assert ids == sorted(bases_before[name] + start for name, start in places)
    for row, (name, start) in enumerate(places):
        assert ids[row] == bases_before[name] + start
        padded = "N" * 7 + inputs.contigs[name].upper() + "N" * 7
        assert decode(windows.tokens[row]) == padded[start : start + length + 14]
        assert windows.labels[row].tolist() == [
            int(any(a <= base < b for a, b in inputs.regions[name]))
            for base in range(start, start + length)
        ]


@pytest.mark.parametrize("length", [20, 33])
def test_training_windows_equal_a_loop_over_bases(
    inputs: Inputs, data: PreparedData, length: int
) -> None:
    counts = data.manifest.counts_of(length, "train")
    assert_drawn(inputs, data.read(length, "train"), "ab", 1.5, counts)


@pytest.mark.parametrize(("split", "contig"), [("val", "c"), ("test", "d")])
def test_held_out_stretches_equal_a_loop_over_bases(
    inputs: Inputs, data: PreparedData, split: str, contig: str
) -> None:
    counts = data.manifest.counts_of(20, split)
    assert counts == data.manifest.counts_of(33, split)
    assert_drawn(inputs, data.read_held_out(split), contig, 1.0, counts)


def test_a_scan_holds_every_stretch_of_the_test_contigs_and_changes_nothing_else(
    inputs: Inputs, data: PreparedData, tmp_path: Path
) -> None:
    scan = drawn_alike(inputs, tmp_path / "data", scan=True)
    counts = scan.manifest.counts_of(20, "test")
    assert_drawn(inputs, scan.read_held_out("test"), "d", 1e6, counts)
    assert_same_windows(scan.read_held_out("val"), data.read_held_out("val"))
    assert_same_windows(scan.read(20, "train"), data.read(20, "train"))
    sampled = data.manifest.counts_of(20, "test")
    assert sum(count.negative for count in sampled) < sum(count.candidates for count in sampled)


@pytest.mark.parametrize("split", [SPLIT, "stratified:0.6/0.2/0.2", "kfold:3"])
def test_no_stretch_and_no_training_window_is_in_two_splits(
    inputs: Inputs, tmp_path: Path, split: str
) -> None:
    manifest = prepare(inputs.settings(split=split), tmp_path / "data")
    assert manifest.stretches is not None
    for length in manifest.lengths:
        ids = [stored_ids(tmp_path / "data", f) for f in manifest.files if f.length == length]
        assert len(np.unique(np.concatenate(ids))) == sum(map(len, ids)) > 0
    ids = [stored_ids(tmp_path / "data", file) for file in manifest.stretches.files]
    assert len(np.unique(np.concatenate(ids))) == sum(map(len, ids)) > 0


@settings(deadline=None, max_examples=8)
@given(st.integers(0, 1000))
def test_equal_inputs_and_seed_give_equal_bytes(
    tmp_path_factory: pytest.TempPathFactory, seed: int
) -> None:
    folder = tmp_path_factory.mktemp("repeat")
    inputs = Inputs(folder / "in", seed)
    for name in "xy":
        prepare(inputs.settings(seed=seed, split="kfold:3"), folder / name)
    assert content(folder / "x") == content(folder / "y")


def test_the_seed_changes_negatives_only(
    inputs: Inputs, data: PreparedData, tmp_path: Path
) -> None:
    prepare(inputs.settings(seed=1), tmp_path / "data")
    first, second = data.read(20, "train"), PreparedData.open(tmp_path / "data").read(20, "train")
    chosen = [w.window_id[w.labels.any(axis=1)].tolist() for w in (first, second)]
    assert chosen[0] == chosen[1]
    assert first.window_id.tolist() != second.window_id.tolist()


def test_the_order_of_contigs_changes_no_draw(inputs: Inputs, tmp_path: Path) -> None:
    turned = tmp_path / "turned.fa"
    names = reversed(inputs.contigs)
    turned.write_text("".join(f">{name}\n{inputs.contigs[name]}\n" for name in names))
    places = []
    for name, genome in (("one", inputs.genome), ("two", turned)):
        prepare(inputs.settings(genome=str(genome), negatives=2), tmp_path / name)
        windows = PreparedData.open(tmp_path / name).read(20, "train")
        places.append(set(zip(windows.contig.tolist(), windows.start.tolist(), strict=True)))
    assert places[0] == places[1]


def test_the_way_a_genome_is_stored_changes_no_window(inputs: Inputs, tmp_path: Path) -> None:
    packed = tmp_path / "genome.fa.gz"
    packed.write_bytes(gzip.compress(inputs.genome.read_bytes()))
    plain = prepare(inputs.settings(), tmp_path / "one")
    stored = prepare(inputs.settings(genome=str(packed)), tmp_path / "two")
    assert plain.files == stored.files
    assert stored.inputs[0].sha256 == hashlib.sha256(packed.read_bytes()).hexdigest()


@pytest.mark.parametrize("split", [SPLIT, "stratified:0.6/0.2/0.2", "kfold:3"])
def test_how_contigs_are_batched_changes_no_byte(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, split: str
) -> None:
    inputs = Inputs(tmp_path, seed=1)
    read, made = genome_windows.batched, []
    for bases in (1, 2_500, 1 << 20):
        monkeypatch.setattr(genome_windows, "batched", partial(read, bases=bases))
        folder = tmp_path / f"of_{bases}"
        prepare(inputs.settings(split=split, flank=40), folder)
        made.append(content(folder))
    assert made[0] == made[1] == made[2]


def test_parts_and_groups_change_no_row(
    inputs: Inputs, data: PreparedData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schema, "PART_ROWS", 13)
    monkeypatch.setattr(schema, "GROUP_ROWS", 4)
    prepare(inputs.settings(), tmp_path / "data")
    cut = PreparedData.open(tmp_path / "data")
    whole = data.read(20, "train")
    assert len(cut.files(20, "train")) == -(-len(whole.start) // 13) > 2
    assert_same_windows(whole, cut.read(20, "train"))
    count = cut.count(20, "train")
    assert count == len(whole.start)
    for first in range(0, count + 1, 5):
        for last in (first, min(first + 1, count), min(first + 20, count), count):
            some = cut.read_rows(20, "train", first, last)
            assert_same_windows(some, whole.rows(slice(first, last)))


def test_the_manifest_counts_what_the_files_hold(inputs: Inputs, data: PreparedData) -> None:
    manifest = data.manifest
    assert manifest.stretches is not None
    windows = [(count, data.read(count.length, count.split)) for count in manifest.counts]
    held_out = [(count, data.read_held_out(count.split)) for count in manifest.stretches.counts]
    assert {count.split for count, _ in windows} == {"train"}
    assert {count.split for count, _ in held_out} == {"val", "test"}
    for count, rows in windows + held_out:
        labels = rows.labels[rows.contig == count.contig]
        assert labels.shape[1] == count.length
        assert count.labelled == (labels == 1).sum()
        assert count.positive == labels.any(axis=1).sum()
        assert count.negative == len(labels) - count.positive
    assert set(data.all_files) == {*manifest.files, *manifest.stretches.files}
    assert {file.path for file in data.all_files} == {file.path for file in manifest.contents}
    for file in manifest.contents:
        assert file.sha256 == hashlib.sha256((data.folder / file.path).read_bytes()).hexdigest()
    assert [(c.name, c.length) for c in manifest.contigs] == [
        (name, len(bases)) for name, bases in inputs.contigs.items()
    ]
    assert {i.role: i.sha256 for i in manifest.inputs} == {
        "genome": hashlib.sha256(inputs.genome.read_bytes()).hexdigest(),
        "regions": hashlib.sha256(inputs.bed.read_bytes()).hexdigest(),
        "blacklist": hashlib.sha256(inputs.banned.read_bytes()).hexdigest(),
    }
    assert not manifest.simulated
    assert manifest.tokens["A"] == 7
    assert "1.5" not in manifest.table()
    # A head, two lengths that train, two splits of stretches, what for, and what each keeps.
    assert len(manifest.table().splitlines()) == 10


def test_candidates_are_counted_where_nothing_was_drawn(tmp_path: Path) -> None:
    genome, regions = tmp_path / "genome.fa", tmp_path / "regions.bed"
    genome.write_text("".join(f">{name}\n{'ACGT' * 100}\n" for name in "abcd"))
    regions.write_text("a\t5\t9\nc\t5\t9\n")
    settings = PrepareSettings(
        task="zdna",
        genome=genome,
        regions=regions,
        split="contig:train=a,b;test=c,d",
        stretch=100,
    )
    manifest = prepare(settings, tmp_path / "data")
    assert manifest.stretches is not None
    for counts, (first, second) in ((manifest.counts, "ab"), (manifest.stretches.counts, "cd")):
        found = {
            count.contig: (count.positive, count.negative, count.candidates) for count in counts
        }
        assert found == {first: (1, 3, 3), second: (0, 0, 4)}


def test_a_genome_that_was_simulated_stays_marked(tmp_path: Path) -> None:
    made = simulate_genome(tmp_path, contigs=3, contig_length=9_000, tracts=40, decoys=20)
    settings = PrepareSettings(task="zdna", genome=made.genome, regions=made.regions)
    manifest = prepare(settings, tmp_path / "data")
    assert manifest.simulated
    assert Manifest.read(tmp_path / "data") == manifest
    assert manifest.split.startswith("contig:train=")
    assert "simulated" in manifest.table()


def test_too_few_negatives_are_reported(inputs: Inputs, tmp_path: Path, caplog: object) -> None:
    assert isinstance(caplog, pytest.LogCaptureFixture)
    prepare(inputs.settings(negatives=1000), tmp_path / "data")
    assert "negatives fewer than asked for" in caplog.text


def test_memory_is_set_by_the_longest_contig_and_not_by_the_genome(tmp_path: Path) -> None:
    bases = b"ACGTTGCA" * 125_000
    peaks = []
    for contigs in (3, 3, 12):  # the first only loads what Python loads once
        genome, regions = tmp_path / "genome.fa", tmp_path / "regions.bed"
        genome.write_bytes(b"".join(b">c%d\n%s\n" % (i, bases) for i in range(contigs)))
        rows = [f"c{i}\t{s}\t{s + 9}\n" for i in range(contigs) for s in (50, 950, 2050)]
        regions.write_text("".join(rows))
        settings = PrepareSettings(
            task="zdna", genome=genome, regions=regions, split="kfold:3", stretch=300
        )
        tracemalloc.start()
        prepare(settings, tmp_path / "data", overwrite=True)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[2] < 1.2 * peaks[1]


def test_contigs_that_are_alike_get_different_negatives(tmp_path: Path) -> None:
    genome, regions = tmp_path / "genome.fa", tmp_path / "regions.bed"
    genome.write_text("".join(f">c{i}\n{'ACGT' * 2000}\n" for i in range(4)))
    regions.write_text("".join(f"c{i}\t{s}\t{s + 9}\n" for i in range(4) for s in (50, 950)))
    settings = PrepareSettings(
        task="zdna",
        genome=genome,
        regions=regions,
        split="contig:train=c0,c1;val=c2;test=c3",
        stretch=100,
    )
    prepare(settings, tmp_path / "data")
    data = PreparedData.open(tmp_path / "data")
    train = data.read(100, "train")
    starts = [train.start[train.contig == name].tolist() for name in ("c0", "c1")]
    assert starts[0] != starts[1]
    assert data.read(100, "val").start.tolist() != data.read(100, "test").start.tolist()


Change = Callable[[Inputs, Path], dict[str, object]]


def written(name: str, text: str) -> Change:
    """Replace an input by a file of this text."""

    def change(inputs: Inputs, folder: Path) -> dict[str, object]:
        path = folder / f"new.{name}"
        path.write_text(text)
        return {name: str(path)}

    return change


def given_value(**values: object) -> Change:
    """Change settings."""
    return lambda inputs, folder: values


BAD: dict[str, tuple[Change, str]] = {
    "no genome": (given_value(genome="/none.fa"), "/none.fa: there is no such file"),
    "blacklist": (written("blacklist", "z\t1\t2\n"), "new.blacklist:1: z: the genome has no such"),
    "no blacklist": (given_value(blacklist="/none.bed"), "no such file; give --blacklist"),
    "split lacks": (
        given_value(split="contig:train=a;val=z"),
        "--split: z: unknown contig",
    ),
    "unsplittable": (
        lambda inputs, folder: written("regions", "a\t1\t2\n")(inputs, folder) | {"split": None},
        "--split: a split by contig needs labelled regions on three contigs, not 1",
    ),
    "too long": (given_value(stretch=5000), "val has no 5000 bases with a labelled one"),
    "nothing to validate on": (
        written("regions", "a\t1\t9\nb\t1\t9\nd\t1\t9\n"),
        "val has no 50 bases with a labelled one among them; give it contigs",
    ),
    "nothing to learn": (
        written("regions", "c\t430\t440\nd\t400\t410\n"),
        "train has no 20 bases with a labelled one among them; give it contigs",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_refused_and_nothing_is_written(
    inputs: Inputs, tmp_path: Path, case: str
) -> None:
    change, message = BAD[case]
    changed = inputs.settings(**change(inputs, tmp_path))
    with pytest.raises(InputError) as refusal:
        prepare(changed, tmp_path / "deep" / "data")
    assert message in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert [path for path in tmp_path.rglob("*") if not path.name.startswith("new.")] == []


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"lengths": []}, "test: lengths"),
        ({"lengths": [0]}, "test: lengths"),
        ({"lengths": [100, 100]}, "test: lengths"),
        ({"lengths": [1.5]}, "test: lengths.0: 1.5"),
        ({"flank": -1}, "test: flank: -1"),
        ({"negatives": -0.1}, "test: negatives: -0.1"),
        ({"negatives": "nan"}, "test: negatives: nan"),
        ({"negatives": "tracts:1"}, "test: negatives: tracts:1: unknown kind"),
        ({"negatives": "other:1"}, "--negatives: other: unknown kind of negatives"),
        ({"held_out_negatives": "tract:1"}, "--held-out-negatives: tract:1: every stretch"),
        ({"seed": -1}, "test: seed: -1"),
        ({"flanks": 1}, "test: flanks: unknown key"),
        ({"stretch": 0}, "test: stretch: 0"),
        ({"lengths": [20, 51]}, "--lengths: 51: no stretch of 50 bases holds such a window; give"),
    ],
)
def test_settings_out_of_range_are_refused(
    inputs: Inputs, values: dict[str, object], message: str
) -> None:
    with pytest.raises(InputError) as refusal:
        inputs.settings(**values)
    assert str(refusal.value).startswith(message)


def test_an_existing_folder_is_replaced_only_on_request_and_only_when_complete(
    inputs: Inputs, tmp_path: Path
) -> None:
    out = tmp_path / "data"
    prepare(inputs.settings(), out)
    before = content(out)
    with pytest.raises(InputError, match="exists already"):
        prepare(inputs.settings(seed=1), out)
    with pytest.raises(InputError, match="no such file"):
        prepare(inputs.settings(genome="/none.fa"), out, overwrite=True)
    assert content(out) == before
    manifest: Manifest = prepare(inputs.settings(seed=1), out, overwrite=True)
    assert Manifest.read(out) == manifest
    assert content(out) != before


def test_overwrite_spares_folders_that_hold_other_things(inputs: Inputs, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years")
    with pytest.raises(InputError, match="something other than a run"):
        prepare(inputs.settings(), tmp_path, overwrite=True)
    with pytest.raises(InputError, match="holds the input"):
        prepare(inputs.settings(), inputs.folder, overwrite=True)
    assert (tmp_path / "thesis.txt").exists()


def test_the_real_genome_gives_the_agreed_windows(shared: Path, tmp_path: Path) -> None:
    folder = shared / "data" / "hg19_part"
    manifest = prepare(
        PrepareSettings(
            task="zdna",
            genome=folder / "genome.fa.gz",
            regions=folder / "zdna_kouzine.bed",
            blacklist=folder / "blacklist.bed",
            split="contig:train=chr13,chr14,chrX;val=chr7;test=chr20",
        ),
        tmp_path / "data",
    )
    data = PreparedData.open(tmp_path / "data")
    train = data.read(100, "train")
    assert (len(train.start), int(train.labels.any(axis=1).sum())) == (5372, 1343)
    assert manifest.stretches is not None
    of_split = {count.split: count for count in manifest.stretches.counts}
    assert list(of_split) == ["val", "test"]
    for split, count in of_split.items():
        assert data.count(1024, split) == 5 * count.positive == count.positive + count.negative
        assert data.count(100, split) == 11 * data.count(1024, split)
    # Stretches with a label hold all labelled bases of their contigs, but for a contig's end.
    bed = [line.split() for line in (folder / "zdna_kouzine.bed").read_text().splitlines()]
    for split, contig in (("val", "chr7"), ("test", "chr20")):
        labelled = sum(int(end) - int(start) for name, start, end in bed if name == contig)
        assert 0.98 * labelled < of_split[split].labelled <= labelled
    # Z-DNA has far more CG than the genome: labels that were shifted or turned would not.
    c, g = train.tokens[:, 64:163] == 8, train.tokens[:, 65:164] == 9
    both = (train.labels[:, :-1] == 1) & (train.labels[:, 1:] == 1)
    assert (c & g)[both].mean() > 5 * (c & g)[~both].mean()

"""Reading prepared data: whatever the manifest does not confirm is refused by name."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

import hyena_ray.genome
from hyena_ray.dataset.preparation import PrepareSettings, prepare
from hyena_ray.dataset.reader import PreparedData, sample_evenly
from hyena_ray.dataset.schema import Windows, table_from_windows, windows_from_table
from hyena_ray.errors import InputError
from hyena_ray.genome.simulation import simulate_genome
from hyena_ray.runs.stored_files import MANIFEST, StoredFile
from tests.dataset.small_genome import assert_same_windows
from tests.sealed_files import edit_sealed

PART = "length=50/split=train/part-00000.parquet"


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reader")
    made = simulate_genome(folder, contigs=3, contig_length=9_000, tracts=60, decoys=30)
    settings = PrepareSettings(
        task="zdna", genome=made.genome, regions=made.regions, lengths=(50,), flank=5
    )
    prepare(settings, folder / "data")
    return folder / "data"


@pytest.fixture
def folder(original: Path, tmp_path: Path) -> Path:
    shutil.copytree(original, tmp_path / "data")
    return tmp_path / "data"


def rewrite(change: Callable[[pa.Table], pa.Table]) -> Callable[[Path], None]:
    """Write the part anew with other content, and the manifest's checksum to fit."""

    def damage(folder: Path) -> None:
        table = change(pq.ParquetFile(folder / PART).read())
        pq.write_table(table, folder / PART, write_page_checksum=True)

        def fit(manifest: dict[str, Any]) -> None:
            others = [file for file in manifest["contents"] if file["path"] != PART]
            own = StoredFile.of(folder, PART).model_dump()
            manifest["contents"] = [*others, own]

        edit_sealed(folder / MANIFEST, fit)

    return damage


def edit(change: Callable[[dict[str, object]], dict[str, object]]) -> Callable[[Path], None]:
    """Change the part's entry in the manifest."""

    def damage(folder: Path) -> None:
        manifest = json.loads((folder / MANIFEST).read_text())
        manifest["files"] = [
            change(file) if file["path"] == PART else file for file in manifest["files"]
        ]
        (folder / MANIFEST).write_text(json.dumps(manifest))

    return damage


def with_bytes(change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        (folder / PART).write_bytes(change((folder / PART).read_bytes()))

    return damage


def retyped(name: str, kind: pa.DataType) -> Callable[[pa.Table], pa.Table]:
    def change(table: pa.Table) -> pa.Table:
        index = table.column_names.index(name)
        return table.set_column(index, name, table.column(name).cast(kind))

    return change


def with_null(table: pa.Table) -> pa.Table:
    start = table.column("start").to_pylist()
    return table.set_column(2, "start", pa.array([None, *start[1:]], pa.int64()))


def narrower(table: pa.Table) -> pa.Table:
    tokens = table.column("tokens").combine_chunks().to_numpy_ndarray()[:, :-2]
    array = pa.FixedShapeTensorArray.from_numpy_ndarray(np.ascontiguousarray(tokens))
    return table.set_column(3, pa.field("tokens", array.type, nullable=False), array)


BAD: dict[str, tuple[Callable[[Path], None], str]] = {
    "text": (with_bytes(lambda b: b"contig,start\n" * 9), "damaged Parquet file"),
    "other window": (rewrite(narrower), "the manifest's windows have"),
    "fewer rows": (rewrite(lambda t: t.slice(3)), "rows: the manifest says"),
}


@pytest.mark.parametrize("case", BAD)
def test_damage_is_refused_with_the_file_and_the_remedy(folder: Path, case: str) -> None:
    damage, problem = BAD[case]
    damage(folder)
    with pytest.raises(InputError) as refusal:
        PreparedData.open(folder).read(50, "train")
    text = str(refusal.value)
    assert text.startswith(f"{folder}/length=50/split=train/part-0000")
    assert problem in text
    assert text.endswith(("; prepare the data again", "; remove it"))
    assert "\n" not in text


@pytest.mark.parametrize("where", ["../part-00000.parquet", "length=50/../../part-00000.parquet"])
def test_a_part_outside_the_folder_is_refused_whatever_its_hash(folder: Path, where: str) -> None:
    (folder / PART).rename(folder.parent / "part-00000.parquet")
    edit(lambda file: file | {"path": where})(folder)
    with pytest.raises(
        InputError, match=r"manifest\.json: files\.\d+\.path: .*should match pattern"
    ):
        PreparedData.open(folder)


def test_no_bit_of_a_page_changes_unnoticed_after_the_check(folder: Path) -> None:
    data = PreparedData.open(folder)
    expected = data.read(50, "train")
    good = (folder / PART).read_bytes()
    pages = len(good) - 8 - int.from_bytes(good[-8:-4], "little")
    refused = 0
    for position in range(4, pages, pages // 60):
        flipped = bytes([good[position] ^ 1])
        (folder / PART).write_bytes(good[:position] + flipped + good[position + 1 :])
        try:
            found = data.read(50, "train")
        except InputError:
            refused += 1
        else:  # unused bits of page headers
            assert_same_windows(found, expected)
    assert refused > 50


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "has no manifest.json"),
        ("{", "not readable as JSON"),
        ("[]", "has no kind of run"),
        ('{"schema_version": 3}', "has no kind of run"),
        ('{"kind": "train", "schema_version": 4}', "is a training run, not prepared data"),
        ('{"kind": "prepare", "schema_version": 9}', "schema_version: 9: this version reads 6"),
        ('{"kind": "prepare", "schema_version": 6}', "fingerprint: is required"),
    ],
)
def test_a_broken_manifest_is_refused(folder: Path, content: str | None, problem: str) -> None:
    (folder / MANIFEST).unlink()
    if content is not None:
        (folder / MANIFEST).write_text(content)
    with pytest.raises(InputError) as refusal:
        PreparedData.open(folder)
    assert problem in str(refusal.value)
    assert str(refusal.value).startswith(str(folder))


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"there is no such folder; .*hyena-ray prepare"):
        PreparedData.open(tmp_path / "none")


def test_what_was_not_prepared_is_refused_with_what_was(folder: Path) -> None:
    data = PreparedData.open(folder)
    with pytest.raises(InputError, match="length: 100: was not prepared; there is 50"):
        data.files(100, "train")
    with pytest.raises(InputError, match="split: tset: unknown split, did you mean test"):
        data.read(50, "tset")


def test_rows_beyond_the_end_are_an_error(folder: Path) -> None:
    data = PreparedData.open(folder)
    count = data.count(50, "train")
    with pytest.raises(IndexError):
        data.read_rows(50, "train", 0, count + 1)
    assert data.read(50, "train", limit=count + 9).tokens.shape == (count, 60)
    assert data.read(50, "train", limit=3).labels.shape == (3, 50)
    assert data.read_rows(50, "train", 2, 2).tokens.shape == (0, 60)


def test_arrays_can_be_written_to(folder: Path) -> None:
    """PyTorch warns of, and may corrupt, memory that it cannot write to."""
    assert all(column.flags.writeable for column in PreparedData.open(folder).read(50, "train"))


def windows(count: int) -> Windows:
    rng = np.random.default_rng(0)
    return Windows(
        window_id=np.arange(count) * 3,
        contig=np.array([f"c{i // 4}" for i in range(count)]),
        start=np.arange(count) * 10,
        tokens=rng.integers(7, 12, (count, 8)).astype(np.uint8),
        labels=rng.integers(0, 2, (count, 4)).astype(np.int8),
        kind=rng.integers(0, 5, count).astype(np.uint8),
    )


def test_a_table_gives_its_windows_back_in_order_of_ids() -> None:
    expected = windows(10)
    table = table_from_windows(expected)
    shuffled = pa.concat_tables([table.slice(6), table.slice(0, 2), table.slice(2, 4)])
    for found in (windows_from_table(table), windows_from_table(shuffled)):
        assert_same_windows(found, expected)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda t: t.drop_columns("window_id"), "window_id: the column is missing"),
        (retyped("start", pa.int32()), "start is int32: not a column of int64"),
        (with_null, "start: the column holds nulls"),
        (
            lambda t: t.set_column(4, "labels", pa.array([[0, 1]] * 10, pa.list_(pa.int8()))),
            "not a column of int8",
        ),
    ],
)
def test_a_table_that_holds_no_windows_is_refused(
    change: Callable[[pa.Table], pa.Table], problem: str
) -> None:
    with pytest.raises(InputError, match=problem):
        windows_from_table(change(table_from_windows(windows(10))))


@given(count=st.integers(0, 500), limit=st.integers(1, 600))
def test_sampled_rows_are_as_many_as_asked_and_as_far_apart_as_can_be(
    count: int, limit: int
) -> None:
    rows = sample_evenly(count, limit)
    assert len(rows) == min(count, limit)
    if len(rows):
        assert rows[0] == 0
        gaps = np.diff(np.append(rows, count))
        assert gaps.min() >= 1
        assert gaps.max() - gaps.min() <= 1


def test_a_manifest_of_an_unknown_task_is_refused(folder: Path) -> None:
    edit_sealed(folder / MANIFEST, lambda manifest: manifest.update(task="zdan"))
    with pytest.raises(InputError, match=r"task: zdan: unknown task, did you mean zdna\?"):
        PreparedData.open(folder)


def imported(code: str, watched: set[str]) -> set[str]:
    """Return which of some modules a new process has imported after it ran the code."""
    code = f"{code}\nimport sys; print(*({watched} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_opening_prepared_data_imports_neither_arrow_nor_numpy(folder: Path) -> None:
    """The command line checks --data and --split before it loads anything slow."""
    code = f"""
from pathlib import Path
from hyena_ray.dataset.reader import PreparedData
PreparedData.open(Path({str(folder)!r})).check_split("train")
"""
    assert imported(code, {"numpy", "pyarrow", "torch", "transformers", "ray"}) == set()


def test_reading_genomes_imports_nothing_that_a_model_needs() -> None:
    genome = Path(hyena_ray.genome.__path__[0])
    modules = [f"hyena_ray.genome.{path.stem}" for path in genome.glob("[a-z]*.py")]
    slow = {"torch", "transformers", "ray", "optuna", "scipy", "pandas", "sklearn"}
    slow |= {"requests", "pooch", "pyarrow"}
    assert imported(f"import {', '.join(modules)}", slow) == set()

"""A folder of a disk and one on S3 are read and written alike."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from hyena_ray.errors import InputError
from hyena_ray.files import (
    atomic_file,
    atomic_folder,
    new_output,
    read_json,
    sha256_file,
    write_json,
)
from hyena_ray.storage import AnyPath, S3Path, arrow_file, local_copy, location, remove_folder


@pytest.fixture(params=["disk", "s3"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> AnyPath:
    if request.param == "disk":
        return tmp_path
    bucket: S3Path = request.getfixturevalue("bucket")
    return bucket


def names(folder: AnyPath) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_what_is_written_is_read_back(folder: AnyPath) -> None:
    path = folder / "a" / "values.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, {"one": 1})
    assert read_json(path) == {"one": 1}
    with path.open("rb") as stream, arrow_file(path) as of_arrow:
        assert stream.read() == of_arrow.read() == path.read_bytes() == path.read_text().encode()
    assert path.is_file()
    assert path.exists()
    assert not path.is_dir()
    assert path.parent.is_dir()
    assert not path.is_symlink()
    assert len(sha256_file(path)) == 64
    assert pickle.loads(pickle.dumps(path)) == path  # what this test wrote
    path.unlink()
    path.unlink(missing_ok=True)
    assert not path.exists()
    with pytest.raises(FileNotFoundError):
        path.unlink()
    with pytest.raises(FileNotFoundError):
        path.read_text()


def test_a_folder_is_listed_by_level_and_by_pattern(folder: AnyPath) -> None:
    for name in ("x=1/part-0", "x=1/part-1", "x=2/other", "top"):
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(name)
    assert names(folder) == ["top", "x=1", "x=2"]
    found = sorted(path.relative_to(folder) for path in folder.glob("x=*/part-*"))
    assert [path.name for path in found] == ["part-0", "part-1"]


def test_a_failed_write_leaves_what_was_there(folder: AnyPath) -> None:
    path = folder / "file"
    path.write_text("before")
    with pytest.raises(RuntimeError), atomic_file(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    with pytest.raises(RuntimeError), atomic_folder(folder / "new", last="done") as temporary:
        (temporary / "done").write_text("half")
        raise RuntimeError
    assert path.read_text() == "before"
    assert names(folder) == ["file"]


def test_a_folder_takes_the_place_of_another(folder: AnyPath) -> None:
    for content in ("old", "new"):
        with atomic_folder(folder / "model", last="a", replace=True) as temporary:
            for name in ("a", content):
                (temporary / name).write_text(content)
    assert names(folder / "model") == ["a", "new"]
    remove_folder(folder / "model")
    assert not (folder / "model").exists()
    remove_folder(folder / "model")


def test_the_file_that_means_complete_is_written_last(
    bucket: S3Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    monkeypatch.setattr(S3Path, "upload", lambda path, file: order.append(path.name))
    with atomic_folder(bucket / "out", last="b") as temporary:
        for name in "abc":
            (temporary / name).touch()
    assert order[-1] == "b"
    assert sorted(order) == ["a", "b", "c"]


def test_libraries_that_know_no_s3_are_given_a_copy(folder: AnyPath) -> None:
    (folder / "tree").mkdir()
    (folder / "tree" / "leaf").write_text("green")
    with local_copy(folder / "tree") as here:
        assert (here / "leaf").read_text() == "green"
    with local_copy(folder / "tree" / "leaf") as here:
        assert here.name == "leaf"
        assert here.read_text() == "green"
    if isinstance(folder, S3Path):
        assert not here.exists()
        with pytest.raises(FileNotFoundError), local_copy(folder / "none"):
            pass
        with pytest.raises(TypeError, match="not on a disk"):
            open(folder / "tree" / "leaf")  # noqa: SIM115, PTH123


def test_a_new_output_does_not_exist_yet(folder: AnyPath) -> None:
    (folder / "old").mkdir()
    (folder / "old" / "file").write_text("x")
    assert new_output(folder / "new") == folder / "new"
    with pytest.raises(InputError, match="exists already"):
        new_output(folder / "old")
    assert new_output(folder / "old", allow_existing=True) == folder / "old"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a/b", Path("a/b")),
        ("file:///tmp/a%20b", Path("/tmp/a b")),
        ("s3://bucket/a/b", S3Path("bucket/a/b")),
        ("s3://bucket/a/b/", S3Path("bucket/a/b")),
    ],
)
def test_a_location_is_a_path_or_a_uri(text: str, expected: AnyPath) -> None:
    assert location(text) == expected


def test_a_place_on_s3_reads_as_its_uri() -> None:
    path = location("s3://bucket/a")
    assert f"{path / 'b'}" == "s3://bucket/a/b"
    assert str(path.parent) == "s3://bucket"
    assert path == path.absolute() == path.resolve() == path.expanduser()


@pytest.mark.parametrize(
    "text",
    ["ftp://host/a", "s3://", "s3:///a", "s3://bucket/../other", "s3://b/a?x=1", "file://host/a"],
)
def test_no_other_place_is_taken(text: str) -> None:
    with pytest.raises(InputError, match=r"s3://bucket/folder"):
        location(text)

"""Assemblies by name: downloaded once and whole, whatever server, network and disk do."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from hyena_ray.errors import InputError, JobError
from hyena_ray.genome import _download, assemblies
from hyena_ray.genome.assemblies import ASSEMBLIES, fetch_assembly, resolve_genome
from tests.file_server import Served, file_server

PATH = "/goldenPath/hg38/bigZips/hg38.2bit"
CONTENT = np.random.default_rng(0).bytes(400_000)
OTHER = np.random.default_rng(1).bytes(400_000)


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    """A mirror that has hg38, an empty cache, and no patience."""
    monkeypatch.setattr(_download, "WAIT", 0.001)
    monkeypatch.setattr(_download, "CHUNK", 1000)
    monkeypatch.setenv("HYENA_RAY_CACHE", str(tmp_path / "cache"))
    with file_server() as server:
        server.files[PATH] = CONTENT
        monkeypatch.setenv("HYENA_RAY_GENOMES", f"{server.address}/goldenPath/")
        yield server


def cached(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "cache").iterdir())


def test_a_cached_assembly_needs_no_server(served: Served, tmp_path: Path) -> None:
    file = fetch_assembly("hg38")
    assert file == tmp_path / "cache" / "hg38.2bit"
    assert file.read_bytes() == CONTENT
    assert served.asked_for(".2bit") == [None]
    served.asked.clear()
    assert fetch_assembly("hg38") == file
    assert served.asked == []


def test_the_cache_records_what_was_checked(served: Served, tmp_path: Path) -> None:
    fetch_assembly("hg38")
    assert cached(tmp_path) == [".hg38.lock", "hg38.2bit", "hg38.2bit.json"]
    note = json.loads((tmp_path / "cache" / "hg38.2bit.json").read_text())
    assert note["md5"] == hashlib.md5(CONTENT).hexdigest()
    assert note["sha256"] == hashlib.sha256(CONTENT).hexdigest()
    assert note["url"] == f"{served.address}{PATH}"


def test_a_cut_connection_is_resumed_where_it_ended(served: Served) -> None:
    served.cut_after = [150_000, 100_000, 0]
    assert fetch_assembly("hg38").read_bytes() == CONTENT
    assert served.asked_for(".2bit") == [None, "bytes=150000-", "bytes=250000-", "bytes=250000-"]


def test_a_later_start_resumes_the_part_of_an_earlier_one(served: Served, tmp_path: Path) -> None:
    served.cut_after = [150_000, *[0] * _download.TRIES]
    with pytest.raises(JobError, match="the connection ended early, 4 times in a row; check the n"):
        fetch_assembly("hg38")
    assert ".hg38.2bit.part" in cached(tmp_path)
    assert "hg38.2bit" not in cached(tmp_path)
    served.cut_after.clear()
    served.asked.clear()
    assert fetch_assembly("hg38").read_bytes() == CONTENT
    assert served.asked_for(".2bit") == ["bytes=150000-"]
    assert cached(tmp_path) == [".hg38.lock", "hg38.2bit", "hg38.2bit.json"]


def test_a_part_that_is_the_whole_file_is_taken_as_it_is(served: Served, tmp_path: Path) -> None:
    served.cut_after = [399_000, *[0] * _download.TRIES]
    with pytest.raises(JobError):
        fetch_assembly("hg38")
    with (tmp_path / "cache" / ".hg38.2bit.part").open("ab") as part:
        part.write(CONTENT[-1000:])
    served.cut_after.clear()
    served.asked.clear()
    assert fetch_assembly("hg38").read_bytes() == CONTENT
    assert served.asked_for(".2bit") == ["bytes=400000-"]


def test_a_part_of_a_file_that_has_changed_is_discarded(served: Served) -> None:
    served.cut_after = [150_000, *[0] * _download.TRIES]
    with pytest.raises(JobError):
        fetch_assembly("hg38")
    served.cut_after.clear()
    served.asked.clear()
    served.files[PATH] = OTHER
    assert fetch_assembly("hg38").read_bytes() == OTHER
    assert served.asked_for(".2bit") == [None]  # the list of checksums was enough


@pytest.mark.parametrize("marks", [True, False])
def test_parts_of_two_files_are_never_joined(
    served: Served, monkeypatch: pytest.MonkeyPatch, marks: bool
) -> None:
    """The server changes its file in the middle; its ETag, or the checksum, shows it."""
    served.marks = marks
    served.files[PATH] = OTHER
    served.cut_after = [150_000]

    def changed(*_: object) -> None:
        served.files[PATH] = CONTENT

    monkeypatch.setattr(assemblies, "_listed_md5", lambda _: hashlib.md5(CONTENT).hexdigest())
    monkeypatch.setattr(_download, "_wait_for_retry", changed)
    assert fetch_assembly("hg38").read_bytes() == CONTENT
    again = [] if marks else [None]
    assert served.asked_for(".2bit") == [None, "bytes=150000-", *again]


def test_a_server_without_ranges_sends_it_all_again(served: Served) -> None:
    served.ranges = False
    served.cut_after = [150_000]
    assert fetch_assembly("hg38").read_bytes() == CONTENT


def test_a_server_may_send_shorter_ranges_than_were_asked_for(served: Served) -> None:
    served.at_most = 100_000
    served.cut_after = [150_000]
    assert fetch_assembly("hg38").read_bytes() == CONTENT
    assert served.asked_for(".2bit") == [
        None,
        "bytes=150000-",
        "bytes=250000-",
        "bytes=350000-",
    ]


def test_a_wrong_checksum_leaves_no_file(served: Served, tmp_path: Path) -> None:
    served.sums = False
    served.files[PATH.replace("hg38.2bit", "md5sum.txt")] = f"{'0' * 32}  hg38.2bit\n".encode()
    with pytest.raises(JobError, match=r"hg38\.2bit: what came does not have the checksum 0{32} "):
        fetch_assembly("hg38")
    assert cached(tmp_path) == [".hg38.lock"]


@pytest.mark.parametrize(
    "line", ["{md5}  hg38.2bit", "{md5} *hg38.2bit", "{md5}  ./hg38.2bit", "{MD5}  hg38.2bit"]
)
def test_every_spelling_of_the_list_of_checksums_is_read(served: Served, line: str) -> None:
    md5 = hashlib.md5(CONTENT).hexdigest()
    text = f"{'1' * 32}  hg38.fa.gz\n{line.format(md5=md5, MD5=md5.upper())}\n"
    served.sums = False
    served.files[PATH.replace("hg38.2bit", "md5sum.txt")] = text.encode()
    assert fetch_assembly("hg38").read_bytes() == CONTENT


def test_what_the_server_does_not_list_is_not_downloaded(served: Served) -> None:
    served.sums = False
    served.files[PATH.replace("hg38.2bit", "md5sum.txt")] = b"<html>please log in</html>"
    with pytest.raises(JobError, match=r"md5sum\.txt: it lists no checksum of hg38\.2bit; "):
        fetch_assembly("hg38")
    assert served.asked_for(".2bit") == []


def test_a_missing_file_is_reported_at_once(served: Served) -> None:
    served.statuses = [404]
    with pytest.raises(JobError, match=r"hg38\.2bit: the server answers 404 Not Found; look whet"):
        fetch_assembly("hg38")
    assert served.asked_for(".2bit") == [None]
    with pytest.raises(JobError, match=r"mm10/bigZips/md5sum\.txt: the server answers 404"):
        fetch_assembly("mm10")


def test_a_server_that_is_busy_is_asked_again(served: Served) -> None:
    served.statuses = [503, 429]
    assert fetch_assembly("hg38").read_bytes() == CONTENT
    assert len(served.asked_for(".2bit")) == 3


def test_no_answer_in_time_is_reported(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_download, "TIMEOUT", (5.0, 0.05))
    served.silent = 0.3
    with pytest.raises(JobError, match=r"md5sum\.txt: no answer in time, 4 times in a row; "):
        fetch_assembly("hg38")


def test_no_network_is_reported_in_one_line(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HYENA_RAY_GENOMES", "http://127.0.0.1:9/goldenPath")
    with pytest.raises(JobError) as error:
        fetch_assembly("hg38")
    assert str(error.value) == (
        "http://127.0.0.1:9/goldenPath/hg38/bigZips/md5sum.txt: the server cannot be reached, 4 "
        "times in a row; check the network and run again: what was downloaded is kept"
    )


def test_a_disk_that_is_too_small_is_reported_before_it_is_full(
    served: Served, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(_download.shutil, "disk_usage", lambda _: SimpleNamespace(free=399_999))
    with pytest.raises(JobError, match="cache: 1 MB are to come and 0 MB are free; free some, or "):
        fetch_assembly("hg38")
    assert cached(tmp_path) == [".hg38.lock"]


def test_a_disk_that_fills_up_is_reported_and_the_part_is_kept(
    served: Served, tmp_path: Path
) -> None:
    """The system refuses to write beyond a size, as it does on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, hard))
    try:
        with pytest.raises(JobError, match="give HYENA_RAY_CACHE a folder with room"):
            fetch_assembly("hg38")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    served.asked.clear()
    assert fetch_assembly("hg38").read_bytes() == CONTENT
    assert served.asked_for(".2bit") != [None]


def test_a_cache_that_cannot_be_made_is_reported(served: Served, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(JobError, match="cache: File exists; give HYENA_RAY_CACHE a folder with ro"):
        fetch_assembly("hg38")


def test_a_file_that_changed_in_the_cache_is_downloaded_again(served: Served) -> None:
    file = fetch_assembly("hg38")
    stored = file.stat()
    file.write_bytes(b"\0" + CONTENT[1:])
    served.asked.clear()
    assert fetch_assembly("hg38").read_bytes() == CONTENT
    assert served.asked_for(".2bit") == [None]
    os.utime(file, ns=(stored.st_atime_ns, stored.st_mtime_ns + 5))
    served.asked.clear()
    assert fetch_assembly("hg38") == file  # a copy: its content is looked at, and is what it was
    assert served.asked == []


def test_two_processes_download_it_once(served: Served) -> None:
    served.silent = 0.5
    code = (
        "from hyena_ray.genome.assemblies import fetch_assembly; "
        "print(fetch_assembly('hg38').stat().st_size)"
    )
    started = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    said = [process.communicate(timeout=120)[0] for process in started]
    assert said == ["400000\n"] * 2
    assert served.asked_for(".2bit") == [None]


def test_the_log_shows_the_progress_of_a_download(
    served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    served.cut_after = [150_000]
    with caplog.at_level(logging.INFO, "hyena_ray"):
        fetch_assembly("hg38")
    text = caplog.text
    assert "download hg38: started" in text
    assert "hg38.2bit: the connection ended early; tried again in 0 s" in text
    assert "download hg38: 0 of 1 MB" in text


def test_a_file_of_that_name_overrides_the_assembly(
    served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("hg38").mkdir()
    assert resolve_genome(Path("hg38")) == tmp_path / "cache" / "hg38.2bit"
    Path("hg38").rmdir()
    Path("hg38").write_text(">a\nA\n")
    assert resolve_genome(Path("hg38")) == Path("hg38")


@pytest.mark.parametrize("name", ["x.fa", "folder/hg38", "hg38.2bit"])
def test_a_path_with_an_ending_or_a_folder_is_no_assembly(
    served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=f"{name}: there is no such file"):
        resolve_genome(Path(name))
    Path(name).parent.mkdir(exist_ok=True)
    Path(name).touch()
    assert resolve_genome(Path(name)) == Path(name)
    assert served.asked == []


@pytest.mark.parametrize(
    ("name", "meant"),
    [("HG38", "hg38"), ("GRCh37", "hg19"), ("grcm39", "mm39"), ("hg83", "hg38")],
)
def test_a_wrong_name_is_answered_with_the_right_one(served: Served, name: str, meant: str) -> None:
    with pytest.raises(InputError) as refusal:
        resolve_genome(Path(name))
    assert str(refusal.value).startswith(f"--genome: {name}: ")
    assert f"did you mean {meant}?" in str(refusal.value)


def test_a_name_that_is_like_no_assembly_is_answered_with_all_of_them(served: Served) -> None:
    with pytest.raises(InputError) as refusal:
        resolve_genome(Path("rat"))
    assert "did you mean" not in str(refusal.value)
    assert all(name in str(refusal.value) for name in ASSEMBLIES)


def test_a_mirror_is_a_web_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HYENA_RAY_GENOMES", "file:///etc")
    with pytest.raises(InputError, match="HYENA_RAY_GENOMES: file:///etc: not the address of a we"):
        fetch_assembly("hg38")

"""A folder on S3 has one writer, and is free again soon after that one has died."""

from __future__ import annotations

import time

import pytest

from hyena_ray.errors import InputError
from hyena_ray.runs import _lock as module
from hyena_ray.runs._lock import lease, only_writer
from hyena_ray.storage import S3Path


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SECONDS", 2.0)


def test_a_second_writer_is_refused_and_the_first_one_stays(bucket: S3Path) -> None:
    out = bucket / "run"
    with only_writer(out):
        for _ in range(2):
            with (
                pytest.raises(InputError, match=r"s3://.*/run: another job is writing here"),
                only_writer(out),
            ):
                pass
        assert (out / ".lock").exists()


def test_a_lease_ends_with_its_block(bucket: S3Path) -> None:
    for _ in range(2):
        with lease(bucket / ".lock", bucket):
            assert (bucket / ".lock").exists()
        assert not (bucket / ".lock").exists()


def test_a_lease_that_nobody_renews_runs_out(bucket: S3Path) -> None:
    (bucket / ".lock").write_text("somebody who was killed 7")
    began = time.monotonic()
    with lease(bucket / ".lock", bucket):
        assert time.monotonic() - began >= module.SECONDS
        assert "somebody" not in (bucket / ".lock").read_text()


def test_of_two_that_saw_none_the_last_to_write_has_it(
    bucket: S3Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sleep = time.sleep

    def write_later(seconds: float) -> None:
        (bucket / ".lock").write_text("another one 0")
        sleep(0)

    monkeypatch.setattr(time, "sleep", write_later)
    with pytest.raises(InputError, match="another job"), lease(bucket / ".lock", bucket):
        pass
    assert (bucket / ".lock").read_text() == "another one 0"


def test_a_renewal_that_fails_is_not_the_last(
    bucket: S3Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    whole, failed = S3Path.write_text, []

    def fail_once(path: S3Path, content: str, encoding: str = "utf-8") -> None:
        if content.endswith(" 1"):
            failed.append(content)
            raise OSError("the network is down")
        whole(path, content, encoding)

    monkeypatch.setattr(S3Path, "write_text", fail_once)
    with lease(bucket / ".lock", bucket):
        deadline = time.monotonic() + 60
        while not (bucket / ".lock").read_text().endswith(" 2"):
            assert time.monotonic() < deadline
            time.sleep(0.1)
    assert failed
    assert "could not be renewed: the network is down" in caplog.text

"""A folder on S3 has one writer, and is free again soon after that one has died."""

from __future__ import annotations

import threading
import time

import pytest

from hyena_ray.errors import InputError, JobError
from hyena_ray.runs import lock as module
from hyena_ray.runs.lock import lease, only_writer
from hyena_ray.storage import AnyPath, S3Path


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


def test_a_writer_that_stalls_between_look_and_write_gets_nothing(
    bucket: S3Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = S3Path.write_version
    stalled: list[str | None] = []

    def stall(path: S3Path, content: str, version: str | None) -> str | None:
        if not stalled:
            stalled.append(version)
            with lease(path, bucket):  # another one comes and goes to work meanwhile
                assert whole(path, content, version) is None
                raise RuntimeError("the other one works")
        return whole(path, content, version)

    monkeypatch.setattr(S3Path, "write_version", stall)
    with pytest.raises(RuntimeError, match="the other one works"), lease(bucket / ".lock", bucket):
        pass
    assert stalled == [None]


def test_of_two_that_see_a_lease_run_out_one_gets_it(
    bucket: S3Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (bucket / ".lock").write_text("somebody who was killed 7")
    whole, taken = module._wait, threading.Barrier(2)

    def wait(path: S3Path, folder: AnyPath) -> str | None:
        version = whole(path, folder)
        taken.wait(60)  # both have seen that it ran out, and neither has written
        return version

    monkeypatch.setattr(module, "_wait", wait)
    ended, refusals = threading.Event(), []

    def contend() -> None:
        try:
            with lease(bucket / ".lock", bucket):
                ended.wait(60)
        except InputError as error:
            refusals.append(error)
            ended.set()

    both = [threading.Thread(target=contend) for _ in range(2)]
    for one in both:
        one.start()
    for one in both:
        one.join()
    assert len(refusals) == 1


def test_a_job_whose_lease_another_one_took_stops(bucket: S3Path) -> None:
    with (
        pytest.raises(JobError, match="another job writes here now"),
        lease(bucket / ".lock", bucket),
    ):
        for _ in range(60):
            # Again, since moto, unlike S3, may write over it after it has checked a condition.
            (bucket / ".lock").write_text("another one 0")
            time.sleep(1)
    assert (bucket / ".lock").read_text() == "another one 0"


def test_storage_that_ignores_conditions_is_refused(
    bucket: S3Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(path: S3Path, content: str, version: str | None) -> str:
        path.write_text(content)
        return "version"

    monkeypatch.setattr(S3Path, "write_version", write)
    with pytest.raises(InputError, match="ignores If-None-Match"), lease(bucket / ".lock", bucket):
        pass
    assert not (bucket / ".lock").exists()


def test_a_renewal_whose_answer_was_lost_is_the_jobs_own(
    bucket: S3Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = S3Path.write_version

    def send_twice(path: S3Path, content: str, version: str | None) -> str | None:
        whole(path, content, version)
        return whole(path, content, version)

    with lease(bucket / ".lock", bucket):
        monkeypatch.setattr(S3Path, "write_version", send_twice)
        wait_for(bucket, " 2")
    assert not (bucket / ".lock").exists()


def test_a_renewal_that_fails_is_not_the_last(
    bucket: S3Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    whole, failed = S3Path.write_version, []

    def fail_once(path: S3Path, content: str, version: str | None) -> str | None:
        if content.endswith(" 1"):
            failed.append(content)
            raise OSError("the network is down")
        return whole(path, content, version)

    monkeypatch.setattr(S3Path, "write_version", fail_once)
    with lease(bucket / ".lock", bucket):
        wait_for(bucket, " 2")
    assert failed
    assert "could not be renewed: the network is down" in caplog.text


def test_a_bucket_that_is_not_there_is_no_other_job(s3_server: object, bucket: S3Path) -> None:
    missing = S3Path("nobody-has-this-bucket") / ".lock"
    with pytest.raises(OSError, match="does not exist"):
        missing.write_version("mine", None)


def wait_for(bucket: S3Path, end: str) -> None:
    """Until the lease is renewed."""
    deadline = time.monotonic() + 60
    while not (bucket / ".lock").read_text().endswith(end):
        assert time.monotonic() < deadline
        time.sleep(0.1)

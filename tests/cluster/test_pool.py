"""Every shard once, through the death of any actor."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import ray

from hyena_ray.cluster.monitor import Progress, StalledError
from hyena_ray.cluster.pool import NAMES, TRIES, ShardError, Shards, run_shards
from hyena_ray.cluster.resources import Cluster, Resources
from hyena_ray.errors import InputError
from hyena_ray.progress import State

pytestmark = pytest.mark.usefixtures("cluster")
SMALL = Resources(cpu=0.5)


def squares(folder: Path, fault: Callable[[int, int], None] | None = None) -> Shards:
    """Shards 0 to 7; every begin leaves a line, and `fault(number, begins)` may do harm."""

    def make() -> Callable[[int], None]:
        def work(number: int) -> None:
            begun = folder / f"{number}.begun"
            with begun.open("a") as stream:
                stream.write("begun\n")
            if fault is not None:
                fault(number, len(begun.read_text().splitlines()))
            (folder / f"{number}.done").write_text(str(number**2))

        return work

    return Shards(
        name="squares",
        numbers=range(8),
        make=make,
        is_done=lambda number: (folder / f"{number}.done").exists(),
        describe=lambda number: f"square of {number}",
    )


def begins(folder: Path) -> list[int]:
    return [len((folder / f"{number}.begun").read_text().splitlines()) for number in range(8)]


def results(folder: Path) -> list[int]:
    return [int((folder / f"{number}.done").read_text()) for number in range(8)]


EXPECTED = [number**2 for number in range(8)]


@pytest.mark.parametrize("actors", [1, 4])
def test_each_shard_is_done_once_by_any_number_of_actors(tmp_path: Path, actors: int) -> None:
    report = run_shards(squares(tmp_path), actors=actors, resources=SMALL)
    assert (report.finished, report.deaths) == (8, 0)
    assert results(tmp_path) == EXPECTED
    assert begins(tmp_path) == [1] * 8


def test_a_pool_says_what_is_done_what_is_at_work_and_which_actors_it_waits_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    states: list[State] = []
    monkeypatch.setattr(Progress, "update", lambda progress, state: states.append(state))
    squares_of_ten = squares(tmp_path)._replace(windows=lambda number: 10)
    run_shards(squares_of_ten, actors=1, resources=SMALL)
    told = sorted({(each.done, each.windows, each.at_work) for each in states})
    at_work = [(done, 10 * done, (f"shard {done}",)) for done in range(8)]
    assert told == [(0, 0, ()), *at_work, (8, 80, ())]
    assert states[0].waiting == "1 actor to start"
    assert states[-1].waiting == ""


def test_a_shard_whose_actor_is_killed_is_done_by_another(tmp_path: Path) -> None:
    def killed_once(number: int, begin: int) -> None:
        if number in (2, 5) and begin == 1:
            os.kill(os.getpid(), signal.SIGKILL)

    report = run_shards(squares(tmp_path, killed_once), actors=2, resources=SMALL)
    assert (report.finished, report.deaths) == (8, 2)
    assert results(tmp_path) == EXPECTED
    assert begins(tmp_path) == [1, 1, 2, 1, 1, 2, 1, 1]


def test_a_shard_written_by_an_actor_that_died_before_saying_so_is_kept(tmp_path: Path) -> None:
    def written_then_killed(number: int, begin: int) -> None:
        if number == 3:
            (tmp_path / "3.done").write_text("9")
            os.kill(os.getpid(), signal.SIGKILL)

    report = run_shards(squares(tmp_path, written_then_killed), actors=2, resources=SMALL)
    assert (report.finished, report.deaths) == (8, 1)
    assert begins(tmp_path) == [1] * 8


def test_an_actor_works_on_several_shards_concurrently_if_allowed(tmp_path: Path) -> None:
    def wait_for_the_others(number: int, begin: int) -> None:
        deadline = time.monotonic() + 60
        group = range(number // 4 * 4, number // 4 * 4 + 4)
        while not all((tmp_path / f"{other}.begun").exists() for other in group):
            assert time.monotonic() < deadline
            time.sleep(0.01)

    shards = squares(tmp_path, wait_for_the_others)._replace(at_once=4)
    report = run_shards(shards, actors=1, resources=SMALL)
    assert (report.finished, report.deaths) == (8, 0)
    assert results(tmp_path) == EXPECTED
    assert begins(tmp_path) == [1] * 8


def test_all_shards_of_an_actor_that_dies_are_done_by_another(tmp_path: Path) -> None:
    def killed_with_its_neighbours(number: int, begin: int) -> None:
        if number == 2 and begin == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(0.1 * (begin == 1))

    shards = squares(tmp_path, killed_with_its_neighbours)._replace(at_once=4)
    report = run_shards(shards, actors=1, resources=SMALL)
    assert (report.finished, report.deaths) == (8, 1)
    assert results(tmp_path) == EXPECTED
    assert begins(tmp_path)[2] == 2
    assert max(begins(tmp_path)) == 2


def test_shards_that_are_done_are_not_begun(tmp_path: Path) -> None:
    run_shards(squares(tmp_path), actors=1, resources=SMALL)
    (tmp_path / "6.done").unlink()
    report = run_shards(squares(tmp_path), actors=1, resources=SMALL)
    assert report.finished == 1
    assert begins(tmp_path) == [1, 1, 1, 1, 1, 1, 2, 1]


@pytest.mark.parametrize("in_own_process", [False, True])
def test_shards_apart_have_a_process_each_and_others_share_one(
    tmp_path: Path, in_own_process: bool
) -> None:
    def made_here(number: int, begin: int) -> None:
        (tmp_path / f"{number}.process").write_text(str(os.getpid()))
        if number == 3 and begin == 1:
            raise ArithmeticError("planted")

    shards = squares(tmp_path, made_here)._replace(in_own_process=in_own_process, numbers=range(4))
    report = run_shards(shards, actors=1, resources=SMALL)
    assert (report.finished, report.deaths) == (4, 0)
    processes = {(tmp_path / f"{number}.process").read_text() for number in range(4)}
    assert len(processes) == (4 if in_own_process else 1)


def test_a_poisoned_shard_stops_the_job_and_is_named(tmp_path: Path) -> None:
    def poisoned(number: int, begin: int) -> None:
        if number == 4:
            raise ArithmeticError("planted")

    with pytest.raises(ShardError, match=r"square of 4 failed 4 times.*planted.*--resume"):
        run_shards(squares(tmp_path, poisoned), actors=1, resources=SMALL)
    assert len((tmp_path / "4.begun").read_text().splitlines()) == TRIES
    assert (tmp_path / "7.done").exists()


def test_bad_input_found_by_an_actor_is_not_tried_again(tmp_path: Path) -> None:
    def refuse(number: int, begin: int) -> None:
        raise InputError("part-0.parquet", None, "damaged", "prepare again")

    with pytest.raises(InputError, match=r"^part-0.parquet: damaged; prepare again$"):
        run_shards(squares(tmp_path, refuse), actors=1, resources=SMALL)
    assert begins_total(tmp_path) == 1


def test_no_actor_outlives_an_error(tmp_path: Path, cluster: Cluster) -> None:
    def refuse(number: int, begin: int) -> None:
        raise InputError("part-0.parquet", None, "damaged", "prepare again")

    most = Resources(cpu=cluster.cpus - 0.5)
    with pytest.raises(InputError) as held:
        run_shards(squares(tmp_path, refuse), actors=1, resources=most)
    # The error and its traceback are alive, and all CPUs but half a one are to be had.
    report = run_shards(squares(tmp_path), actors=1, resources=most, stall_seconds=60)
    assert report.finished == 8
    assert "prepare again" in str(held.value)


def begins_total(folder: Path) -> int:
    return sum(len(path.read_text().splitlines()) for path in folder.glob("*.begun"))


def test_work_that_writes_no_file_is_an_error(tmp_path: Path) -> None:
    shards = squares(tmp_path)._replace(make=lambda: lambda number: None, numbers=[0])
    with pytest.raises(ShardError, match="no file was written"):
        run_shards(shards, actors=1, resources=SMALL)


def test_what_cannot_be_placed_holds_no_shard(tmp_path: Path, cluster: Cluster) -> None:
    most = Resources(cpu=cluster.cpus - 0.5)
    report = run_shards(squares(tmp_path), actors=2, resources=most, stall_seconds=60)
    assert report.finished == 8


def test_a_pool_that_cannot_be_placed_stops_rather_than_waits(tmp_path: Path) -> None:
    with pytest.raises(StalledError, match="ray status"):
        run_shards(squares(tmp_path), actors=1, resources=Resources(cpu=512), stall_seconds=2)


@pytest.mark.parametrize(
    ("count", "names"),
    [(2, {"names shard 0", "names shard 1"}), (NAMES + 1, {"names shards"})],
)
def test_tasks_are_named_after_their_shards_unless_these_are_many(
    tmp_path: Path, count: int, names: set[str]
) -> None:
    def make() -> Callable[[int], object]:
        return lambda number: (tmp_path / str(number)).write_text(
            str(ray.get_runtime_context().get_task_name())
        )

    shards = squares(tmp_path)._replace(
        name="names",
        numbers=range(count),
        make=make,
        is_done=lambda number: (tmp_path / str(number)).exists(),
    )
    run_shards(shards, actors=1, resources=SMALL)
    assert {(tmp_path / str(number)).read_text() for number in range(count)} == names

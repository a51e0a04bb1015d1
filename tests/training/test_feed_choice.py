"""Windows are shared where they fit well, and a feed that does not fit is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from hyena_ray.dataset.reader import PreparedData
from hyena_ray.errors import InputError
from hyena_ray.training.feed_choice import (
    AUTO_FRACTION,
    MOST,
    Room,
    asked_feed,
    choose_feed,
    free_memory,
    windows_bytes,
)
from hyena_ray.training.settings import AskedFeed, Feed, RunSettings

ROOM = Room(1e9, "the object store")
WELL, BARELY, TOO_MUCH = AUTO_FRACTION * 1e9, MOST * 1e9, MOST * 1e9 + 1


@pytest.mark.parametrize(
    ("asked", "needed", "first", "feed"),
    [
        ("auto", WELL, None, "shared"),
        ("auto", WELL + 1, None, "stream"),
        ("auto", TOO_MUCH, None, "stream"),
        ("shared", BARELY, None, "shared"),
        ("stream", 0, None, "stream"),
        # A resumed run keeps its feed, whatever memory there is now.
        ("auto", BARELY, "shared", "shared"),
        ("auto", 0, "stream", "stream"),
    ],
)
def test_a_feed_is_chosen_by_memory_and_kept(
    asked: AskedFeed, needed: float, first: Feed | None, feed: Feed
) -> None:
    choice = choose_feed(asked, needed, ROOM, first)
    assert choice.feed == feed
    # The reason has both figures.
    assert f"{needed / 1e6:,.0f} MB" in choice.text
    assert "1,000 MB of the object store" in choice.text


@pytest.mark.parametrize(("asked", "first"), [("shared", None), ("auto", "shared")])
def test_windows_that_do_not_fit_are_not_shared(asked: AskedFeed, first: Feed | None) -> None:
    with pytest.raises(InputError, match=r"data\.feed: shared: .* 500 MB") as refused:
        choose_feed(asked, TOO_MUCH, ROOM, first)
    assert "\n" not in str(refused.value)


def test_the_runs_of_one_job_have_one_feed() -> None:
    runs = [RunSettings().updated({"data.feed": feed}, "test") for feed in ("shared", "stream")]
    assert asked_feed(runs[:1]) == "shared"
    with pytest.raises(InputError, match=r"data\.feed: shared, stream"):
        asked_feed(runs)


def test_the_memory_of_windows_is_that_of_their_arrays(small_data: Path) -> None:
    data = PreparedData.open(small_data)
    arrays = [data.read(40, "train"), data.read_held_out("val")]
    size = sum(column.nbytes for rows in arrays for column in rows if column.dtype.kind != "U")
    assert windows_bytes(data, [40]) == pytest.approx(size, rel=0.25)


def test_free_memory_is_that_of_this_machine() -> None:
    assert 1e6 < free_memory().bytes < 1e14

"""A job says how far it is, whatever it is waiting for, and says so where it fails."""

from __future__ import annotations

import io
import logging
import re
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyena_ray import progress as module
from hyena_ray.cluster.monitor import Progress
from hyena_ray.progress import State, count_noun, duration, shortened_list

PATIENCE = 60.0
"""Seconds after which a test gives up."""


class Lines(logging.Handler):
    """Messages of the progress, and an event that the third of them sets."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.third = threading.Event()

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(record.getMessage())
        if len(self.texts) == 3:
            self.third.set()


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> Iterator[Lines]:
    monkeypatch.setattr(module, "PROGRESS_SECONDS", 0.01)
    handler = Lines()
    module.logger.addHandler(handler)
    module.logger.setLevel(logging.INFO)
    yield handler
    module.logger.removeHandler(handler)
    module.logger.setLevel(logging.NOTSET)


def test_lines_come_while_the_main_thread_does_nothing_but_wait(lines: Lines) -> None:
    with Progress("attribution", 8, initial=State(waiting="2 actors to start")) as progress:
        progress.update(State(done=3))
        assert lines.third.wait(PATIENCE)
    assert lines.texts[0] == "attribution: waiting for 2 actors to start"
    assert lines.texts[1].startswith("attribution: 3 of 8 shards in 0 s")


def test_work_that_fails_ends_with_how_far_it_came_and_its_own_error(lines: Lines) -> None:
    with pytest.raises(ArithmeticError, match="planted"), Progress("attribution", 8) as progress:
        progress.update(State(done=5))
        raise ArithmeticError("planted")
    assert lines.texts[-1] == "attribution: 5 of 8 shards in 0 s"
    assert "progress" not in [thread.name for thread in threading.enumerate()]


def test_a_single_wait_tells_its_time(lines: Lines) -> None:
    with Progress("score test windows"):
        assert lines.third.wait(PATIENCE)
    assert lines.texts[0] == "score test windows: started"
    assert lines.texts[1] == "score test windows: 0 s so far"
    assert lines.texts[-1] == "score test windows: took 0 s"


def test_what_is_brief_is_not_told_unless_it_lasts(
    lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    with module.Progress("genome", 100, "%", brief=True):
        assert lines.third.wait(PATIENCE)
    assert re.fullmatch(r"genome: 0 of 100 % in \d s", lines.texts[-1])
    lines.texts.clear()
    monkeypatch.setattr(module, "PROGRESS_SECONDS", PATIENCE)
    with module.Progress("genome", 100, "%", brief=True):
        pass
    assert lines.texts == []


def test_speed_and_time_left_are_those_of_windows_where_they_are_counted() -> None:
    progress = Progress("attribution", 8, windows=2000)
    # The last shard is a small one.
    progress.update(State(done=2, windows=500, waiting="1 actor to start", at_work=("shard 2",)))
    assert progress.text(10.0) == (
        "2 of 8 shards in 10 s, 50.0 windows/s, about 30 s left, waiting for 1 actor to start, "
        "at work: shard 2"
    )
    assert progress.text(10.0, over=True) == "2 of 8 shards in 10 s, 50.0 windows/s"


def test_what_an_earlier_start_has_done_does_not_count_for_speed() -> None:
    progress = Progress("zdna trials", 8, "trials", initial=State(done=4))
    assert progress.text(60.0) == "4 of 8 trials in 1 min 0 s"
    progress.update(State(done=4, part=1.0, states={"running": 2, "crashed": 0}, best=0.81234))
    assert progress.text(60.0) == (
        "4 of 8 trials in 1 min 0 s, 2 running, best score 0.8123, about 3 min 0 s left"
    )


def test_what_has_hardly_begun_says_nothing_of_the_time_left() -> None:
    progress = Progress("pretraining", 10_000, "steps", initial=State(done=5_000))
    progress.update(State(done=5_001))
    assert progress.text(30.0) == "5001 of 10000 steps in 30 s"
    progress.update(State(done=5_050))
    assert progress.text(60.0) == "5050 of 10000 steps in 1 min 0 s, about 1 h 39 min left"


def test_a_terminal_has_a_bar_and_lines_of_the_log_above_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    handler, root = logging.StreamHandler(sys.stderr), logging.getLogger()
    root.addHandler(handler)
    try:
        with Progress("attribution", 8) as progress:
            progress.update(State(done=8))
            logging.warning("a shard is tried again")
        logging.warning("after it")
    finally:
        root.removeHandler(handler)
    shown = terminal.getvalue()
    assert "100% |" in shown
    assert "attribution: 8 of 8 shards in 0 s" in shown
    assert "attribution: waiting" not in shown
    assert "\ra shard is tried again\n" in shown
    assert shown.endswith("\nafter it\n")


class Terminal(io.StringIO):
    """Stands for stderr on a terminal."""

    def isatty(self) -> bool:
        return True


@given(
    done=st.integers(0, 99_999),
    states=st.dictionaries(st.sampled_from(["running", "complete", "stopped early"]), st.just(9)),
    best=st.none() | st.just(0.5),
    loss=st.none() | st.just(0.5),
    waiting=st.sampled_from(["", "2 actors to start"]),
    at_work=st.lists(st.just("trial 12 (epoch 3 of 8)"), max_size=4).map(tuple),
    seconds=st.floats(0, 400_000),
)
def test_a_bar_fits_into_80_columns_and_keeps_what_is_done_and_left(
    done: int,
    states: dict[str, int],
    best: float | None,
    loss: float | None,
    waiting: str,
    at_work: tuple[str, ...],
    seconds: float,
) -> None:
    progress = Progress("zdna trials", 99_999, "trials")
    state = State(done, 0.0, 0, states, best, loss, waiting, at_work)
    progress.update(state)
    width = 80 - module.BAR_COLUMNS - len(progress.work)
    whole, text = progress.text(seconds), progress.text(seconds, width=width)
    assert set(text.split(", ")) <= set(whole.split(", "))
    assert text.startswith(f"{done} of 99999 trials in ")
    assert len(text) <= width
    if len(whole) <= width:
        assert text == whole


def test_a_bar_ends_at_100_per_cent_of_what_ended_early_and_not_of_what_failed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for fails, expected in (
        (False, "100% |##########| training: 5 of 20 epochs in 0 s"),
        (True, " 25%"),
    ):
        monkeypatch.setattr(sys, "stderr", terminal := Terminal())
        with suppress(ArithmeticError), Progress("training", 20, "epochs") as progress:
            progress.update(State(done=5))
            if fails:
                raise ArithmeticError
        last = terminal.getvalue().rstrip("\n").split("\r")[-1].rstrip()
        assert last.replace("█", "#").startswith(expected)
        assert len(last) <= 80


def test_a_quiet_terminal_has_no_bar_and_a_log_file_has_the_lines_of_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    root, file = logging.getLogger(), logging.FileHandler(tmp_path / "log.txt")
    console = logging.StreamHandler(terminal)
    monkeypatch.setattr(root, "handlers", [console, file])
    with Progress("attribution", 8) as progress:
        progress.update(State(done=8))
    assert "100%" in terminal.getvalue()
    assert (tmp_path / "log.txt").read_text() == "attribution: 8 of 8 shards in 0 s\n"
    monkeypatch.setattr(sys, "stderr", quiet := Terminal())
    monkeypatch.setattr(console, "stream", quiet)
    console.setLevel(logging.ERROR)
    with Progress("attribution", 8):
        pass
    assert quiet.getvalue() == ""
    file.close()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (59.6, "1 min 0 s"), (200, "3 min 20 s"), (3600, "1 h 0 min")],
)
def test_durations_are_as_exact_as_anyone_needs(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_long_lists_are_cut() -> None:
    assert shortened_list(f"shard {number}" for number in range(6)) == (
        "shard 0, shard 1, shard 2, shard 3, 2 more"
    )
    assert shortened_list(["shard 0"]) == "shard 0"
    assert (count_noun(1, "actor"), count_noun(2, "actor")) == ("1 actor", "2 actors")

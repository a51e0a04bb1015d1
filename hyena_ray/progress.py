"""How far a job is: a bar on a terminal, else a line in the log every 30 s.

A thread of its own tells it, so that a job whose main thread is inside a wait of Ray's is heard as
well. The work only says where it stands, which costs nothing.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from types import TracebackType
from typing import NamedTuple, Self

from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

logger = logging.getLogger(__name__)

PROGRESS_SECONDS = 30.0
"""Between two lines in the log."""
TICK_SECONDS = 1.0
"""Between two looks at how far the work is: for the bar, and for the metrics."""
FORESEEN_FROM = 0.01
"""Share of the work after which the time left is told: the first steps waited for processes."""
NAMED = 4
"""Of what is at work, so many are named."""


class State(NamedTuple):
    """Where a piece of work stands."""

    done: int = 0
    """Whole shards, runs or trials."""
    part: float = 0.0
    """Of one more: what is at work adds up to so many."""
    windows: int = 0
    """Done, where they are counted."""
    states: Mapping[str, int] = {}
    """How many are in each; those with none of them too, so that the metric becomes 0."""
    best: float | None = None
    """Score."""
    loss: float | None = None
    """Of the last step."""
    waiting: str = ""
    """What is waited for, if anything."""
    at_work: tuple[str, ...] = ()
    """Names."""


class Progress:
    """Tells how far the work inside the block is, until the block ends in whatever way."""

    def __init__(
        self,
        work: str,
        total: int | None = None,
        unit: str = "shards",
        *,
        windows: int | None = None,
        begun: State | None = None,
        brief: bool = False,
    ) -> None:
        """
        Args:
            work: its name.
            total: shards, runs or trials; None for a single wait, of which the time is told.
            unit: what they are.
            windows: that all of them hold; None where windows are not counted.
            begun: where it stands now; what is done already says nothing about the speed.
            brief: in the log nothing is said of what is over before its first line is due.
        """
        self.work, self._total, self._unit = work, total, unit
        self._windows = windows
        self._silent = brief
        self._state = begun or State()
        self._before = self._amount()
        self._began = time.monotonic()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True, name="progress")
        self._bar: tqdm | None = None
        self._open = ExitStack()

    def __enter__(self) -> Self:
        if sys.stderr.isatty():
            # Else a line of the log would be written into the bar.
            self._open.enter_context(logging_redirect_tqdm())
            shape = "{desc}" if self._total is None else "{percentage:3.0f}% |{bar:16}| {desc}"
            self._bar = tqdm(total=self._size(), bar_format=shape, dynamic_ncols=True)
        elif not self._silent:
            waiting = self._state.waiting
            logger.info("%s: %s", self.work, f"waiting for {waiting}" if waiting else "begun")
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._over.set()
        self._thread.join()
        self._measure(over=True)
        # What failed is told by its error; here, how far it came.
        self._show(over=True)
        self._open.close()

    def update(self, state: State) -> None:
        """Say where the work stands."""
        self._state = state

    def _watch(self) -> None:
        due = self._began + PROGRESS_SECONDS
        while not self._over.wait(min(TICK_SECONDS, max(0.0, due - time.monotonic()))):
            self._measure()
            if self._bar is not None or time.monotonic() >= due:
                due = time.monotonic() + PROGRESS_SECONDS
                self._silent = False
                self._show()

    def _show(self, *, over: bool = False) -> None:
        text = f"{self.work}: {self.text(time.monotonic() - self._began, over=over)}"
        if self._bar is None:
            if not self._silent:
                logger.info("%s", text)
            return
        self._bar.n = self._amount()
        self._bar.set_description_str(text)
        if over:
            self._bar.close()

    def _measure(self, *, over: bool = False) -> None:
        """Called at every look; where Ray is, its metrics are set."""

    def _amount(self) -> float:
        """Of the work that is done: windows where they are counted."""
        state = self._state
        return state.done + state.part if self._windows is None else state.windows

    def _size(self) -> int | None:
        return self._total if self._windows is None else self._windows

    def _speed(self, seconds: float) -> float:
        return (self._amount() - self._before) / max(seconds, 1e-3)

    def text(self, seconds: float, *, over: bool = False) -> str:
        """All of it in words.

        Args:
            seconds: since the work began.
            over: it has ended: nothing is waited for.
        """
        state, size = self._state, self._size()
        if self._total is None or size is None:
            return f"took {duration(seconds)}" if over else f"{duration(seconds)} so far"
        parts = [f"{state.done} of {self._total} {self._unit} in {duration(seconds)}"]
        speed = self._speed(seconds)
        if self._windows is not None and speed > 0:
            parts.append(f"{speed:.1f} windows/s")
        parts += [f"{count} {name}" for name, count in state.states.items() if count]
        if state.best is not None:
            parts.append(f"best score {state.best:.4f}")
        if state.loss is not None:
            parts.append(f"loss {state.loss:.4f}")
        if over:
            return ", ".join(parts)
        done, left = self._amount() - self._before, size - self._amount()
        if done > 0 and done >= FORESEEN_FROM * (done + left):
            parts.append(f"about {duration(left / speed)} left")
        if state.waiting:
            parts.append(f"waiting for {state.waiting}")
        if state.at_work:
            parts.append(f"at work: {listed(state.at_work)}")
        return ", ".join(parts)


def duration(seconds: float) -> str:
    """45 s, 3 min 20 s, 3 h 5 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def counted(number: int, what: str) -> str:
    """Return a count with its noun in the right number: 1 actor, 1,200 actors.

    Args:
        number: How many there are.
        what: The noun, whose plural ends in s.
    """
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def listed(names: Iterable[str], most: int = NAMED) -> str:
    """The first names, and how many more there are."""
    names = list(names)
    more = [f"{len(names) - most} more"] if len(names) > most else []
    return ", ".join(names[:most] + more)

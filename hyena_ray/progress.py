"""The progress of a job: a bar on a terminal, or else a line in the log every 30 s.

A thread of its own writes it, so that a job reports even while its main thread waits for Ray. The
work only updates a state, which costs nothing.
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
"""Seconds between two lines in the log."""
TICK_SECONDS = 1.0
"""Seconds between two updates of the bar and of the metrics."""
FORECAST_FROM = 0.01
"""Fraction of the work after which the time left is shown: the first steps waited for processes."""
COLUMNS = 80
"""Width of a terminal that does not say how wide it is."""
BAR_COLUMNS = len("100% |##########| : ")
"""Letters of a line with a bar besides the name of the work and its state."""
NAMED = 4
"""Items that a list names before it only counts the rest."""


class State(NamedTuple):
    """The state of a piece of work."""

    done: int = 0
    """Number of finished shards, runs or trials."""
    part: float = 0.0
    """Fraction of one more, summed over those that are running."""
    windows: int = 0
    """Number of finished windows, where they are counted."""
    states: Mapping[str, int] = {}
    """Number of trials by state; states without any are listed too, so that their metric is 0."""
    best: float | None = None
    """Best score so far."""
    loss: float | None = None
    """Loss of the last step."""
    waiting: str = ""
    """What the work waits for, if anything."""
    at_work: tuple[str, ...] = ()
    """Names of what is running."""


class Progress:
    """Reports the progress of the work inside a block, until the block ends in whatever way.

    Args:
        work: Name of the work, with which every line begins.
        total: Number of shards, runs or trials; None for a single wait, whose duration is shown.
        unit: Name of what is counted, in the plural.
        windows: Number of windows in all of them; None where windows are not counted.
        initial: State at the beginning; what was done before does not count for the speed.
        brief: Log nothing of work that is over before its first line is due.

    Example:
        >>> with Progress("scoring", 2, "windows", brief=True) as progress:
        ...     progress.update(State(done=1))
    """

    def __init__(
        self,
        work: str,
        total: int | None = None,
        unit: str = "shards",
        *,
        windows: int | None = None,
        initial: State | None = None,
        brief: bool = False,
    ) -> None:
        self.work, self._total, self._unit = work, total, unit
        self._windows = windows
        self._silent = brief
        self._state = initial or State()
        self._before = self._amount()
        self._started = time.monotonic()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True, name="progress")
        self._bar: tqdm | None = None
        self._open = ExitStack()

    def __enter__(self) -> Self:
        if _takes_bars():
            # Otherwise a line of the log would be written into the bar.
            self._open.enter_context(logging_redirect_tqdm())
            shape = "{desc}" if self._total is None else "{percentage:3.0f}% |{bar:10}| {desc}"
            self._bar = tqdm(total=self._size(), bar_format=shape, dynamic_ncols=True)
        elif not self._silent:
            waiting = self._state.waiting
            logger.info("%s: %s", self.work, f"waiting for {waiting}" if waiting else "started")
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
        # An error says what failed; this line says how far the work came.
        self._show(over=True, complete=kind is None)
        self._open.close()

    def update(self, state: State) -> None:
        """Update the state of the work.

        Args:
            state: The state now.
        """
        self._state = state

    def _watch(self) -> None:
        due = self._started + PROGRESS_SECONDS
        while not self._over.wait(min(TICK_SECONDS, max(0.0, due - time.monotonic()))):
            self._measure()
            is_due = time.monotonic() >= due
            if is_due:
                due = time.monotonic() + PROGRESS_SECONDS
                self._silent = False
            if is_due or self._bar is not None:
                self._show(log=is_due)

    def _show(self, *, log: bool = True, over: bool = False, complete: bool = False) -> None:
        """Write a line into the log if it is due, and update the bar if there is one."""
        seconds = time.monotonic() - self._started
        if log and not self._silent:
            write = logger.info if self._bar is None else log_in_files
            write(f"{self.work}: {self.text(seconds, over=over)}")
        if self._bar is None:
            return
        # What ended early, as a training without a better epoch, has nothing left to do either.
        total = self._bar.total
        self._bar.n = total if complete and total is not None else self._amount()
        width = (self._bar.format_dict["ncols"] or COLUMNS) - BAR_COLUMNS - len(self.work)
        self._bar.set_description_str(f"{self.work}: {self.text(seconds, over=over, width=width)}")
        if over:
            self._bar.close()

    def _measure(self, *, over: bool = False) -> None:
        """Do nothing; the class for Ray sets its metrics here, at every update."""

    def _amount(self) -> float:
        """Return the work that is done, in windows where they are counted."""
        state = self._state
        return state.done + state.part if self._windows is None else state.windows

    def _size(self) -> int | None:
        return self._total if self._windows is None else self._windows

    def _speed(self, seconds: float) -> float:
        return (self._amount() - self._before) / max(seconds, 1e-3)

    def text(self, seconds: float, *, over: bool = False, width: int | None = None) -> str:
        """Return the state in words.

        Args:
            seconds: Seconds since the work started.
            over: Whether the work has ended, so that it waits for nothing.
            width: Letters that there is room for; what matters less is left out. None has room for
                everything.
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
        done, left = self._amount() - self._before, size - self._amount()
        forecast = ""
        if not over and done > 0 and done >= FORECAST_FROM * (done + left):
            forecast = f"about {duration(left / speed)} left"
            parts.append(forecast)
        if not over and state.waiting:
            parts.append(f"waiting for {state.waiting}")
        if not over and state.at_work:
            parts.append(f"at work: {shortened_list(state.at_work)}")
        # How much is done and how long it still takes matter most, and what is last matters least.
        spare = [forecast, *(part for part in parts[1:] if part != forecast)]
        while width is not None and len(", ".join(parts)) > width and spare:
            least = spare.pop()
            parts = [part for part in parts if part != least]
        return ", ".join(parts)


def is_on_stderr(handler: logging.Handler) -> bool:
    """Return whether a handler of the log writes to stderr.

    Args:
        handler: The handler.
    """
    return isinstance(handler, logging.StreamHandler) and handler.stream is sys.stderr


def log_in_files(line: str) -> None:
    """Write a line into log files alone, as the terminal shows it in another way.

    Args:
        line: The line.
    """
    record = logger.makeRecord(logger.name, logging.INFO, __file__, 0, line, (), None)
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.FileHandler):
            handler.handle(record)


def _takes_bars() -> bool:
    """Return whether stderr is a terminal, and shows more of the log than errors."""
    handlers = filter(is_on_stderr, logging.getLogger().handlers)
    return sys.stderr.isatty() and all(handler.level <= logging.INFO for handler in handlers)


def duration(seconds: float) -> str:
    """Return a duration in words.

    Args:
        seconds: Duration in seconds.

    Example:
        >>> duration(45), duration(200), duration(11100)
        ('45 s', '3 min 20 s', '3 h 5 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def count_noun(number: int, what: str) -> str:
    """Return a count with its noun in the right number: 1 actor, 1,200 actors.

    Args:
        number: How many there are.
        what: The noun, whose plural ends in s.
    """
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def shortened_list(names: Iterable[str], most: int = NAMED) -> str:
    """Return the first names of a list, and the number of the others.

    Args:
        names: The names.
        most: Names that are shown.

    Example:
        >>> shortened_list(["chr1", "chr2", "chr3"], most=2)
        'chr1, chr2, 1 more'
    """
    names = list(names)
    more = [f"{len(names) - most} more"] if len(names) > most else []
    return ", ".join(names[:most] + more)

"""The choice of the feed: how training windows reach the processes that train.

`shared` holds all windows in memory: in Ray's object store, or, without Ray, in that of the
process. `stream` reads them again in every epoch, ahead of the training. The feed that a run was
started with is part of its plan, since the two shuffle differently.

Neither torch nor Ray is imported here.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from hyena_ray.dataset.reader import PreparedData
from hyena_ray.errors import InputError
from hyena_ray.genome.splits import TRAIN, VALIDATION
from hyena_ray.training.settings import AskedFeed, Feed, RunSettings

SETTING = "data.feed"
"""Name of the setting."""
AUTO_FRACTION = 0.3
"""Largest fraction of the room that windows take under `auto`: trials need room for their own
data."""
MOST = 0.5
"""Largest fraction of the room that windows can take at all: while they are gathered, they are in
memory twice."""
_ROW_BYTES = 32
"""What a window takes beside its tokens and labels: its id, contig, start and kind."""


class Room(NamedTuple):
    """Memory that windows may be held in."""

    bytes: float
    """Its size."""
    name: str
    """What it is, such as `the object store`."""


class FeedChoice(NamedTuple):
    """The feed of a run, and why."""

    feed: Feed
    """`shared` or `stream`."""
    reason: str
    """The reason, with its figures."""

    @property
    def text(self) -> str:
        """The choice in words."""
        return f"{self.feed}: {self.reason}"


def choose_feed(asked: AskedFeed, needed: float, room: Room, first: Feed | None) -> FeedChoice:
    """Choose the feed of a run.

    Args:
        asked: Value of the setting.
        needed: Memory that all windows take, in bytes; see `windows_bytes`.
        room: Memory that they may be held in.
        first: Feed that the run was first started with; None for a new run.

    Raises:
        InputError: Windows are to be shared and do not fit.

    Example:
        >>> choose_feed("auto", 4e8, Room(1e9, "the object store"), None).text
        'stream: the windows take 400 MB, more than 30 % of the 1,000 MB of the object store'
    """
    fraction = f"{AUTO_FRACTION:.0%}".replace("%", " %")
    size, whole = f"{needed / 1e6:,.0f} MB", f"the {room.bytes / 1e6:,.0f} MB of {room.name}"
    feed = first if asked == "auto" and first is not None else asked
    if feed == "shared" and needed > MOST * room.bytes:
        most = f"{MOST * room.bytes / 1e6:,.0f} MB"
        raise InputError(
            SETTING,
            feed,
            f"the windows take {size}, and of {whole} they may take {most}",
            "use stream or auto, or shorter or fewer windows"
            if first is None
            else "resume where there is more memory: the run was started with this feed",
        )
    if feed != "auto":
        origin = "as asked" if asked != "auto" else "as at the first start"
        return FeedChoice(feed, f"{origin}; the windows take {size} of {whole}")
    if needed <= AUTO_FRACTION * room.bytes:
        return FeedChoice("shared", f"the windows take {size}, at most {fraction} of {whole}")
    return FeedChoice("stream", f"the windows take {size}, more than {fraction} of {whole}")


def asked_feed(runs: Iterable[RunSettings]) -> AskedFeed:
    """Return the feed that all runs of a job ask for.

    Args:
        runs: Settings of the runs.

    Raises:
        InputError: They ask for different ones.
    """
    asked: Collection[AskedFeed] = dict.fromkeys(run.data.feed for run in runs)
    if len(asked) > 1:
        raise InputError(
            SETTING,
            ", ".join(sorted(asked)),
            "the runs of one job share one feed",
            "set it to one value for all",
        )
    return next(iter(asked), "auto")


def windows_bytes(data: PreparedData, lengths: Sequence[int], *, taught: bool = False) -> int:
    """Return the size in memory of what runs train on and are scored on, in bytes.

    Args:
        data: Prepared data.
        lengths: Lengths of the training windows.
        taught: Whether training windows have the probabilities of a teacher, 4 bytes a label.
    """
    held_out = data.manifest.stretch or data.manifest.lengths[0]
    rows = [(length, TRAIN) for length in lengths] + [(held_out, VALIDATION)]
    windows = sum(
        data.count(length, split) * (data.row_bytes(length) + _ROW_BYTES) for length, split in rows
    )
    if not taught:
        return windows
    labels = data.manifest.labels_per_window
    return windows + sum(4 * labels(length) * data.count(length, TRAIN) for length in lengths)


def free_memory() -> Room:
    """Return the memory that this process can still take."""
    free = float("inf")
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            free = 1024.0 * int(line.split()[1])
    # In a container the limit of its group is lower.
    group = Path("/sys/fs/cgroup")
    try:
        limit, used = ((group / name).read_text() for name in ("memory.max", "memory.current"))
        free = min(free, float(limit) - float(used))
    except (OSError, ValueError):  # no such group, or no limit: "max"
        pass
    return Room(max(0.0, free), "free memory")

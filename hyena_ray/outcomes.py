"""What a job tells its user: text and a table of paths, or one JSON object; a result or a plan."""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Mapping
from typing import Any, NamedTuple, TextIO

from hyena_ray.progress import duration
from hyena_ray.storage import AnyPath

BOLD, PLAIN = "\033[1m", "\033[0m"
SIMULATED = "simulated: no figure here says anything about real DNA"
"""Notice that is printed before every result on simulated data."""


class Outcome(NamedTuple):
    """The result of a job, as it is printed."""

    text: str
    """The result for people."""
    found: Mapping[str, Any] = {}
    """The result for machines: values that JSON can hold."""
    written: Mapping[str, AnyPath] = {}
    """Name of every output, and where it is."""
    simulated: bool | None = None
    """Whether the data was simulated; None where the job reads none."""
    folder: AnyPath | None = None
    """Folder of the run, of which a report is made; None where there is none to make."""

    def as_json(self, job: str, seconds: float) -> str:
        """Return one JSON object, in which every number that is not finite is null.

        Args:
            job: Name of the job.
            seconds: Seconds that the job took.
        """
        values = {
            "job": job,
            "found": self.found,
            "written": {name: str(path) for name, path in self.written.items()},
            "simulated": self.simulated,
            "seconds": round(seconds, 3),
        }
        return json.dumps(plain(values), allow_nan=False)

    def as_text(self, seconds: float, stream: TextIO) -> str:
        """Return the result for people, followed by a table of the outputs.

        Args:
            seconds: Seconds that the job took.
            stream: Stream on which it will be printed; a terminal gets bold type.
        """
        text = self.text.rstrip("\n")
        if not self.written:
            return text
        title = bold(f"written in {duration(seconds)}", stream)
        return "\n".join([text, "", title, *aligned(self.written)])


class DryRun(NamedTuple):
    """Plan of a job that passed every check; nothing was written."""

    plan: Mapping[str, str]
    """The work in words, line by line."""
    values: Mapping[str, Any]
    """The work for machines."""
    outputs: Mapping[str, AnyPath]
    """Name of every output that would be written, and where."""
    seconds: float | None
    """Estimated duration: the number of batches times the time of one, over those at once; None
    where that is not known."""
    timed: str
    """What was timed for the estimate."""
    simulated: bool | None = None
    """Whether the data is simulated."""

    def outcome(self) -> Outcome:
        """Return the plan as the job prints it."""
        lines = {**self.plan}
        if self.seconds is not None:
            lines["time"] = f"about {duration(self.seconds)}, from {self.timed}"
        text = [
            "dry run: all inputs were checked, nothing was written",
            *aligned({name: line for name, line in lines.items() if line}),
            *(["would write"] if self.outputs else []),
            *aligned(self.outputs),
        ]
        values = {
            "dry_run": True,
            **self.values,
            "estimated_seconds": None if self.seconds is None else round(self.seconds, 3),
            "based_on": self.timed,
            "would_write": {name: str(path) for name, path in self.outputs.items()},
        }
        return Outcome("\n".join(text), values, {}, self.simulated)


def windows_by_split(windows: Mapping[str, int]) -> str:
    """Return the number of windows of each split in words.

    Args:
        windows: Number of windows by split.

    Example:
        >>> windows_by_split({"train": 1200, "val": 300})
        'train 1,200, val 300'
    """
    return ", ".join(f"{split} {count:,}" for split, count in windows.items())


def aligned(rows: Mapping[str, object], indent: str = "  ") -> list[str]:
    """Return a line for each row, with the values below each other.

    Args:
        rows: Values by name.
        indent: Beginning of every line.
    """
    width = max(map(len, rows), default=0)
    return [f"{indent}{name:<{width}}  {value}" for name, value in rows.items()]


def bold(text: str, stream: TextIO | None = None) -> str:
    """Return the text in bold type, where the stream is a terminal and NO_COLOR is not set.

    Args:
        text: The text.
        stream: Stream on which it will be printed; by default stdout.
    """
    stream = stream or sys.stdout
    # https://no-color.org: any value that is not empty.
    colourless = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return text if colourless or not stream.isatty() else f"{BOLD}{text}{PLAIN}"


def plain(value: Any) -> Any:
    """Return a value as JSON has it.

    Named tuples become objects, other tuples lists, and numpy's numbers numbers; what is not finite
    becomes null.

    Args:
        value: Numbers, texts, and containers of them.
    """
    if hasattr(value, "_asdict"):
        value = value._asdict()
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value

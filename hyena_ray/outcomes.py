"""What a job leaves its user with: text and a table of paths, or one JSON object."""

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
"""What a reader is told before anything that was found in simulated data."""


class Outcome(NamedTuple):
    """What a job leaves its user with."""

    text: str
    """For people."""
    found: Mapping[str, Any] = {}
    """For machines: values that JSON has."""
    written: Mapping[str, AnyPath] = {}
    """What was written, to where it lies."""
    simulated: bool | None = None
    """Whether the data was simulated; None where the job reads none."""
    folder: AnyPath | None = None
    """Of all results, where a report is made of them."""

    def as_json(self, job: str, seconds: float) -> str:
        """One JSON object; what is not a finite number is null.

        Args:
            job: its name.
            seconds: that it took.
        """
        values = {
            "job": job,
            "found": self.found,
            "written": {what: str(path) for what, path in self.written.items()},
            "simulated": self.simulated,
            "seconds": round(seconds, 3),
        }
        return json.dumps(plain(values), allow_nan=False)

    def as_text(self, seconds: float, stream: TextIO) -> str:
        """What was found, and below it a table of what was written.

        Args:
            seconds: that the job took.
            stream: where it will be printed; a terminal gets bold type.
        """
        text = self.text.rstrip("\n")
        if not self.written:
            return text
        title = bold(f"written in {duration(seconds)}", stream)
        return "\n".join([text, "", title, *aligned(self.written)])


def aligned(rows: Mapping[str, object], indent: str = "  ") -> list[str]:
    """A line for each row, its values below each other."""
    width = max(map(len, rows), default=0)
    return [f"{indent}{what:<{width}}  {value}" for what, value in rows.items()]


def bold(text: str, stream: TextIO | None = None) -> str:
    """The text in bold type, where the stream is a terminal and NO_COLOR is not set."""
    stream = stream or sys.stdout
    # https://no-color.org: any value that is not empty.
    plainly = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return text if plainly or not stream.isatty() else f"{BOLD}{text}{PLAIN}"


def plain(value: Any) -> Any:
    """The value as JSON has it: named tuples as objects, other tuples as lists, numpy's numbers as
    numbers, null for what is not finite."""
    if hasattr(value, "_asdict"):
        value = value._asdict()
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value

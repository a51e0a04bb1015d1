"""What a job would do: said by `--dry-run` after every check, with nothing written."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from hyena_ray.outcomes import Outcome, aligned
from hyena_ray.progress import duration
from hyena_ray.storage import AnyPath


class Estimate(NamedTuple):
    """How long the work will take, and how that is known."""

    seconds: float
    """The most that is expected."""
    basis: str
    """What was timed, and what is assumed."""
    least: float | None = None
    """Seconds where all goes as fast as it may, such as a search that stops most trials early."""

    @property
    def text(self) -> str:
        """About 3 min 20 s."""
        longest = duration(self.seconds)
        if self.least is None:
            return f"about {longest}"
        return f"about {duration(self.least)} to {longest}"


class DryRun(NamedTuple):
    """A job's plan."""

    plan: Mapping[str, str]
    """For people: what it is about, and what is planned."""
    values: Mapping[str, Any]
    """For machines."""
    writes: Mapping[str, AnyPath]
    """What would be written, to where it would lie."""
    time: Estimate
    simulated: bool | None = None
    """Whether the data is."""

    def outcome(self) -> Outcome:
        """As the job returns it: everything is found, nothing is written."""
        lines = dict(self.plan) | {"time": self.time.text, "based on": self.time.basis}
        text = [
            "dry run: all inputs were checked, nothing was written",
            *aligned(lines),
            "would write",
            *aligned(self.writes),
        ]
        found = {
            "dry_run": True,
            **self.values,
            "estimated_seconds": round(self.time.seconds, 1),
            "least_seconds": None if self.time.least is None else round(self.time.least, 1),
            "based_on": self.time.basis,
            "would_write": {what: str(path) for what, path in self.writes.items()},
        }
        return Outcome("\n".join(text), found, {}, self.simulated)


def windows_text(windows: Mapping[str, int]) -> str:
    """train 1,200, val 300."""
    return ", ".join(f"{split} {count:,}" for split, count in windows.items())

"""What is printed at the end of a job, for people and for machines."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from hyena_ray.outcomes import BOLD, PLAIN, DryRun, Outcome


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Pair(NamedTuple):
    first: float
    second: tuple[int, ...]


DONE = Outcome("found it\n", {}, {"model": Path("/run/model"), "k-mers": Path("/run/kmers")})


def test_what_is_not_finite_is_null_and_every_value_is_of_json() -> None:
    found: dict[Any, object] = {
        "nan": float("nan"),
        "numpy": np.float64("inf"),
        "array": np.array([1.5, np.nan]),
        "pair": Pair(-float("inf"), (1, 2)),
        3: {"whole": np.int64(7)},
    }
    told = json.loads(Outcome("", found, {"x": Path("/a")}, True).as_json("train", 1.23456))
    assert told == {
        "job": "train",
        "found": {
            "nan": None,
            "numpy": None,
            "array": [1.5, None],
            "pair": {"first": None, "second": [1, 2]},
            "3": {"whole": 7},
        },
        "written": {"x": "/a"},
        "simulated": True,
        "seconds": 1.235,
    }


def test_paths_stand_below_each_other_and_nothing_is_said_of_nothing() -> None:
    assert DONE.as_text(75.2, io.StringIO()).splitlines() == [
        "found it",
        "",
        "written in 1 min 15 s",
        "  model   /run/model",
        "  k-mers  /run/kmers",
    ]
    assert Outcome("found it").as_text(1.0, io.StringIO()) == "found it"


def test_only_a_terminal_that_wants_it_has_bold_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert f"{BOLD}written in 1 s{PLAIN}\n" in DONE.as_text(1.0, Terminal())
    assert BOLD not in DONE.as_text(1.0, io.StringIO())
    monkeypatch.setenv("NO_COLOR", "1")
    assert BOLD not in DONE.as_text(1.0, Terminal())


def test_a_dry_run_has_written_nothing_and_says_how_it_knows_the_time() -> None:
    outputs = {"table": Path("/out/t")}
    done = DryRun({"runs": "3"}, {"runs": 3}, outputs, 200.0, "one step", False).outcome()
    assert done.written == {}
    assert done.found["would_write"] == {"table": "/out/t"}
    assert (done.found["estimated_seconds"], done.found["based_on"]) == (200.0, "one step")
    assert done.text.splitlines()[1:3] == [
        "  runs  3",
        "  time  about 3 min 20 s, from one step",
    ]

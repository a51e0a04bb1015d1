"""Settings are strict, and say which key is wrong."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
from pydantic import Field

from hyena_ray.errors import InputError
from hyena_ray.settings import Settings, load_yaml, parse_assignments, parse_yaml


class Inner(Settings):
    rate: float = Field(default=0.1, gt=0)
    """Step size."""
    on: bool = False


class Outer(Settings):
    inner: Inner = Inner()
    sizes: tuple[int, ...] = (1,)


def test_yaml_numbers_are_numbers_and_words_are_words() -> None:
    assert parse_yaml("a: 1e-4\nb: no\nc: 12:30:45", "x.yaml") == {
        "a": 1e-4,
        "b": "no",
        "c": "12:30:45",
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\na: 2", "x.yaml:2: .*duplicate key"),
        ("a: !!python/object:os.system 1", "x.yaml:1: .*tags are not allowed"),
        ("a: &x [1]\nb: *x", "x.yaml:1: anchors"),
        ("- 1", "not a mapping"),
        ("", "not a mapping"),
        ("b: 1\na: [1", "x.yaml:2: "),
        ("a: 1\n---\nb: 1", "x.yaml"),
    ],
)
def test_yaml_that_means_something_else_than_it_says_is_refused(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        parse_yaml(text, "x.yaml")
    assert "\n" not in str(caught.value)


def test_a_missing_yaml_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.yaml: there is no such file"):
        load_yaml(tmp_path / "none.yaml")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"inner": {"rte": 1}},
            r"x: inner\.rte: unknown key, did you mean rate\?; allowed are rate, on",
        ),
        ({"outer": 1}, r"x: outer: unknown key; allowed are inner, sizes"),
        ({"inner": {"rate": "0.1"}}, r"x: inner\.rate: 0\.1: .*number"),
        ({"inner": {"rate": 0}}, r"x: inner\.rate: 0: .*greater than 0"),
        ({"inner": {"on": 1}}, r"x: inner\.on: 1: .*boolean"),
        ({"sizes": [1.5]}, r"x: sizes\.0: 1\.5: "),
        ({"inner": {"rate": True}}, r"x: inner\.rate: True"),
    ],
)
def test_a_wrong_setting_names_its_key(values: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Outer.parse(values, "x")


def test_dotted_changes_reach_nested_settings() -> None:
    assert Outer().updated({"inner.rate": 1, "sizes": [2, 3]}, "x") == Outer(
        inner=Inner(rate=1.0), sizes=(2, 3)
    )


@pytest.mark.parametrize("key", ["inner.none", "none.rate", "inner.rate.x", "sizes.0"])
def test_a_dotted_change_to_nothing_is_refused(key: str) -> None:
    with pytest.raises(InputError, match="unknown key"):
        Outer().updated({key: 1}, "x")


def test_assignments_read_their_values_as_yaml() -> None:
    assert parse_assignments(["a.b=1e-3", "c=[1, 2]", "d=true", "e=x"], "--set") == {
        "a.b": 1e-3,
        "c": [1, 2],
        "d": True,
        "e": "x",
    }
    with pytest.raises(InputError, match="--set: a: not KEY=VALUE"):
        parse_assignments(["a"], "--set")


def test_an_input_error_survives_the_way_between_processes() -> None:
    error = InputError("peaks.bed:17", 90, "end is not after start", "BED is half-open")
    assert str(pickle.loads(pickle.dumps(error))) == str(error)

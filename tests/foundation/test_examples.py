"""The examples of docstrings run; a module is imported when its turn comes, not before."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest

import hyena_ray

PACKAGE = Path(hyena_ray.__file__).parent
EXAMPLES = {
    ".".join(("hyena_ray", *path.relative_to(PACKAGE).with_suffix("").parts)): text.count(
        "Example:"
    )
    for path in sorted(PACKAGE.rglob("*.py"))
    if ">>> " in (text := path.read_text())
}
"""Examples in every module that has some."""


def test_the_names_that_users_meet_have_examples() -> None:
    assert sum(EXAMPLES.values()) >= 30


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_examples_of_a_module_are_right(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    module = importlib.import_module(name.removesuffix(".__init__"))
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    said: list[str] = []
    for test in doctest.DocTestFinder().find(module):
        runner.run(test, out=said.append)
    assert runner.tries > 0
    assert not said, "".join(said)

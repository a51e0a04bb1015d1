"""Dockerfile, conda environment, citation and metadata agree with the lock and the package.

No Docker engine runs these tests, so they check the parts of the image: versions, sources, user.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import hyena_ray
from hyena_ray.settings import load_yaml

ROOT = Path(__file__).parents[2]
PYPROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT: dict[str, Any] = PYPROJECT["project"]
DOCKERFILE = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
CONDA = load_yaml(ROOT / "environment.yml")


def normal(name: str) -> str:
    """Return the name of a package as PyPI compares names."""
    return re.sub(r"[-_.]+", "-", name).lower()


def pins(lines: list[str]) -> dict[str, str]:
    """Return the version of every `name==version` or `name[extra]==version`."""
    matches = [re.fullmatch(r"([\w.-]+)(?:\[.*\])?==([\w.]+)", line.strip()) for line in lines]
    return {normal(match[1]): match[2] for match in matches if match}


LOCK = pins((ROOT / "requirements.lock").read_text().splitlines())


def instructions(name: str) -> list[list[str]]:
    """Return the words of every instruction of the Dockerfile of this name."""
    return [line.split()[1:] for line in DOCKERFILE.splitlines() if line.startswith(f"{name} ")]


def python_version() -> str:
    """Return the version of Python that the project asks for at least, such as 3.11."""
    match = re.fullmatch(r">=(\d+\.\d+)", PROJECT["requires-python"])
    assert match
    return match[1]


def test_the_lock_pins_every_dependency_of_the_project() -> None:
    names = {normal(re.split(r"[\[<>=]", text)[0]) for text in PROJECT["dependencies"]}
    assert len(LOCK) > 100
    assert names <= set(LOCK)


def test_the_image_has_the_python_and_the_torch_of_the_project() -> None:
    images = [words[0] for words in instructions("FROM")]
    assert set(images) == {f"python:{python_version()}-slim"}
    versions = pins(re.findall(r"[\w.-]+==[\w.]+", DOCKERFILE))
    assert versions == {"torch": LOCK["torch"]}
    assert "--constraint /tmp/requirements.lock" in DOCKERFILE


def test_every_source_that_the_image_copies_is_there_and_sent_to_the_engine() -> None:
    sent = (ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in sent
    sources = [
        source
        for *sources, _ in instructions("COPY")
        if not any(source.startswith("--from=") for source in sources)
        for source in sources
    ]
    assert {"pyproject.toml", "requirements.lock", "hyena_ray"} <= set(sources)
    for source in sources:
        assert (ROOT / source).exists(), source
        assert f"!{source}" in sent, source


def test_the_image_holds_every_file_that_the_wheel_needs() -> None:
    copied = {source for sources in instructions("COPY") for source in sources}
    included = PYPROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
    needed = {"hyena_ray", PROJECT["readme"], *PROJECT["license-files"], *included}
    assert needed <= copied


def test_the_image_runs_the_command_as_a_user_without_privileges() -> None:
    (user,) = instructions("USER")
    assert user != ["root"]
    assert DOCKERFILE.index("\nUSER ") > DOCKERFILE.rindex("\nRUN ")
    assert instructions("ENTRYPOINT") == [['["hyena-ray"]']]


def test_conda_gets_the_versions_of_the_lock() -> None:
    assert f"python={python_version()}" in CONDA["dependencies"]
    (pip,) = [entry["pip"] for entry in CONDA["dependencies"] if isinstance(entry, dict)]
    wanted = {normal(re.split(r"[<>=]", text)[0]) for text in PROJECT["dependencies"]}
    given = {normal(line.split("==")[0]) for line in pip if "==" in line}
    assert given == wanted
    for name, version in pins(pip).items():
        assert version == LOCK[name], name
    assert "--constraint requirements.lock" in pip
    assert pip[-1] == "."


def test_the_citation_is_of_this_version() -> None:
    citation = load_yaml(ROOT / "CITATION.cff")
    assert citation["cff-version"] == "1.2.0"
    assert citation["title"] == PROJECT["name"]
    assert citation["version"] == PROJECT["version"] == hyena_ray.__version__
    assert citation["license"] == PROJECT["license"]
    assert [author["name"] for author in citation["authors"]] == ["hyena-ray developers"]
    assert [author["name"] for author in PROJECT["authors"]] == ["hyena-ray developers"]
    assert citation["references"][0]["year"] == 2025


def test_the_changelog_has_a_section_for_this_version_and_only_known_kinds_of_changes() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text()
    assert re.search(rf"^## {re.escape(hyena_ray.__version__)} ", changelog, re.MULTILINE)
    kinds = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
    assert set(re.findall(r"^### (.*)$", changelog, re.MULTILINE)) <= kinds

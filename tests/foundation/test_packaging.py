"""Dockerfile, conda environment, citation and metadata agree with the lock and the package.

No Docker engine runs these tests, so they check the parts of the image: versions, sources, user.
"""

from __future__ import annotations

import importlib.metadata
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


def lock(name: str) -> dict[str, tuple[str, set[str]]]:
    """Return version and hashes of every package of a lock."""
    found: dict[str, tuple[str, set[str]]] = {}
    for line in (ROOT / name).read_text().replace("\\\n", "").splitlines():
        if not line.startswith("#"):
            pin, *hashes = line.split()
            package, version = pin.split("==")
            assert package == normal(package)
            assert package not in found
            assert all(re.fullmatch(r"--hash=sha256:[0-9a-f]{64}", given) for given in hashes)
            found[package] = version, set(hashes)
    return found


LOCK, NODE, CUDA = map(
    lock, ("requirements.lock", "requirements-node.lock", "requirements-cuda.lock")
)
CPU = lock("requirements-cpu.lock")
TOOLS = lock("requirements-security.lock")


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
    for build in (CPU, CUDA):
        assert names <= LOCK.keys() | build
        assert names <= NODE.keys() | build


def test_every_package_of_a_lock_has_hashes() -> None:
    for packages in (LOCK, NODE, CPU, CUDA, TOOLS):
        assert packages
        assert [name for name, (_, hashes) in packages.items() if not hashes] == []


def test_the_lock_of_nodes_is_a_part_of_the_whole_and_has_no_tools() -> None:
    assert NODE.items() <= LOCK.items()
    tools = {"pytest", "ruff", "mypy", "mkdocs", "moto", "hypothesis", "playwright", "flask"}
    assert tools <= LOCK.keys()
    assert not tools & NODE.keys()
    assert len(NODE) < 0.7 * len(LOCK)


def test_pytorch_has_locks_of_its_own_in_one_version_and_what_cuda_needs_is_nowhere_else() -> None:
    # pip prefers a file whose hash the index states: it would never take one from the disk.
    assert not CUDA.keys() & LOCK.keys()
    assert CPU.keys() == {"torch"}
    assert CPU["torch"][0] == f"{CUDA['torch'][0]}+cpu"
    assert not CPU["torch"][1] & CUDA["torch"][1]
    of_cuda = [name for name in LOCK | NODE if name.startswith(("nvidia-", "cuda-"))]
    assert of_cuda == []


def test_the_installed_packages_are_those_of_the_lock() -> None:
    for name, (version, _) in (LOCK | {"torch": CUDA["torch"]}).items():
        try:
            installed = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        assert installed.partition("+")[0] == version, name


def test_the_image_has_the_python_of_the_project_and_installs_what_has_a_hash() -> None:
    images = [words[0].partition("@")[0] for words in instructions("FROM")]
    assert set(images) == {f"python:{python_version()}-slim"}
    installs = [part for part in DOCKERFILE.split("&&") if "pip install" in part]
    libraries, ours = installs
    assert "--require-hashes" in libraries
    assert "--requirement /tmp/requirements-node.lock" in libraries
    assert '--requirement "/tmp/requirements-$TORCH.lock"' in libraries
    assert "--no-deps /tmp/wheels" in ours
    assert re.findall(r"(\w+)\) index=", DOCKERFILE) == ["cpu", "cuda"]


def test_every_source_that_the_image_copies_is_there_and_sent_to_the_engine() -> None:
    sent = (ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in sent
    sources = [
        source
        for *sources, _ in instructions("COPY")
        if not any(source.startswith("--from=") for source in sources)
        for source in sources
    ]
    locks = {f"requirements-{part}.lock" for part in ("node", "cpu", "cuda")}
    assert {"pyproject.toml", "hyena_ray", *locks} <= set(sources)
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


def test_conda_installs_what_has_a_hash() -> None:
    assert f"python={python_version()}" in CONDA["dependencies"]
    (pip,) = [entry["pip"] for entry in CONDA["dependencies"] if isinstance(entry, dict)]
    locks = ["requirements-node.lock", "requirements-cuda.lock"]
    assert pip == ["--require-hashes", *(f"--requirement {name}" for name in locks)]
    assert "pip install --no-deps ." in (ROOT / "environment.yml").read_text()


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

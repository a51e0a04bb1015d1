"""What this project's own code must not do and bandit does not look for (`make security` runs it).

bandit finds pickle, eval, yaml.load, shell=True, torch.load without weights_only=True, and hub
downloads without a revision.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = sorted([*(ROOT / "hyena_ray").rglob("*.py"), *(ROOT / "jobs").rglob("*.py")])
UNPICKLERS = {"cloudpickle", "dill", "joblib", "marshal", "pickle", "shelve", "jsonpickle"}
STATE = "training/checkpoint.py"
"""The one file of torch's own format: the state of an unfinished run, read with weights_only."""
SETTINGS = "settings.py"
"""Here YAML is read, strictly."""


def violations(place: str, source: str) -> list[str]:
    """What a file at `place` does that it must not, by line."""
    return [f"{line}: {problem}" for line, problem in _found(place, ast.parse(source))]


def _found(place: str, tree: ast.Module) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            module = node.module if isinstance(node, ast.ImportFrom) else None
            for name in [module] if module else [alias.name for alias in node.names]:
                if name.split(".")[0] in UNPICKLERS:
                    yield node.lineno, f"import of {name}, whose files run code"
                if name == "yaml":
                    yield node.lineno, "PyYAML, which is not strict"
        elif isinstance(node, ast.Call):
            yield from ((node.lineno, problem) for problem in _calls(place, node))


def _calls(place: str, call: ast.Call) -> Iterator[str]:
    name = ast.unparse(call.func)
    given = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords if keyword.arg}
    for keyword in ("trust_remote_code", "runtime_env"):
        # A model's repository must not run code; every user of a cluster can read a runtime_env.
        if keyword in given:
            yield f"{keyword}={given[keyword]}"
    if given.get("allow_pickle", "False") != "False":
        yield "allow_pickle: arrays of objects run code"
    if given.get("safe_serialization", "True") != "True":
        yield "weights are written as safetensors"
    if name == "torch.save" and not place.endswith(STATE):
        yield f"torch.save, which is for {STATE} alone"
    if name in ("YAML", "ruamel.yaml.YAML") and given.get("typ") != "'safe'":
        yield "YAML that is not safe makes any object"
    if name == "yaml.load" and not place.endswith(SETTINGS):
        yield f"YAML that is not read by {SETTINGS}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_file_does_what_is_forbidden(path: Path) -> None:
    assert violations(str(path), path.read_text()) == []


@pytest.mark.parametrize(
    "source",
    [
        "AutoModel.from_pretrained(x, revision=r, trust_remote_code=True)",
        "AutoModel.from_pretrained(x, revision=r, trust_remote_code=flag)",
        "ray.init(runtime_env={'env_vars': {'RAY_AUTH_TOKEN': token}})",
        "np.load(path, allow_pickle=True)",
        "model.save_pretrained(folder, safe_serialization=False)",
        "torch.save(model, path)",
        "import pickle",
        "from joblib import load",
        "import cloudpickle as safe",
        "import yaml",
        "def f():\n    from yaml import safe_load",
        "YAML()",
        "YAML(typ='unsafe')",
        "yaml = YAML(typ='safe')\nyaml.load(text)",
    ],
)
def test_the_rule_catches_a_violation(source: str) -> None:
    assert violations("hyena_ray/model/x.py", source)


def test_the_rule_knows_where_state_and_settings_are_read() -> None:
    assert violations(f"hyena_ray/{STATE}", "torch.save(state, path)") == []
    assert violations(f"hyena_ray/{SETTINGS}", "yaml = YAML(typ='safe')\nyaml.load(text)") == []

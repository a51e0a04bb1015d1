"""Workers start as fast as what they import: nothing that they do not need."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from hyena_ray.cluster.pool import Shards, run_shards
from hyena_ray.cluster.resources import Resources

SEARCH = {"optuna", "sqlalchemy", "ray.tune"}
RAY_LIBRARIES = {"ray.data", "ray.train"}
MODELS = {"torch", "transformers", "peft", "sklearn"}


def test_an_actor_of_the_pool_imports_its_work_alone(tmp_path: Path, cluster: object) -> None:
    path = tmp_path / "modules.json"

    def make() -> Callable[[int], object]:
        def work(number: int) -> None:
            path.write_text(json.dumps(sorted(sys.modules)))

        return work

    shards = Shards(
        name="imports",
        numbers=[0],
        make=make,
        is_done=lambda number: path.exists(),
        describe=str,
        in_own_process=True,
    )
    run_shards(shards, actors=1, resources=Resources(cpu=0.5))
    modules = set(json.loads(path.read_text()))
    assert "hyena_ray.cluster.pool" in modules
    assert not modules & (SEARCH | RAY_LIBRARIES | MODELS)


@pytest.mark.parametrize(
    ("module", "unneeded"),
    [
        ("hyena_ray.cluster.resources", {"ray", *MODELS}),
        ("hyena_ray.cluster.streams", SEARCH | RAY_LIBRARIES | MODELS),
        ("hyena_ray.cluster.workers", SEARCH | RAY_LIBRARIES | MODELS),
        ("hyena_ray.search.trial", (SEARCH | MODELS) - {"ray.tune", "torch"}),
    ],
)
def test_what_a_worker_imports_to_find_its_work_is_light(module: str, unneeded: set[str]) -> None:
    code = f"import sys, {module}; print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not set(done.stdout.split()) & unneeded

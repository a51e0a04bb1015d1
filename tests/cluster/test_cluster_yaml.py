"""cluster.yaml passes Ray's own check, and lets in nobody but its owner."""

from __future__ import annotations

import copy
import importlib.metadata
from pathlib import Path
from typing import Any

import pytest
from ray.autoscaler._private.util import prepare_config, validate_config

from hyena_ray.settings import load_yaml

PATH = Path(__file__).parents[2] / "cluster.yaml"


@pytest.fixture
def config() -> dict[str, Any]:
    return load_yaml(PATH)


def test_it_passes_rays_schema(config: dict[str, Any]) -> None:
    validate_config(prepare_config(copy.deepcopy(config)))


def test_no_address_is_open_to_all(config: dict[str, Any]) -> None:
    text = PATH.read_text()
    assert "0.0.0.0" not in text
    assert "::/0" not in text
    assert "security_group" not in config["provider"]
    for node_type in config["available_node_types"].values():
        # Without these Ray makes a group that is open to all on port 22.
        assert node_type["node_config"]["SecurityGroupIds"] == ["sg-00000000000000000"]
    (head,) = (line for line in config["head_start_ray_commands"] if "ray start" in line)
    assert "--dashboard-host=127.0.0.1" in head


def test_every_node_asks_for_the_token(config: dict[str, Any]) -> None:
    for commands in ("head_start_ray_commands", "worker_start_ray_commands"):
        (start,) = (line for line in config[commands] if "ray start" in line)
        assert start.startswith("RAY_AUTH_MODE=token ray start")
    assert config["file_mounts"]["/home/ray/.ray/auth_token"] == "~/.ray/auth_token"


def test_ray_is_the_version_of_the_lock(config: dict[str, Any]) -> None:
    version = importlib.metadata.version("ray")
    for image in ("head_image", "worker_image"):
        assert config["docker"][image].startswith(f"rayproject/ray:{version}-py311-")


def test_the_head_runs_nothing_and_workers_are_spot_gpus_that_come_and_go(
    config: dict[str, Any],
) -> None:
    types = config["available_node_types"]
    assert types[config["head_node_type"]]["resources"]["CPU"] == 0
    workers = {name: kind for name, kind in types.items() if name != config["head_node_type"]}
    # Some work needs one GPU, and some several on one node.
    gpus = {name: kind["resources"]["GPU"] for name, kind in workers.items()}
    assert gpus == {"gpu_worker": 1, "multi_gpu_worker": 4}
    for worker in workers.values():
        assert worker["min_workers"] == 0
        assert worker["max_workers"] <= config["max_workers"]
        assert worker["resources"]["CPU"] >= 2 * worker["resources"]["GPU"], "CPUs to feed each GPU"
        assert worker["node_config"]["InstanceMarketOptions"] == {"MarketType": "spot"}

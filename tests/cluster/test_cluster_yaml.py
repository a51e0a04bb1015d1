"""cluster.yaml passes Ray's own check, and lets in nobody but its owner."""

from __future__ import annotations

import copy
import importlib.metadata
import json
import re
from pathlib import Path
from typing import Any

import pytest
from ray.autoscaler._private.util import prepare_config, validate_config

from hyena_ray.settings import load_yaml

ROOT = Path(__file__).parents[2]
PATH = ROOT / "cluster.yaml"


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


def test_every_node_keeps_rays_files_below_a_folder_of_mode_700(config: dict[str, Any]) -> None:
    for commands in ("head_start_ray_commands", "worker_start_ray_commands"):
        make, begin = config[commands][-2:]
        private = make.removeprefix("install --directory --mode 700 ")
        # Ray gives the folder itself mode 777.
        assert f"--temp-dir={private}/" in begin


def test_nodes_install_what_has_a_hash(config: dict[str, Any]) -> None:
    installs = [
        command
        for key in ("setup_commands", "head_setup_commands", "worker_setup_commands")
        for command in config[key]
        if "install" in command
    ]
    assert installs
    for command in installs:
        assert "--require-hashes" in command
        for file in re.findall(r"-r (\S+)", command):
            assert (ROOT / config["file_mounts"][file]).is_file()


def test_nodes_have_the_roles_of_the_policies_and_tokens_of_the_metadata_service(
    config: dict[str, Any],
) -> None:
    for name, kind in config["available_node_types"].items():
        # Without a profile, Ray makes one with AmazonEC2FullAccess and AmazonS3FullAccess.
        role = "head" if name == config["head_node_type"] else "worker"
        assert kind["node_config"]["IamInstanceProfile"] == {"Name": f"hyena-ray-{role}"}
        options = kind["node_config"]["MetadataOptions"]
        assert options == {"HttpTokens": "required", "HttpPutResponseHopLimit": 1}


def statements(name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((ROOT / "aws" / name).read_text())["Statement"]
    return found


def listed(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


@pytest.mark.parametrize("name", ["scaling.json", "storage.json"])
def test_no_policy_gives_rights_on_the_whole_account(name: str) -> None:
    for statement in statements(name):
        actions, resources = listed(statement["Action"]), listed(statement["Resource"])
        assert statement["Effect"] == "Allow"
        assert not any("*" in action for action in actions)
        if any(resource == "*" for resource in resources):
            assert all(action.startswith("ec2:Describe") for action in actions)
        if "iam:PassRole" in actions:
            assert resources == ["arn:aws:iam::000000000000:role/hyena-ray-worker"]


def test_only_instances_of_this_cluster_are_started_tagged_and_ended(
    config: dict[str, Any],
) -> None:
    types = config["available_node_types"]
    workers = [kind for name, kind in types.items() if name != config["head_node_type"]]
    for statement in statements("scaling.json"):
        changes = {"ec2:RunInstances", "ec2:CreateTags", "ec2:TerminateInstances"}
        if not changes & set(listed(statement["Action"])):
            continue
        resources = listed(statement["Resource"])
        if not any(":instance/" in resource for resource in resources):
            continue
        equal = statement["Condition"]["StringEquals"]
        if listed(statement["Action"]) == ["ec2:RunInstances"]:
            assert equal["aws:RequestTag/ray-cluster-name"] == config["cluster_name"]
            assert equal["ec2:MetadataHttpTokens"] == "required"
            given = {kind["node_config"]["InstanceType"] for kind in workers}
            assert set(equal["ec2:InstanceType"]) == given
        else:
            own = equal.get("ec2:ResourceTag/ray-cluster-name") == config["cluster_name"]
            assert own or equal == {"ec2:CreateAction": "RunInstances"}
    regions = {
        resource.split(":")[3]
        for statement in statements("scaling.json")
        for resource in listed(statement["Resource"])
        if resource != "*"
    }
    assert regions == {config["provider"]["region"], ""}


def test_storage_is_that_of_one_bucket() -> None:
    for statement in statements("storage.json"):
        assert {resource.partition("/")[0] for resource in listed(statement["Resource"])} == {
            "arn:aws:s3:::BUCKET"
        }


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

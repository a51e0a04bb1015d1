"""The RayJob manifest has KubeRay's fields and their types, and lets in nobody but its owner."""

from __future__ import annotations

import copy
import importlib.metadata
import ipaddress
import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from hyena_ray.cli.commands import JobCommand
from hyena_ray.settings import load_yaml, parse_yaml
from hyena_ray.workflows import tune
from tests.cluster.kuberay import RAY_JOB

ROOT = Path(__file__).parents[2]
MANIFEST = ROOT / "kubernetes" / "rayjob.yaml"


@pytest.fixture
def manifest() -> dict[str, Any]:
    return load_yaml(MANIFEST)


def cluster_of(manifest: dict[str, Any]) -> dict[str, Any]:
    cluster: dict[str, Any] = manifest["spec"]["rayClusterSpec"]
    return cluster


def templates(manifest: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield manifest["spec"]["submitterPodTemplate"]
    yield cluster_of(manifest)["headGroupSpec"]["template"]
    for group in cluster_of(manifest)["workerGroupSpecs"]:
        yield group["template"]


def network_policy() -> dict[str, Any]:
    policy: dict[str, Any] = load_yaml(ROOT / "kubernetes" / "network-policy.yaml")["spec"]
    return policy


def test_its_fields_and_their_types_are_kuberays(manifest: dict[str, Any]) -> None:
    jsonschema.validate(manifest, RAY_JOB)
    # A name of the operator's pods and services, so a label of DNS, and short.
    assert re.fullmatch(r"[a-z]([-a-z0-9]{0,45}[a-z0-9])?", manifest["metadata"]["name"])


@pytest.mark.parametrize(
    ("where", "field", "value"),
    [
        (("spec",), "backOffLimit", 2),
        (("spec",), "activeDeadlineSeconds", "1d"),
        (("spec",), "submissionMode", "HttpMode"),
        (("spec", "rayClusterSpec"), "rayVersion", 2.6),
        (("spec", "rayClusterSpec", "headGroupSpec"), "rayStartParams", {"num-cpus": 0}),
        (("spec", "rayClusterSpec", "headGroupSpec"), "replicas", 1),
        (("spec", "rayClusterSpec", "workerGroupSpecs", 0), "maxReplicas", "8"),
    ],
)
def test_a_field_that_kuberay_does_not_know_is_caught(
    manifest: dict[str, Any], where: tuple[Any, ...], field: str, value: object
) -> None:
    changed = copy.deepcopy(manifest)
    place: Any = changed
    for key in where:
        place = place[key]
    place[field] = value
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(changed, RAY_JOB)


def test_ray_is_the_version_of_the_lock(manifest: dict[str, Any]) -> None:
    version = importlib.metadata.version("ray")
    assert cluster_of(manifest)["rayVersion"] == version
    for template in templates(manifest):
        for container in template["spec"]["containers"]:
            assert container["image"].startswith(f"rayproject/ray:{version}-py311-")


def test_the_token_is_asked_for_and_stands_nowhere_in_the_manifest(
    manifest: dict[str, Any],
) -> None:
    assert cluster_of(manifest)["authOptions"] == {"mode": "token"}
    assert "RAY_AUTH" not in MANIFEST.read_text()
    environment = parse_yaml(manifest["spec"]["runtimeEnvYAML"], MANIFEST)
    assert set(environment["env_vars"]) == {"RAY_JOB_STOP_SIGNAL", "RAY_JOB_STOP_WAIT_TIME_S"}
    # KubeRay puts it into a shell's double quotes.
    assert not set("$`") & set(json.dumps(environment))


def test_nothing_is_open_beyond_the_cluster(manifest: dict[str, Any]) -> None:
    head = cluster_of(manifest)["headGroupSpec"]
    assert head["serviceType"] == "ClusterIP"
    assert not head.get("enableIngress", False)
    policy = network_policy()
    chosen = policy["podSelector"]["matchLabels"]
    assert set(policy["policyTypes"]) == {"Ingress", "Egress"}
    for template in templates(manifest):
        assert chosen.items() <= template["metadata"]["labels"].items()
        assert not template["spec"].get("hostNetwork", False)
    ours, operator = policy["ingress"]
    assert ours["from"] == [{"podSelector": {"matchLabels": chosen}}]
    assert [port["port"] for port in operator["ports"]] == [8265]
    (source,) = operator["from"]
    assert source["podSelector"]["matchLabels"] == {"app.kubernetes.io/name": "kuberay-operator"}
    # An empty selector of namespaces chooses all: any pod could take the operator's label.
    namespace = source["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"]
    page = (ROOT / "docs" / "cluster.md").read_text()
    assert f"kuberay-operator --namespace {namespace} " in page
    assert "0.0.0.0" not in MANIFEST.read_text()


@pytest.mark.parametrize(
    "address",
    ["169.254.169.254", "169.254.170.2", "168.63.129.16", "fd00:ec2::254", "fd20:ce::254"],
)
def test_no_pod_reaches_a_metadata_service(address: str) -> None:
    blocks = [
        peer["ipBlock"]
        for rule in network_policy()["egress"]
        for peer in rule["to"]
        if "ipBlock" in peer
    ]
    asked = ipaddress.ip_address(address)
    networks = [(ipaddress.ip_network(block["cidr"]), block["except"]) for block in blocks]
    reaching = [excepted for network, excepted in networks if asked in network]
    assert reaching, "the test asks for an address that another rule would let through"
    for excepted in reaching:
        assert any(asked in ipaddress.ip_network(part) for part in excepted)


def test_pods_reach_each_other_names_and_what_is_encrypted() -> None:
    policy = network_policy()
    ours, names, outside = policy["egress"]
    assert ours == {"to": [{"podSelector": policy["podSelector"]}]}
    assert {port["port"] for port in names["ports"]} == {53}
    assert all("ipBlock" in peer for peer in outside["to"])
    assert {(port["protocol"], port["port"]) for port in outside["ports"]} == {
        ("TCP", 443),
        ("TCP", 6443),
    }


def test_nodes_install_what_has_a_hash(manifest: dict[str, Any]) -> None:
    pip = parse_yaml(manifest["spec"]["runtimeEnvYAML"], MANIFEST)["pip"]
    assert pip["pip_install_options"] == ["--require-hashes"]
    files = [line.removeprefix("-r /shared/hyena-ray/") for line in pip["packages"]]
    assert files == ["requirements-node.lock", "requirements-cuda.lock"]
    assert all((ROOT / file).is_file() for file in files)


def test_no_container_can_become_root_and_all_have_limits(manifest: dict[str, Any]) -> None:
    autoscaler = cluster_of(manifest)["autoscalerOptions"]
    containers = [autoscaler]
    for template in templates(manifest):
        pod = template["spec"]
        assert pod["securityContext"]["runAsNonRoot"]
        assert pod["securityContext"]["runAsUser"] != 0
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        containers += pod["containers"]
    for container in containers:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        }
        for kind in ("requests", "limits"):
            assert {"cpu", "memory"} <= container["resources"][kind].keys()


def test_only_the_head_whose_autoscaler_asks_for_pods_gets_a_service_account(
    manifest: dict[str, Any],
) -> None:
    submitter, _, *workers = templates(manifest)
    for template in (submitter, *workers):
        assert template["spec"]["automountServiceAccountToken"] is False


def test_the_entry_point_is_a_command_of_the_job_and_every_try_goes_on(
    manifest: dict[str, Any],
) -> None:
    spec = manifest["spec"]
    python, job, *arguments = shlex.split(spec["entrypoint"])
    assert (python, job) == ("python", "jobs/tune_zdna.py")
    assert (ROOT / job).is_file()
    command = JobCommand("zdna", tune.WORKFLOW, "zdna")
    options = command.make_context("zdna", arguments).params
    assert options["resume"]
    # A new cluster per try, and a suspended job gives its cluster up.
    assert spec["backoffLimit"] > 0
    assert spec["shutdownAfterJobFinishes"]
    for template in templates(manifest):
        volumes = {volume["name"]: volume for volume in template["spec"]["volumes"]}
        (container,) = template["spec"]["containers"]
        mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
        assert "persistentVolumeClaim" in volumes[mounts["/shared"]]
    assert (options["data"], options["out"]) == ("/shared/prepared", "/shared/run")


def test_the_head_runs_nothing_and_gpus_come_and_go(manifest: dict[str, Any]) -> None:
    cluster = cluster_of(manifest)
    assert cluster["enableInTreeAutoscaling"]
    assert cluster["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    gpus = {}
    for workers in cluster["workerGroupSpecs"]:
        assert (workers["minReplicas"], workers["replicas"]) == (0, 0)
        (container,) = workers["template"]["spec"]["containers"]
        limits = container["resources"]["limits"]
        assert container["resources"]["requests"] == limits
        gpus[workers["groupName"]] = int(limits["nvidia.com/gpu"])
        assert int(limits["cpu"]) >= 2 * gpus[workers["groupName"]], "CPUs to feed each GPU"
    # Some work needs one GPU, and some several on one node.
    assert gpus == {"gpu": 1, "multi-gpu": 4}

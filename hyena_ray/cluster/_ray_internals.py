"""The two things that Ray 2.60 has no public name for.

Nothing else in the package uses a private name of another library.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import ray
from ray._private import ray_constants


@contextmanager
def loopback_only() -> Iterator[None]:
    """Let a cluster that is started inside the block listen on 127.0.0.1 alone.

    Otherwise every port but the dashboard's is open to the network, and one of them takes jobs.
    The switch is the one by which Ray itself stays local on Windows and macOS. It is read when Ray
    is imported, and `ray.init(_node_ip_address="127.0.0.1")` is replaced by the machine's own
    address: https://github.com/ray-project/ray/issues/26293.
    """
    variable, before = ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR, ray_constants.ENABLE_RAY_CLUSTER
    given = os.environ.get(variable)
    os.environ[variable] = "0"  # for the processes that Ray starts
    ray_constants.ENABLE_RAY_CLUSTER = False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before
        del os.environ[variable]
        if given is not None:
            os.environ[variable] = given


class Autoscaling(NamedTuple):
    """Resources of a cluster once autoscaling has added every node that it may add."""

    total: Mapping[str, float]
    """Amount of each resource, such as `CPU`; empty if the cluster does not scale."""
    nodes: Sequence[tuple[Mapping[str, float], int]]
    """Amounts of each resource on a node of each kind, and the largest number of such nodes; a
    negative number means no limit."""


def autoscaling() -> Autoscaling:
    """Return what the connected cluster may grow to.

    `ray.cluster_resources()` and `ray.nodes()` only cover nodes that are running. A public function
    was requested in https://github.com/ray-project/ray/issues/49501; Ray added this private one.
    """
    state = ray._private.state.state
    config = state.get_cluster_config()
    groups = config.node_group_configs if config else ()
    return Autoscaling(
        state.get_max_resources_from_cluster_config() or {},
        [(dict(group.resources), group.max_count) for group in groups],
    )

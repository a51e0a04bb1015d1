"""Join a Ray cluster, or start one on this machine."""

from __future__ import annotations

import logging
import os
import secrets
import signal
import socket
import sys
import textwrap
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError

from hyena_ray.cluster._orphans import descendants, no_orphans
from hyena_ray.cluster._ray_internals import Autoscaling, autoscaling, loopback_only
from hyena_ray.cluster.resources import Cluster, Node
from hyena_ray.errors import InputError, JobError

logger = logging.getLogger(__name__)

LOCAL_OBJECT_STORE = 2 << 30
"""Bytes of the object store on this machine; Ray's default of 30 % of the memory is too much for a
laptop."""
ACCELERATOR = "accelerator_type:"
"""Prefix of the name of the resource with which Ray marks the GPU model of a node."""


@contextmanager
def connect(address: str | None = None, *, dashboard: bool = False) -> Iterator[Cluster]:
    """Join the cluster at `address`, else that of RAY_ADDRESS, else start one on this machine.

    A cluster that is started here is shut down at the end, asks for a token whatever RAY_AUTH_MODE
    says, and listens on loopback alone. In a process that is connected already, that connection is
    used and kept.

    Args:
        address: "auto", "local", host:port, or None.
        dashboard: Whether a cluster that is started here has a dashboard, on loopback as well.

    Yields:
        What the cluster has.

    Raises:
        InputError: Nothing answers at the address.
        JobError: Ray failed inside the block.
    """
    if ray.is_initialized():
        with _own_signals():
            url = _dashboard(ray.init(ignore_reinit_error=True))  # starts and joins nothing
        with _errors_in_one_line():
            yield _describe(url, None)
        return
    # A bare ray.init() would join whatever cluster happens to run on the machine.
    target = address or os.environ.get("RAY_ADDRESS") or "local"
    cores = available_cores() if target == "local" else None
    before = descendants(os.getpid())
    logger.info("waiting for Ray to %s", "start" if target == "local" else f"answer at {target}")
    with _own_signals():
        url = _start_here(dashboard) if target == "local" else _join(target)
    # Its lines on every block read would drown the job's own; errors are raised as well.
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    with no_orphans(before) if target == "local" else nullcontext():
        try:
            with _errors_in_one_line():
                yield _describe(url, cores)
        finally:
            ray.shutdown()


@contextmanager
def _errors_in_one_line() -> Iterator[None]:
    """Raise Ray's errors as a `JobError`, and what a worker refused as the `InputError` it is."""
    try:
        yield
    except RayError as error:
        cause = getattr(error, "cause", None)
        if isinstance(cause, InputError):
            raise cause from None
        raise JobError(
            f"Ray: {reason_of(error)}; what was finished is kept, --resume does the rest"
        ) from error


def reason_of(error: Exception) -> str:
    """Return the one line of an error's message that says why.

    Args:
        error: Error of Ray, of Tune, or any other.

    Example:
        >>> reason_of(ValueError("no room on the disk\\nand more"))
        'no room on the disk'
    """
    # Tune wraps some of Ray's errors in one that only says that it did not expect them.
    cause = error.__cause__ if isinstance(error.__cause__, RayError) else error
    lines = str(cause).strip().splitlines() or [type(cause).__name__]
    # A task's message follows its traceback, and Tune passes tracebacks on as messages; the details
    # of a death follow its message.
    if isinstance(cause, RayTaskError) or lines[0].startswith("Traceback"):
        return lines[-1]
    return textwrap.shorten(lines[0], 160, placeholder=" ...")


@contextmanager
def _own_signals() -> Iterator[None]:
    """Keep the job's handling of SIGTERM, for which ray.init exits with code 15 from then on."""
    handler = signal.getsignal(signal.SIGTERM)
    try:
        yield
    except SystemExit as stopped:
        if stopped.code == signal.SIGTERM and callable(handler):
            handler(signal.SIGTERM, None)
        raise
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, handler)


def available_cores() -> int:
    """Return the number of cores that this process may run on."""
    return len(os.sched_getaffinity(0))


def _start_here(dashboard: bool) -> str | None:
    # Unset, Ray asks for a token on its own cluster; the mode may be that of another cluster.
    os.environ.pop("RAY_AUTH_MODE", None)
    # Ray would save its token under the home folder, where all may read it; a token in the
    # environment ends with the process.
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    with loopback_only():
        context = ray.init(
            address="local",
            # More than the cores: Ray Data in a trial waits for ever when trials hold all CPUs.
            num_cpus=max(4, available_cores()),
            object_store_memory=LOCAL_OBJECT_STORE,
            include_dashboard=dashboard,
            logging_level=logging.ERROR,
            log_to_driver=False,
        )
    return _dashboard(context)


def _join(address: str) -> str | None:
    try:
        host, colon, port = address.rpartition(":")
        if colon and port.isdigit():
            # Ray itself would try for minutes.
            socket.create_connection((host, int(port)), timeout=10).close()
        context = ray.init(address=address, logging_level=logging.ERROR, log_to_driver=False)
    except (OSError, RuntimeError, ValueError) as error:
        raise InputError(
            "--address",
            address,
            f"no Ray cluster can be joined there ({str(error).splitlines()[0]})",
            "start one with `ray start --head`, or leave --address out to run on this machine",
        ) from None
    return _dashboard(context)


def _dashboard(context: Any) -> str | None:
    url: str | None = context.dashboard_url
    return url


def _describe(dashboard_url: str | None, cores: int | None) -> Cluster:
    present, possible = ray.cluster_resources(), autoscaling()
    cluster = Cluster(
        cpus=max(present.get("CPU", 0.0), possible.total.get("CPU", 0.0)),
        gpus=max(present.get("GPU", 0.0), possible.total.get("GPU", 0.0)),
        cores=cores,
        object_store=present.get("object_store_memory", 0.0),
        dashboard=bool(dashboard_url),
        nodes=_nodes(possible),
        accelerators=tuple(
            sorted(key.removeprefix(ACCELERATOR) for key in present if key.startswith(ACCELERATOR))
        ),
    )
    logger.info("Ray has %g CPUs and %g GPUs", cluster.cpus, cluster.gpus)
    return cluster


def _nodes(possible: Autoscaling) -> tuple[Node, ...]:
    """Return the nodes that have CPUs: those that are running, and those that may be added."""
    up = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    counts = Counter(map(_cpus_and_gpus, up))
    for resources, most in possible.nodes:
        kind = _cpus_and_gpus(resources)
        # Some of these are running already.
        counts[kind] = max(counts[kind], most if most >= 0 else sys.maxsize)
    return tuple(Node(*kind, count) for kind, count in sorted(counts.items()) if kind[0])


def _cpus_and_gpus(resources: Mapping[str, float]) -> tuple[float, float]:
    return float(resources.get("CPU", 0.0)), float(resources.get("GPU", 0.0))

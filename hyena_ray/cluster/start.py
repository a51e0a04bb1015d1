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
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError

from hyena_ray.cluster._orphans import descendants, no_orphans
from hyena_ray.cluster._ray_internals import Autoscaling, autoscaling, loopback_only
from hyena_ray.cluster.resources import Cluster, Node
from hyena_ray.cluster.session import private_session, warn_of_open_session
from hyena_ray.errors import InputError, JobError

logger = logging.getLogger(__name__)

LOCAL_OBJECT_STORE = 2 << 30
"""Bytes of the object store on this machine; Ray's default of 30 % of the memory is too much for a
laptop."""
LEAST_CPUS = 4
"""CPUs that Ray hands out on this machine at least, however few cores it has: Ray Data in a trial
waits for ever when trials hold all CPUs. See `Cluster.reserve`."""
ACCELERATOR = "accelerator_type:"
"""Prefix of the name of the resource with which Ray marks the GPU model of a node."""


@contextmanager
def connect(address: str | None = None, *, dashboard: bool = False) -> Iterator[Cluster]:
    """Join the cluster at `address`, else that of RAY_ADDRESS, else start one on this machine.

    A cluster that is started here is shut down at the end, asks for a token whatever RAY_AUTH_MODE
    says, listens on loopback alone, and keeps its files where no other user can reach them. In a
    process that is connected already, that connection is used and kept.

    Args:
        address: "auto", "local", host:port, or None.
        dashboard: Whether a cluster that is started here has a dashboard, on loopback as well.

    Yields:
        What the cluster has.

    Raises:
        InputError: No cluster can be joined at the address, or none can keep its files here.
        JobError: Ray did not start, or failed inside the block.
    """
    if ray.is_initialized():
        with _own_signals():
            url = _dashboard(ray.init(ignore_reinit_error=True))  # starts and joins nothing
        with _errors_in_one_line():
            yield _describe(url, None)
        return
    place, target = _chosen(address)
    logger.info("waiting for Ray to %s", "start" if target == "local" else f"answer at {target}")
    with _started_here(dashboard) if target == "local" else _joined(place, target) as url:
        # Its lines on every block read would drown the job's own; errors are raised as well.
        logging.getLogger("ray.data").setLevel(logging.CRITICAL)
        with _errors_in_one_line():
            yield _describe(url, available_cores() if target == "local" else None)


def _chosen(address: str | None) -> tuple[str, str]:
    """Return what names the cluster, option or variable, and its value; unset it is "local"."""
    variable = os.environ.get("RAY_ADDRESS")
    # For Ray, the variable says what "auto" is.
    if variable and address in (None, "auto"):
        return "RAY_ADDRESS", variable
    # A bare ray.init() would join whatever cluster happens to run on the machine.
    return "--address", address or "local"


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


@contextmanager
def _started_here(dashboard: bool) -> Iterator[str | None]:
    """Start a cluster on this machine, yield the address of its dashboard, and shut it down."""
    # Unset, Ray asks for a token on its own cluster; the mode may be that of another cluster.
    os.environ.pop("RAY_AUTH_MODE", None)
    # Ray would save its token under the home folder, where all may read it; a token in the
    # environment ends with the process.
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    before = descendants(os.getpid())
    with private_session() as folder:
        try:
            with _own_signals(), loopback_only():
                context = ray.init(
                    address="local",
                    num_cpus=max(LEAST_CPUS, available_cores()),
                    object_store_memory=LOCAL_OBJECT_STORE,
                    include_dashboard=dashboard,
                    logging_level=logging.ERROR,
                    log_to_driver=False,
                )
        except Exception as error:  # a time-out is a bare Exception
            raise JobError(
                f"Ray did not start on this machine: {_why(error)}; run it again when "
                "there are memory, disk and processes to spare, or join a cluster with --address"
            ) from error
        with no_orphans(before, folder):
            try:
                yield _dashboard(context)
            finally:
                ray.shutdown()


@contextmanager
def _joined(place: str, address: str) -> Iterator[str | None]:
    """Join a running cluster, yield the address of its dashboard, and leave it."""
    try:
        _check_that_ray_answers(address)
        with _own_signals():
            context = ray.init(address=address, logging_level=logging.ERROR, log_to_driver=False)
    except Exception as error:
        raise InputError(
            place,
            address,
            f"no Ray cluster can be joined there ({_why(error)})",
            _remedy(place, address, _why(error)),
        ) from None
    try:
        warn_of_open_session(Path(context.address_info["session_dir"]))
        yield _dashboard(context)
    finally:
        ray.shutdown()


def _check_that_ray_answers(address: str) -> None:
    """Raise an error if no server of Ray's is at HOST:PORT; Ray itself would try for minutes."""
    if "://" in address:
        raise ValueError("it is a URL, and the address of a cluster is HOST:PORT")
    host, colon, port = address.rpartition(":")
    if not (colon and port.isdigit()):
        return
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        if os.environ.get("RAY_USE_TLS", "0") != "0":
            return
        # Ray's server speaks HTTP/2, and its first answer is a frame of settings (RFC 9113, 3.4).
        connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0]))
        if connection.recv(9)[3:4] != b"\4":
            raise ValueError(
                "what answers there is no head of Ray's; the dashboard has another port"
            )


def _remedy(place: str, address: str, reason: str) -> str:
    """Return what to do about a cluster that cannot be joined."""
    leave = "unset RAY_ADDRESS" if place == "RAY_ADDRESS" else "leave --address out"
    if "oken" in reason:
        return "set RAY_AUTH_MODE=token and, in RAY_AUTH_TOKEN, the token of that cluster"
    if "ersion mismatch" in reason:
        return "install the versions of Ray and Python that the cluster has"
    if "://" in address:
        return (
            f"give the head's address, such as 10.0.0.1:6379, or {leave} to run on this machine; "
            "for `ray job submit`, set RAY_API_SERVER_ADDRESS to the URL"
        )
    return f"start one with `ray start --head`, or {leave} to run on this machine"


def _why(error: Exception) -> str:
    """Return on one line why a cluster does not start or cannot be joined."""
    # "Failed to connect to Ray cluster at ..." has the reason as its cause, whose message may end
    # in a traceback.
    said, traceback, rest = str(error.__cause__ or error).partition("Traceback")
    if traceback:
        said += rest.strip().splitlines()[-1]
    return textwrap.shorten(said or type(error).__name__, 300, placeholder=" ...")


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
    logger.info("Ray has %s", cluster.text)
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

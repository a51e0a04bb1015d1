"""What a cluster can never give is refused before the start."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyena_ray.cluster.resources import Resources, place
from hyena_ray.cluster.start import Cluster
from hyena_ray.errors import InputError

LAPTOP = Cluster(cpus=4, gpus=0, cores=2, object_store=2e9)
SERVER = Cluster(cpus=32, gpus=4, cores=None, object_store=2e10)


def placed(cluster: Cluster, cpu: float = 1, gpu: float = 0, *, wanted: int | None = None,
           useful: int = 100, streams: bool = False) -> tuple[int, int]:  # fmt: skip
    each = Resources(cpu=cpu, gpu=gpu)
    found = place(cluster, each, wanted=wanted, useful=useful, streams=streams, name="--actors")
    return found.concurrent, found.threads


def test_a_laptop_runs_one_trial_per_core_though_ray_counts_more_cpus() -> None:
    assert placed(LAPTOP) == (2, 1)
    assert placed(LAPTOP, cpu=2) == (1, 2)


def test_no_more_run_than_have_something_to_do() -> None:
    assert placed(SERVER, useful=3) == (3, 1)


def test_a_stream_reserves_a_cpu_beside_each_trial() -> None:
    assert placed(LAPTOP, streams=True, wanted=2) == (2, 1)
    with pytest.raises(InputError, match="the cluster has 4 CPUs"):
        placed(LAPTOP, streams=True, wanted=3)


def test_gpus_are_shared_as_asked() -> None:
    assert placed(SERVER, gpu=1)[0] == 4
    assert placed(SERVER, gpu=0.5)[0] == 8
    assert placed(SERVER, gpu=0.4)[0] == 8
    assert placed(SERVER, gpu=2)[0] == 2


@pytest.mark.parametrize(
    ("cluster", "cpu", "gpu", "wanted"),
    [(LAPTOP, 1, 1, None), (LAPTOP, 5, 0, None), (SERVER, 1, 1, 5), (LAPTOP, 1, 0, 5)],
)
def test_more_than_the_cluster_has_is_refused_with_what_it_has(
    cluster: Cluster, cpu: float, gpu: float, wanted: int | None
) -> None:
    with pytest.raises(InputError, match=r"--actors: .*the cluster has \d+ CPUs and \d GPUs"):
        placed(cluster, cpu, gpu, wanted=wanted)


def test_gpus_beyond_one_are_whole() -> None:
    with pytest.raises(InputError, match="neither whole nor below 1"):
        placed(SERVER, gpu=1.5)


@given(
    st.integers(1, 64), st.integers(0, 8), st.floats(0.25, 8), st.sampled_from([0, 0.25, 0.5, 1, 2])
)
def test_what_is_placed_fits(cpus: int, gpus: int, cpu: float, gpu: float) -> None:
    cluster = Cluster(cpus, gpus, None, 1e9)
    try:
        concurrent, threads = placed(cluster, cpu, gpu)
    except InputError:
        assert cpu > cpus or gpu > gpus
    else:
        assert concurrent * cpu <= cpus
        assert concurrent * gpu <= gpus
        assert 1 <= threads <= max(1, cpu)

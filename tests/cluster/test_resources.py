"""What a cluster can never give is refused before the start."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyena_ray.cluster.resources import Cluster, Resources, fit_resources
from hyena_ray.errors import InputError

LAPTOP = Cluster(cpus=4, gpus=0, cores=2, object_store=2e9)
SERVER = Cluster(cpus=32, gpus=4, cores=None, object_store=2e10, dashboard=True)


def placed(
    cluster: Cluster,
    cpu: float = 1,
    gpu: float = 0,
    *,
    wanted: int | None = None,
    useful: int = 100,
    streams: bool = False,
    workers: int = 1,
) -> tuple[int, int]:
    resources = Resources(cpu=cpu, gpu=gpu)
    found = fit_resources(
        cluster, resources, wanted=wanted, useful=useful, streams=streams, name="--actors",
        workers=workers,
    )  # fmt: skip
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


def test_a_trial_takes_what_each_of_its_workers_takes_and_a_little_for_itself() -> None:
    assert placed(SERVER, workers=2) == (15, 1)
    assert placed(SERVER, cpu=4, workers=4, wanted=1) == (1, 4)
    assert placed(SERVER, gpu=1, workers=2)[0] == 2
    assert placed(SERVER, gpu=2, workers=2)[0] == 1
    assert placed(SERVER, workers=2, streams=True)[0] == 7
    for workers, gpu in ((32, 0), (5, 1), (3, 2)):
        with pytest.raises(InputError, match="the cluster has 32 CPUs and 4 GPUs"):
            placed(SERVER, gpu=gpu, workers=workers)


def test_workers_of_a_trial_do_not_share_a_gpu() -> None:
    with pytest.raises(InputError, match=r"gpu: 0\.5: is shared by workers"):
        placed(SERVER, gpu=0.5, workers=2)


def test_several_workers_need_a_dashboard() -> None:
    with pytest.raises(InputError, match="workers: 2: the cluster has no dashboard"):
        placed(LAPTOP, workers=2)
    assert placed(LAPTOP._replace(dashboard=True), workers=2) == (1, 1)


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
    st.integers(1, 64),
    st.integers(0, 8),
    st.floats(0.25, 8),
    st.sampled_from([0, 0.25, 0.5, 1, 2]),
    st.integers(1, 4),
)
def test_what_is_placed_fits(cpus: int, gpus: int, cpu: float, gpu: float, workers: int) -> None:
    cluster = Cluster(cpus, gpus, None, 1e9, dashboard=True)
    try:
        concurrent, threads = placed(cluster, cpu, gpu, workers=workers)
    except InputError:
        alone = workers == 1
        assert (
            workers * cpu + (0 if alone else 0.01) > cpus
            or workers * gpu > gpus
            or (not alone and 0 < gpu < 1)
        )
    else:
        assert concurrent * workers * cpu <= cpus
        assert concurrent * workers * gpu <= gpus
        assert 1 <= threads <= max(1, cpu)

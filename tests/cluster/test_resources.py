"""What a cluster can never give is refused before the start."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyena_ray.cluster.resources import (
    FOR_TENSORS,
    GPU_MEMORY,
    SHARES,
    Cluster,
    Node,
    Placement,
    Resources,
    TrialResources,
    fit_resources,
)
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
    placement = fit_resources(
        cluster,
        TrialResources.parse({"cpu": cpu, "gpu": gpu, "workers": workers}, "resources"),
        wanted=wanted,
        useful=useful,
        name="--cpu, --gpu",
        stream_cpu=float(streams),
    )
    return placement.concurrent, placement.threads


def test_a_laptop_runs_one_trial_per_core_though_ray_counts_more_cpus() -> None:
    assert placed(LAPTOP) == (2, 1)
    assert placed(LAPTOP, cpu=2) == (1, 2)


def test_no_more_run_than_have_something_to_do() -> None:
    assert placed(SERVER, useful=3) == (3, 1)


def test_a_stream_reserves_a_cpu_beside_each_trial() -> None:
    assert placed(LAPTOP, streams=True, wanted=2) == (2, 1)
    with pytest.raises(InputError, match=r"the cluster has 2 CPUs.* 2 CPUs in reserve"):
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
    with pytest.raises(InputError, match=r"gpu 0\.5 is for each of 2 workers"):
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
    setting = "--cpu, --gpu" if wanted is None else "--actors"
    with pytest.raises(InputError, match=rf"{setting}: .*the cluster has \d+ CPUs and \d GPUs"):
        placed(cluster, cpu, gpu, wanted=wanted)


def test_a_cluster_says_how_many_cores_it_has_and_the_reserve_apart() -> None:
    assert LAPTOP.text == "2 CPUs and 0 GPUs, and 2 CPUs in reserve for reading data"
    assert LAPTOP._replace(cores=8, cpus=8).text == "8 CPUs and 0 GPUs"
    assert SERVER.text == "32 CPUs and 4 GPUs"


NODES = Cluster(
    cpus=40, gpus=6, cores=None, object_store=2e10, nodes=(Node(8, 1, 2), Node(24, 4, 1))
)
"""Two nodes with one GPU each, and one node with four."""


@pytest.mark.parametrize(
    ("cpu", "gpu", "remedy"),
    [(1, 5, "4 or less"), (30, 0, "24 CPUs or less"), (10, 3, None)],
)
def test_a_request_that_no_single_node_meets_is_refused_even_if_all_nodes_together_do(
    cpu: float, gpu: float, remedy: str | None
) -> None:
    if remedy is None:
        assert placed(NODES, cpu, gpu)[0] == 1
        return
    with pytest.raises(
        InputError, match=f"40 CPUs and 6 GPUs.*a node at most 24 CPUs and 4 GPUs; .*{remedy}"
    ):
        placed(NODES, cpu, gpu)


def test_a_fraction_of_a_gpu_is_refused_if_no_node_has_a_gpu() -> None:
    with pytest.raises(InputError, match=f"the cluster has {LAPTOP.text}; leave the GPUs out"):
        placed(LAPTOP, gpu=0.5)


def test_concurrency_is_counted_node_by_node() -> None:
    assert placed(NODES, cpu=5)[0] == 2 * 1 + 4
    assert placed(NODES, cpu=1, gpu=0.5)[0] == 2 * 2 + 8
    assert placed(NODES, cpu=5, gpu=1)[0] == 2 * 1 + 4
    assert placed(NODES, cpu=1, gpu=2)[0] == 2


@pytest.mark.parametrize("gpu", [1.5, -1, 0.001])
def test_gpus_are_whole_or_a_fraction_of_one(gpu: float) -> None:
    with pytest.raises(InputError, match=r"space\.yaml: gpu"):
        Resources.parse({"gpu": gpu}, "space.yaml")


def shared(
    cluster: Cluster,
    need: float | None,
    *,
    useful: int = 100,
    wanted: int | None = None,
    workers: int = 1,
) -> Placement[TrialResources]:
    """Place trials that leave the GPU open; each needs `need` times GPU_MEMORY."""
    return fit_resources(
        cluster,
        TrialResources(workers=workers),
        wanted=wanted,
        useful=useful,
        name="--cpu, --gpu",
        gpu_bytes=None if need is None else lambda: need * GPU_MEMORY,
    )


def test_gpus_are_used_if_there_are_any_unless_the_request_is_for_none() -> None:
    assert shared(LAPTOP, None).resources.gpu == 0
    assert shared(SERVER, None).resources.gpu == 1
    assert shared(SERVER, None, workers=2).resources.gpu == 1
    none = Resources(gpu=0)
    placement = fit_resources(SERVER, none, wanted=None, useful=9, name="--gpu")
    assert not placement.gpu


@pytest.mark.parametrize(("need", "gpu"), [(0.1, 0.25), (0.3, 0.5), (0.6, 1), (3, 1)])
def test_trials_share_a_gpu_if_its_memory_holds_them(need: float, gpu: float) -> None:
    placement = shared(SERVER, need)
    assert placement.resources.gpu == gpu
    assert placement.concurrent == 4 / gpu
    assert gpu == 1 or need <= gpu * FOR_TENSORS


def test_no_more_processes_share_a_gpu_than_have_work() -> None:
    small = 0.01
    assert shared(SERVER, small, useful=4).resources.gpu == 1
    assert shared(SERVER, small, useful=5).resources.gpu == 0.5
    few_cpus = SERVER._replace(cpus=6)
    assert (shared(few_cpus, small).resources.gpu, shared(few_cpus, small).concurrent) == (0.5, 6)


def test_actors_share_gpus_if_more_actors_are_wanted_than_there_are_gpus() -> None:
    assert shared(SERVER, None, wanted=4).resources.gpu == 1
    assert shared(SERVER, None, wanted=6).resources.gpu == 0.5
    with pytest.raises(InputError, match="the cluster has 32 CPUs and 4 GPUs"):
        shared(SERVER, None, wanted=17)


def test_workers_of_a_trial_do_not_share_a_gpu_by_default() -> None:
    placement = shared(SERVER, 0.01, workers=2)
    assert (placement.resources.gpu, placement.concurrent) == (1, 2)
    with pytest.raises(InputError, match="no GPU"):
        shared(SERVER, 0.01, workers=5)


def test_ray_counts_all_shares_exactly() -> None:
    assert all((10_000 * share).is_integer() for share in SHARES)


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

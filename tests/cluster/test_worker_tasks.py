"""One task on a worker, and values in shared memory."""

from __future__ import annotations

import numpy as np
import pytest

from hyena_ray.cluster.pool import run_task
from hyena_ray.cluster.resources import Resources
from hyena_ray.cluster.streams import share
from hyena_ray.errors import InputError


def test_a_task_runs_on_a_worker_on_the_threads_that_it_is_given(cluster: object) -> None:
    def work() -> tuple[int, int]:
        import os

        import torch

        return os.getpid(), torch.get_num_threads()

    import os

    worker, threads = run_task(work, Resources(cpu=0.5), "a task", threads=1)
    assert (worker != os.getpid(), threads) == (True, 1)


def test_what_a_worker_refuses_is_the_error_of_its_input(cluster: object) -> None:
    from hyena_ray.cluster.start import connect

    def work() -> None:
        raise InputError("a.bed:3", "x", "not a number", "write one")

    with pytest.raises(InputError, match=r"a\.bed:3: x"), connect():
        run_task(work, Resources(cpu=0.5), "a task")


def test_a_shared_value_is_read_without_a_copy(cluster: object) -> None:
    values = share(np.arange(5))
    assert values.get().tolist() == [0, 1, 2, 3, 4]
    assert not values.get().flags.writeable
    assert run_task(lambda: int(values.get().sum()), Resources(cpu=0.5), "a task") == 10

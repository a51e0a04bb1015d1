"""What a device can do, how data reach it, and work that is recorded for it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from hyena_ray.errors import InputError
from hyena_ray.model.devices import arithmetic, check_precision, download, halving, upload
from hyena_ray.model.replay import EAGER, CapturedGraph
from hyena_ray.model.settings import Precision
from tests.fake_graphs import FakeGraphs

CPU = torch.device("cpu")


@pytest.mark.parametrize("precision", ["tf32", "float16"])
def test_a_precision_that_the_device_lacks_is_refused(precision: Precision) -> None:
    with pytest.raises(InputError, match=f"training.precision.*{precision}"):
        check_precision(precision, CPU, "training.precision")
    check_precision("bfloat16", CPU, "training.precision")


def test_an_old_gpu_lacks_tf32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Tesla T4")
    gpu = torch.device("cuda")
    check_precision("float16", gpu, "precision")
    for precision in ("tf32", "bfloat16"):
        with pytest.raises(InputError, match="Tesla T4"):
            check_precision(precision, gpu, "precision")


def test_products_are_rounded_by_name_alone() -> None:
    def now() -> tuple[str, bool, bool]:
        cudnn = torch.backends.cudnn
        return torch.get_float32_matmul_precision(), cudnn.allow_tf32, cudnn.deterministic

    before = now()
    with arithmetic("tf32"):
        assert now() == ("high", True, True)
        with arithmetic("float32"):
            assert now() == ("highest", False, True)
        assert now() == ("high", True, True)
    assert now() == before


def test_read_only_arrays_reach_a_device_too() -> None:
    array = np.arange(3)
    array.flags.writeable = False
    assert upload(array, CPU).tolist() == [0, 1, 2]


def test_what_was_uploaded_comes_back() -> None:
    array = np.arange(3, dtype=np.uint8)
    wait = download(upload(array, CPU))
    assert wait().tolist() == [0, 1, 2]
    assert wait().dtype == np.uint8


def out_of_memory_above(limit: int, tried: list[int]) -> Callable[[int], int]:
    def attempt(size: int) -> int:
        tried.append(size)
        if size > limit:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB. And more.")
        return size

    return attempt


def test_work_that_does_not_fit_is_halved_until_it_does() -> None:
    tried: list[int] = []
    assert halving(100, out_of_memory_above(30, tried), "batch", "window") == 25
    assert tried == [100, 50, 25]


def test_one_that_does_not_fit_is_refused_in_one_line() -> None:
    with pytest.raises(InputError) as error:
        halving(4, out_of_memory_above(0, []), "batch", "window")
    assert "\n" not in str(error.value)


def test_replayed_work_gives_what_the_work_gives() -> None:
    replay = FakeGraphs()
    for size in (2, 3):
        for number in range(EAGER + 4):
            given = torch.full((size,), float(number))
            (result,) = replay("square", lambda x: (x * x,), given)
            assert torch.equal(result, given * given)
    assert replay.graphs == 2, "one for each shape"


def test_work_of_another_name_is_recorded_by_itself() -> None:
    replay = FakeGraphs()
    for _ in range(EAGER + 2):
        (double,) = replay("double", lambda x: (2 * x,), torch.ones(2))
        assert double.tolist() == [2, 2]
        (half,) = replay("half", lambda x: (x / 2,), torch.ones(2))
        assert half.tolist() == [0.5, 0.5]
    assert replay.graphs == 2


def test_work_that_cannot_be_recorded_runs_all_the_same() -> None:
    class Refused(FakeGraphs):
        def capture(self, work: object, inputs: tuple[Tensor, ...]) -> CapturedGraph:
            raise RuntimeError("operation not permitted when stream is capturing")

    replay = Refused()
    results = [replay("double", lambda x: (2 * x,), torch.ones(1)) for _ in range(EAGER + 3)]
    assert [result[0].item() for result in results] == [2.0] * len(results)

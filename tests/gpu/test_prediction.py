"""Scores on a GPU equal those of the CPU, however passes are cut, captured and queued."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from hyena_ray.cluster.resources import Cluster
from hyena_ray.files import read_json
from hyena_ray.genome.contigs import N_CODE
from hyena_ray.model.build import build_model
from hyena_ray.model.predictor import PRECISION, ContigSlice, Scorer, default_batch
from hyena_ray.model.replay import EAGER, Replay, Work
from hyena_ray.model.saved import save_window_model
from hyena_ray.model.settings import Architecture, LoraSettings, ModelSettings, Readout
from hyena_ray.model.window import WindowModel
from hyena_ray.tasks import TASKS
from tests.command_line import run_job

pytestmark = pytest.mark.gpu
GPU = torch.device("cuda")
SIZE = 60_000


def window_model(architecture: Architecture = "hyenadna") -> WindowModel:
    letters = architecture in ("kmer_logistic", "rule")
    torch.manual_seed(0)
    model = build_model(
        ModelSettings(architecture=architecture, d_model=32, n_layer=2, channels=16),
        Readout(window=100, flank=32, lookahead=32, tracks=() if letters else ("g4hunter",)),
        LoraSettings(),
        TASKS["zdna"],
        seed=0,
    )
    with torch.no_grad():  # so that scores differ from base to base
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return model.eval()


@pytest.fixture(scope="module")
def contig() -> ContigSlice:
    codes = np.random.default_rng(0).integers(4, size=SIZE, dtype=np.uint8)
    codes[20_000:23_500] = codes[40_000:40_007] = codes[-3:] = N_CODE
    return ContigSlice(0, codes)


def score(scorer: Scorer, contig: ContigSlice, step: int = 50) -> NDArray[np.float32]:
    size = len(contig.codes)
    return scorer.score(contig, size, 0, size, step=step)


class Eager(Replay):
    """A `Replay` that runs all work eagerly on the current stream."""

    def __call__(self, name: Hashable, work: Work, *inputs: Tensor) -> tuple[Tensor, ...]:
        return work(*inputs)


@pytest.mark.parametrize("step", [50, 100, 33])
@pytest.mark.parametrize("architecture", ["hyenadna", "dilated_cnn", "bilstm", "kmer_logistic"])
def test_scores_equal_those_of_the_cpu(
    contig: ContigSlice, architecture: Architecture, step: int
) -> None:
    model = window_model(architecture)
    expected = score(Scorer(model), contig, step)
    scores = score(Scorer(model.to(GPU)), contig, step)
    np.testing.assert_array_equal(np.isnan(scores), np.isnan(expected))
    np.testing.assert_allclose(scores, expected, rtol=0, atol=1e-5)
    assert np.nanstd(scores) > 1e-3


def test_captured_passes_give_the_scores_of_eager_passes(contig: ContigSlice) -> None:
    model = window_model().to(GPU)
    with Scorer(model, 256) as captured, Scorer(model, 256, Eager(GPU)) as eager:
        expected = score(eager, contig)
        for _ in range(EAGER + 2):
            np.testing.assert_array_equal(score(captured, contig), expected)


@pytest.mark.parametrize("batch", [1 << 7, 1 << 10, 1 << 14])
def test_the_batch_size_changes_only_the_last_bits(contig: ContigSlice, batch: int) -> None:
    model = window_model().to(GPU)
    scores, usual = score(Scorer(model, batch), contig), score(Scorer(model), contig)
    np.testing.assert_allclose(scores, usual, rtol=0, atol=4 * PRECISION)


def test_threads_that_share_a_scorer_get_the_scores_of_their_own_pieces() -> None:
    rng = np.random.default_rng(1)
    pieces = [
        ContigSlice(0, rng.integers(4, size=size, dtype=np.uint8)) for size in range(9_000, 9_040)
    ]
    model = window_model().to(GPU)
    with Scorer(model, 64) as scorer, ThreadPoolExecutor(4) as threads:
        together = list(threads.map(lambda piece: score(scorer, piece), pieces))
    with Scorer(model, 64) as scorer:
        for piece, scores in zip(pieces, together, strict=True):
            np.testing.assert_array_equal(scores, score(scorer, piece))


def test_queueing_a_piece_does_not_synchronise_with_the_device(contig: ContigSlice) -> None:
    with Scorer(window_model().to(GPU), 256) as scorer:
        for _ in range(EAGER + 2):  # until all shapes are captured
            expected = score(scorer, contig)
        torch.cuda.set_sync_debug_mode("error")
        try:
            scores = score(scorer, contig)
        finally:
            torch.cuda.set_sync_debug_mode("default")
    np.testing.assert_array_equal(scores, expected)


@pytest.fixture
def little_memory() -> Iterator[None]:
    """Leave this process half a gigabyte in addition to the memory that it has reserved."""
    torch.cuda.empty_cache()
    whole = torch.cuda.get_device_properties(GPU).total_memory
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + (1 << 29)) / whole)
    yield
    torch.cuda.set_per_process_memory_fraction(1.0)
    torch.cuda.empty_cache()


@pytest.mark.usefixtures("little_memory")
def test_a_scorer_that_runs_out_of_memory_continues_with_smaller_batches() -> None:
    size = 1_000_000
    piece = ContigSlice(0, np.random.default_rng(2).integers(4, size=size, dtype=np.uint8))
    model = window_model().to(GPU)
    with Scorer(model, 1 << 14) as scorer:
        scores = score(scorer, piece)
        assert scorer.batch < 1 << 14
    expected = score(Scorer(model, 1 << 8), piece)
    np.testing.assert_allclose(scores, expected, rtol=0, atol=4 * PRECISION)


def test_the_default_batch_of_a_gpu_is_larger_than_that_of_a_cpu() -> None:
    readout = window_model().readout
    assert default_batch(readout, GPU) > default_batch(readout, torch.device("cpu"))


def test_the_digest_does_not_depend_on_the_actors_on_gpus(cluster: Cluster, tmp_path: Path) -> None:
    save_window_model(window_model(), tmp_path / "model")
    rng = np.random.default_rng(3)
    with (tmp_path / "genome.fa").open("w") as stream:
        for number in range(12):
            stream.write(f">c{number}\n{''.join(rng.choice(list('ACGT'), 30_000))}\n")
    records: list[dict[str, Any]] = []
    for name, more in (
        ("one", ["--gpu", "1", "--actors", "1"]),
        ("two", ["--gpu", "0.5", "--actors", "2", "--cpu", "1"]),
    ):
        given = ["--model", f"{tmp_path}/model", "--genome", f"{tmp_path}/genome.fa"]
        run_job("predict", *given, "--out", f"{tmp_path}/{name}", *more)
        records.append(read_json(tmp_path / name / "manifest.json"))
    assert records[0]["digest"] == records[1]["digest"]
    assert records[0]["batch"] == default_batch(window_model().readout, GPU)

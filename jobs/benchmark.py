"""Time ours, a peer and the limit side by side: python jobs/benchmark.py NAME [--json]

The three run in turn, round after round, so that a machine that is busy for a while is busy for
all of them; what is printed is the median rate and the median of the ratios within a round.
"""

from __future__ import annotations

import gzip
import json
import os
import random
import statistics
import tempfile
import time
from bisect import bisect_right
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import captum.attr
import numpy as np
import torch
from torch import Tensor

from hyena_ray.attribution.engine import attribute_windows
from hyena_ray.attribution.kmers import KmerConfig, fold_kmers
from hyena_ray.attribution.settings import AttributionSettings
from hyena_ray.commands import Parser, run_job
from hyena_ray.dataset.prepare import PrepareSettings, prepare
from hyena_ray.dataset.schema import Windows
from hyena_ray.genome.simulate import simulate_genome
from hyena_ray.model.convolution import convolve, prepare_filters
from hyena_ray.model.lora import LoraSettings
from hyena_ray.model.window import ModelSettings, Readout, WindowModel, build_model
from hyena_ray.training.losses import weighted_cross_entropy

ROUNDS = 5
Run = Callable[[], object]


class Comparison(NamedTuple):
    """Things that do the same work, the first of them ours."""

    title: str
    unit: str
    amount: float
    """Units of work that one run does."""
    runs: dict[str, Run]


class Line(NamedTuple):
    """One printed row."""

    title: str
    who: str
    rate: float
    unit: str
    ours_over_it: float


def measured(comparison: Comparison, rounds: int) -> list[Line]:
    """Run everything once to warm up, then in turn."""
    seconds: dict[str, list[float]] = {who: [] for who in comparison.runs}
    for round_number in range(rounds + 1):
        for who, run in comparison.runs.items():
            start = time.perf_counter()
            run()
            if round_number:
                seconds[who].append(time.perf_counter() - start)
    ours = next(iter(seconds.values()))
    return [
        Line(
            comparison.title,
            who,
            comparison.amount / statistics.median(times),
            comparison.unit,
            statistics.median(other / own for own, other in zip(ours, times, strict=True)),
        )
        for who, times in seconds.items()
    ]


def benchmark_prepare(folder: Path) -> list[Comparison]:
    """From FASTA and BED to Parquet, against a loop over tiles; the limit reads the bytes."""
    fasta, bed = folder / "genome.fa", folder / "regions.bed"
    simulate_genome(folder, contigs=4, contig_length=5_000_000, tracts=4_000)
    packed = folder / "genome.fa.gz"
    packed.write_bytes(gzip.compress(fasta.read_bytes(), compresslevel=6))
    megabases = 20.0

    def ours(genome: Path) -> None:
        with tempfile.TemporaryDirectory(dir=folder) as out:
            settings = PrepareSettings(
                task="zdna", genome=genome, regions=bed, negatives=3.0, flank=64
            )
            prepare(settings, Path(out) / "prepared")

    return [
        Comparison(
            "prepare, plain FASTA",
            "Mb/s",
            megabases,
            {
                "ours": lambda: ours(fasta),
                "peer: loop over tiles, nothing written": lambda: tiles_by_loop(fasta, bed),
                "limit: read and translate": lambda: fasta.read_bytes().translate(bytes(256)),
            },
        ),
        Comparison(
            "prepare, gzip FASTA",
            "Mb/s",
            megabases,
            {
                "ours": lambda: ours(packed),
                "limit: gunzip": lambda: gzip.decompress(packed.read_bytes()),
            },
        ),
    ]


def tiles_by_loop(fasta: Path, bed: Path, length: int = 100) -> list[tuple[str, int, str]]:
    """As most scripts do it: slice every tile, count N, look its labels up, sample negatives."""
    regions: dict[str, list[tuple[int, int]]] = {}
    for line in bed.read_text().splitlines():
        contig, start, end = line.split("\t")[:3]
        regions.setdefault(contig, []).append((int(start), int(end)))
    positive, negative = [], []
    for record in fasta.read_text().split(">")[1:]:
        name, _, body = record.partition("\n")
        sequence = body.replace("\n", "").upper()
        spans = sorted(regions.get(name.split()[0], []))
        starts = [start for start, _ in spans]
        for first in range(0, len(sequence) - length + 1, length):
            tile = sequence[first : first + length]
            if 2 * tile.count("N") > length:
                continue
            index = bisect_right(starts, first + length - 1) - 1
            hit = index >= 0 and spans[index][1] > first
            (positive if hit else negative).append((name, first, tile))
    return positive + random.Random(0).sample(negative, min(len(negative), 3 * len(positive)))


def benchmark_convolution(folder: Path) -> list[Comparison]:
    """Toeplitz against FFT, forward and backward, at tiny-1k's width and 32 windows."""
    found = []
    for length in (64, 128, 164, 256, 512, 1024):
        u = torch.randn(128, length, 32, requires_grad=True)
        filters = torch.randn(128, length, requires_grad=True)

        def run(method: str, u: Tensor = u, filters: Tensor = filters) -> None:
            prepared = prepare_filters(filters, method)  # type: ignore[arg-type]
            torch.autograd.grad(convolve(u, prepared, method).sum(), [u, filters])  # type: ignore[arg-type]

        found.append(
            Comparison(
                f"convolution of {length} bases",
                "windows/s",
                32,
                {"toeplitz": lambda run=run: run("toeplitz"), "fft": lambda run=run: run("fft")},
            )
        )
    return found


def new_model(strands: str = "forward") -> WindowModel:
    """tiny-1k from random weights, read at 100 bases."""
    readout = Readout(window=100, flank=32, lookahead=32, strands=strands)  # type: ignore[arg-type]
    return build_model(ModelSettings(), readout, LoraSettings(), num_labels=2, seed=0)


def random_windows(count: int, labelled: int = 20) -> Windows:
    rng = np.random.default_rng(0)
    ids = np.arange(count)
    tokens = rng.integers(7, 11, (count, 164), np.uint8)
    labels = np.zeros((count, 100), np.int8)
    labels[:, 40 : 40 + labelled] = 1
    return Windows(ids, np.full(count, "c"), ids * 100, tokens, labels)


def matrix_products(flop: float) -> Run:
    """As many products of 1,024 x 1,024 matrices as make up `flop`."""
    a = torch.randn(1024, 1024)

    def run() -> None:
        for _ in range(max(1, round(flop / (2 * 1024**3)))):
            a @ a

    return run


def flop_per_window(model: WindowModel, backward: float) -> float:
    """Multiply-adds of the weights alone, twice for the forward pass and `backward` times that."""
    weights = sum(p.numel() for name, p in model.named_parameters() if "filter_fn" not in name)
    length = model.left + model.readout.window + model.right
    return 2 * weights * length * (1 + backward)


def benchmark_training(folder: Path) -> list[Comparison]:
    """One optimiser step; the limit does only the weights' matrix products, at peak."""
    model, windows, batch = new_model(), random_windows(32), 32
    tokens, labels = torch.from_numpy(windows.tokens), torch.from_numpy(windows.labels)
    weights = torch.tensor([0.7, 2.0])

    def ours() -> None:
        model.zero_grad()
        weighted_cross_entropy(model(tokens), labels, weights).mean.backward()

    return [
        Comparison(
            "training, forward and backward of 32 windows of 164 bases",
            "windows/s",
            batch,
            {
                "ours": ours,
                "limit: matrix product": matrix_products(batch * flop_per_window(model, 2.0)),
            },
        )
    ]


def benchmark_attribution(folder: Path) -> list[Comparison]:
    """Against captum on the same model: one window at a time, as published, and in batches."""
    model = new_model()
    model.threshold = 0.0  # every labelled base counts as a true positive
    windows = random_windows(16)
    peer = {
        name: lambda rows=rows: captum_gradients(model, windows, steps=50, rows=rows)
        for name, rows in (("one window at a time", 1), ("batched", 16))
    }
    settings = AttributionSettings(methods=("ig",), baseline="zero", steps=50)
    fewer = AttributionSettings(methods=("ig",))
    noisy = AttributionSettings(methods=("smoothgrad",))
    flop = 16 * 50 * flop_per_window(model, 1.0)
    bases = np.random.default_rng(0).integers(0, 4, (20_000, 1_000), np.uint8)
    scores = np.ones(bases.shape, np.float32)
    return [
        Comparison(
            "Integrated Gradients, 50 steps towards the zero embedding",
            "windows/s",
            16,
            {
                "ours": lambda: attribute_windows(model, windows, settings),
                "captum, one window at a time": peer["one window at a time"],
                "captum, batched": peer["batched"],
                "limit: matrix product": matrix_products(flop),
            },
        ),
        Comparison(
            "Integrated Gradients, default (16 steps towards a shuffled sequence)",
            "windows/s",
            16,
            {
                "ours": lambda: attribute_windows(model, windows, fewer),
                "captum, one window at a time, 50 steps": peer["one window at a time"],
            },
        ),
        Comparison(
            "SmoothGrad, 50 copies",
            "windows/s",
            16,
            {
                "ours": lambda: attribute_windows(model, windows, noisy),
                "captum, one window at a time": lambda: captum_noise(model, windows),
                "limit: matrix product": matrix_products(flop),
            },
        ),
        Comparison(
            "k-mer reduction, k = 5",
            "million k-mers/s",
            bases.shape[0] * (bases.shape[1] - 4) / 1e6,
            {
                "ours": lambda: fold_kmers(bases, scores, KmerConfig(k=5)),
                "limit: one bincount": lambda: np.bincount(bases.ravel(), scores.ravel()),
            },
        ),
    ]


def positive_logits(model: WindowModel, embeddings: Tensor) -> Tensor:
    """(B,) sum of the positive logits over the bases that `random_windows` labels."""
    return model.strand_logits(embeddings, 0)[:, 40:60, 1].sum(1)


def captum_gradients(model: WindowModel, windows: Windows, *, steps: int, rows: int) -> None:
    """Algorithm 4 with captum, `rows` windows at once."""
    method = captum.attr.IntegratedGradients(lambda e: positive_logits(model, e))
    for first in range(0, len(windows.window_id), rows):
        tokens = torch.from_numpy(windows.tokens[first : first + rows])
        embeddings = model.embed(model.strand_tokens(tokens)[0]).detach()
        method.attribute(
            embeddings,
            torch.zeros_like(embeddings),
            n_steps=steps,
            return_convergence_delta=True,
            internal_batch_size=None if rows == 1 else 64,
        )


def captum_noise(model: WindowModel, windows: Windows) -> None:
    """Algorithm 5 with captum: NoiseTunnel over Saliency, 50 copies, 10 at a time."""
    saliency = captum.attr.Saliency(lambda e: positive_logits(model, e))
    method = captum.attr.NoiseTunnel(saliency)
    for row in range(len(windows.window_id)):
        tokens = torch.from_numpy(windows.tokens[row : row + 1])
        embeddings = model.embed(model.strand_tokens(tokens)[0]).detach()
        method.attribute(
            embeddings, nt_samples=50, nt_samples_batch_size=10, nt_type="smoothgrad", stdevs=0.1
        )


BENCHMARKS: dict[str, Callable[[Path], list[Comparison]]] = {
    "prepare": benchmark_prepare,
    "convolution": benchmark_convolution,
    "training": benchmark_training,
    "attribution": benchmark_attribution,
}


def main(arguments: Sequence[str]) -> None:
    parser = Parser(prog="benchmark.py", description=__doc__)
    parser.add_argument("name", choices=list(BENCHMARKS), help="what to time")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="times that each is run")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    given = parser.parse_args(arguments)
    print(f"{os.cpu_count()} CPUs, torch on {torch.get_num_threads()} threads")
    with tempfile.TemporaryDirectory() as folder:
        for comparison in BENCHMARKS[given.name](Path(folder)):
            lines = measured(comparison, given.rounds)
            print(comparison.title)
            for line in lines:
                if given.json:
                    print(json.dumps(line._asdict()))
                else:
                    print(f"  {line.who:45} {line.rate:10.3g} {line.unit:16}", end="")
                    print(f" ours is {line.ours_over_it:.2f} times as fast")


if __name__ == "__main__":
    run_job(main)

"""The benchmarks of `jobs/benchmark.py`, by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from benchmarks.attribution import benchmark_attribution
from benchmarks.backbones import benchmark_backbones
from benchmarks.comparison import Comparison
from benchmarks.constants import benchmark_constants
from benchmarks.contigs import benchmark_contigs
from benchmarks.feeds import benchmark_feeds
from benchmarks.figures import Figures
from benchmarks.gpu import benchmark_gpu
from benchmarks.memory import benchmark_memory
from benchmarks.model import benchmark_convolution, benchmark_training
from benchmarks.prepare import benchmark_prepare
from benchmarks.pretraining import benchmark_pretraining
from benchmarks.shards import benchmark_shards
from benchmarks.startup import benchmark_startup
from benchmarks.tune import benchmark_tune
from benchmarks.variants import benchmark_variants

BENCHMARKS: dict[str, Callable[[Path], Iterable[Comparison | Figures]]] = {
    "prepare": benchmark_prepare,
    "convolution": benchmark_convolution,
    "training": benchmark_training,
    "feeds": benchmark_feeds,
    "pretraining": benchmark_pretraining,
    "attribution": benchmark_attribution,
    "shards": benchmark_shards,
    "tune": benchmark_tune,
    "startup": benchmark_startup,
    "memory": benchmark_memory,
    "contigs": benchmark_contigs,
    "backbones": benchmark_backbones,
    "variants": benchmark_variants,
    "constants": benchmark_constants,
    "gpu": benchmark_gpu,
}
"""Benchmarks in the order of the command line."""

"""How long a pretraining will take, from a few of its own steps, looks and counts."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hyena_ray.training.data_parallel import Workers
from hyena_ray.training.genome_stream import Batch, PackedBases, WindowStream
from hyena_ray.training.markov import ORDERS, count_kmers, markov_perplexities
from hyena_ray.training.pretraining import evaluate, new_optimizer, new_pretrainer, step_batch
from hyena_ray.training.schedules import Schedule
from hyena_ray.training.settings import PretrainSettings
from hyena_ray.training.timing import TIMED_SECONDS, TIMED_STEPS
from hyena_ray.training.trainer import Optimization

COUNTED_BASES = 1 << 20
"""Of which k-mers are counted, at the most."""


class PretrainTiming(NamedTuple):
    """What the parts of a pretraining take."""

    step: tuple[float, ...]
    """Seconds of an optimiser step, by stage."""
    scored: float
    """Seconds to score a held-out window; 0 where there is none, as the next two."""
    counted: float
    """Seconds to count the k-mers that begin at a base, for the Markov models."""
    predicted: float
    """Seconds in which these predict a held-out window."""
    timed: float
    """Seconds that were timed."""

    def seconds(
        self, settings: PretrainSettings, *, done: int, bases: int, windows: int, workers: int
    ) -> float:
        """Of what is left of a pretraining.

        Args:
            settings: of the run that was timed.
            done: steps that are done.
            bases: trained on.
            windows: held out.
            workers: that share the windows of a look; a step was timed as one of them takes it.
        """
        trained = sum(
            max(0, stage.last - max(stage.first, done)) * step
            for stage, step in zip(settings.stages(), self.step, strict=True)
        )
        looks = settings.training.remaining_evaluations(done) * windows * self.scored / workers
        return trained + looks + bases * self.counted + windows * self.predicted


class PretrainSample(NamedTuple):
    """What a pretraining is timed on."""

    batches: tuple[Batch, ...]
    """The first worker's part of a step, by stage."""
    held_out: NDArray[np.uint8]
    """(W, L) codes of held-out windows, those of one pass; none where nothing is held out."""
    bases: PackedBases
    """Some of those trained on."""


def sample_of(
    settings: PretrainSettings,
    stream: WindowStream,
    held_out: Mapping[str, NDArray[np.uint8]],
    workers: int,
) -> PretrainSample:
    """The first step of every stage, and the first windows that are scored.

    Args:
        settings: of the run.
        stream: its windows.
        held_out: (W, L) codes by contig.
        workers: that share a step.
    """
    rows = max(1, settings.training.tokens_per_pass // settings.longest)
    scored = [codes[:rows] for codes in held_out.values()]
    longest = int(stream.bases.lengths.argmax())
    size = min(COUNTED_BASES, int(stream.bases.lengths[longest]))
    codes = stream.bases.cut(stream.bases.starts[longest : longest + 1], size)
    return PretrainSample(
        tuple(stream.batch(stage.first, Workers(0, workers)) for stage in stream.stages),
        np.concatenate([np.empty((0, settings.longest), np.uint8), *scored])[:rows],
        PackedBases.of([(0, codes[0])]),
    )


def time_pretraining(settings: PretrainSettings, sample: PretrainSample) -> PretrainTiming:
    """Let an untrained model take the same step of every stage a few times, and score windows."""
    began = time.perf_counter()
    trainer = new_pretrainer(settings)
    model, recipe = trainer.model, settings.training
    optimizer = new_optimizer(model, recipe)
    # Whatever the rate is: weights that stay as they are do not diverge.
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    schedule = Schedule(optimizer, "constant", 1, 0.0)
    trainer.start_stage(Optimization(optimizer, schedule, list(model.parameters())))
    steps = []
    for batch in sample.batches:
        model.train()
        steps.append(_each(partial(trainer.step, step_batch(batch, recipe))))
    windows, bases = {"": sample.held_out}, sample.bases
    scored = counted = predicted = 0.0
    if count := len(sample.held_out):
        both, none = recipe.reverse_complement, PackedBases.of(())
        scored = _each(lambda: evaluate(model, windows, settings)) / count
        kmers = _each(lambda: count_kmers(bases, max(ORDERS), both_strands=both))
        counted = kmers / int(bases.lengths.sum())
        predicted = _each(lambda: markov_perplexities(none, windows, both_strands=both)) / count
    return PretrainTiming(tuple(steps), scored, counted, predicted, time.perf_counter() - began)


def _each(work: Callable[[], object]) -> float:
    """Seconds of one, after a first that is not timed: memory is got, and kernels are chosen."""
    work()
    began, done, took = time.perf_counter(), 0, 0.0
    while took < TIMED_SECONDS and done < TIMED_STEPS:
        work()
        done += 1
        took = time.perf_counter() - began
    return took / done

"""Distillation: training a model towards the probabilities of others, its teacher, and the labels.

The probability of a member is the sigmoid of its logits, and the teacher's the mean over members.
It is not the calibrated one, which is a fraction of the genome: training windows hold regions far
more often than the genome does, so that calibrated probabilities would contradict their labels
almost everywhere. A model's logits are those of windows drawn as the student's are.

A teacher reads every window once, before the training, and not in every step. Trees measure some
hundreds of windows a second, fewer than a network learns from. Its probabilities then cannot depend
on the other windows of a step, on the number of workers, or on where a run was interrupted. A
random crop takes its part of a window's probabilities, as of its labels: the bases around the crop
are real ones for student and teacher alike.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from hyena_ray.dataset.origin import Origin
from hyena_ray.dataset.stretches import window_offsets
from hyena_ray.model.devices import arithmetic, model_device
from hyena_ray.model.ensemble import long_window_odds
from hyena_ray.model.filters import frozen_filters
from hyena_ray.model.saved import model_sha256
from hyena_ray.model.window import WindowScorer, check_finite
from hyena_ray.training.loaders import ArraySource

PASS = 128
"""Windows of its own that a teacher reads at once. All passes have one shape, on which the last
bits of a score depend."""


class TeacherRecord(NamedTuple):
    """What is kept of a teacher: what it is, and what it has seen of the data that it teaches."""

    sha256: str
    """Digest of the model; of several, with commas between; see `model_sha256`."""
    architectures: tuple[str, ...]
    """Architecture of each of its members."""
    seen: dict[str, tuple[str, ...]]
    """By held-out split, the contigs on which a member was trained or its epoch was chosen, each
    with what it was used for."""
    origins: tuple[Origin, ...] = ()
    """Data that the members were trained on, as far as is known."""

    @classmethod
    def of(
        cls,
        teacher: WindowScorer,
        seen: dict[str, tuple[str, ...]],
        origins: tuple[Origin, ...] = (),
    ) -> TeacherRecord:
        """Describe a teacher.

        Args:
            teacher: A model, or several as an ensemble.
            seen: What they have seen of the held-out splits.
            origins: Data that they were trained on, as far as is known.
        """
        names = tuple(member.classifier.config.model_type for member in teacher.members)
        return cls(model_sha256(teacher), names, seen, origins)


def teach(
    source: ArraySource,
    teacher: WindowScorer,
    *,
    both_strands: bool,
    on_progress: Callable[[int], None] = lambda windows: None,
) -> ArraySource:
    """Compute a teacher's probabilities for all windows of a source, and return both together.

    Args:
        source: Training windows, in memory.
        teacher: A model, or several as an ensemble, on the device that it reads on; its windows
            are at most as long as those of the source.
        both_strands: Whether the teacher reads both strands, however it was trained. It must where
            windows are reverse-complemented: then a base has one probability on either strand.
        on_progress: Called with the number of windows of every pass.

    Returns:
        The source, whose batches have the teacher's probabilities.

    Raises:
        NonFiniteError: The teacher's logits overflow.
    """
    teacher.eval()
    if both_strands:
        teacher.read_strands("both")
    device, found = model_device(teacher), []
    own = min(member.readout.window for member in teacher.members)
    window = source.labels_per_window if teacher.labels_bases else own
    rows = max(1, PASS // len(window_offsets(window, own)))
    with torch.inference_mode(), arithmetic("float32"), frozen_filters(teacher):
        for batch in source.every_window(rows):
            probabilities = teacher_probabilities(teacher, batch.tokens(device), window)
            check_finite(probabilities)
            found.append(probabilities.cpu().numpy())
            on_progress(len(batch))
    return source.taught(np.concatenate(found)[: source.stored])


def teacher_probabilities(teacher: WindowScorer, tokens: Tensor, window: int) -> Tensor:
    """Compute the mean over members of the sigmoid of their logits.

    Args:
        teacher: A model, or several as an ensemble.
        tokens: Windows with their flanks, shape (B, window + 2 * stored).
        window: Bases of these windows, at least those of the teacher's; it reads longer ones as
            those of a stretch.

    Returns:
        Probabilities of class 1, shape (B, labels), float32.
    """
    every = [long_window_odds(member, tokens, window).sigmoid() for member in teacher.members]
    return torch.stack(every).mean(0)

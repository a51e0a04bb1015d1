"""Score a sequence of any length, or a piece of one: overlapping windows, and the mean at every
base."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from hyena_ray.dataset.tokens import codes_to_tokens
from hyena_ray.genome.contigs import N_CODE
from hyena_ray.genome.intervals import gather_windows
from hyena_ray.model.window import WindowModel

BATCH = 128
"""Windows of one forward pass: past this, larger batches are no faster on a CPU."""
PRECISION = 2.0**-20
"""Probabilities are rounded to multiples of this, a millionth: what lies below is the noise of
float32. Sums of them are exact in float64, so that no mean depends on how a genome was cut."""


class Sequence(NamedTuple):
    """Known sequence around a piece."""

    start: int
    """First base, 0-based on the contig."""
    codes: NDArray[np.uint8]
    """(n,) base codes."""


@torch.inference_mode()
def probabilities(model: WindowModel, tokens: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Probability of class 1, with the model's own strands, in float32.

    Args:
        model: in evaluation mode, on any device.
        tokens: (B, window + 2 * stored) ids; see `WindowModel`.

    Returns:
        (B, window) of every base, or (B, 1) of every sequence.
    """
    device = next(model.parameters()).device
    logits = model.predict(torch.from_numpy(tokens).to(device))
    scores: NDArray[np.float32] = logits.float().softmax(-1)[..., 1].cpu().numpy()
    return scores


def window_starts(size: int, window: int, step: int, first: int, last: int) -> NDArray[np.int64]:
    """(n,) first bases of the windows that hold any base of [first, last), ascending.

    Windows start at 0, step, 2 step, ..., as `prepare` has them at steps of their length. Where
    these leave bases over at the contig's end, one more ends there; a contig that is shorter than a
    window has one that ends past it.

    Args:
        size: bases of the contig.
        window: bases of a window.
        step: bases from one window to the next, at most `window`.
        first: first base, 0-based.
        last: one past the last base, at most `size`.
    """
    count = max(0, (size - window) // step + 1)
    begin = max(0, (first - window) // step + 1)
    starts = np.arange(begin, min(count, -(-last // step)), dtype=np.int64) * step
    at_end = max(0, size - window)
    covered = (count - 1) * step + window if count else 0
    if covered < size and at_end < last:
        starts = np.append(starts, at_end)
    return starts


def score_piece(
    model: WindowModel,
    sequence: Sequence,
    size: int,
    first: int,
    last: int,
    *,
    step: int,
    batch: int = BATCH,
) -> NDArray[np.float32]:
    """Probability of class 1 of every base of [first, last) of a contig.

    The mean over the windows that hold the base; each window comes with what `prepare` stores
    around it, N past the contig's ends. Windows without a known base here are not scored.

    Args:
        model: in evaluation mode.
        sequence: of the contig, a window and its flank further on both sides where there is so
            much.
        size: bases of the contig.
        first: first base, 0-based.
        last: one past the last base.
        step: bases from one window to the next.
        batch: windows of one forward pass.

    Returns:
        (last - first,) rounded to `PRECISION`; NaN for N.
    """
    window, stored = model.readout.window, model.readout.required_flank
    known = sequence.codes[first - sequence.start : last - sequence.start] != N_CODE
    starts = window_starts(size, window, step, first, last)
    before = np.append(0, np.cumsum(known))
    inside = np.clip(starts + window, first, last), np.clip(starts, first, last)
    starts = starts[before[inside[0] - first] > before[inside[1] - first]]
    sums, counts = np.zeros(last - first), np.zeros(last - first)
    for row in range(0, len(starts), batch):
        of_batch = starts[row : row + batch]
        codes = gather_windows(
            sequence.codes, of_batch - stored - sequence.start, window + 2 * stored, N_CODE
        )
        for start, scores in zip(
            of_batch, probabilities(model, codes_to_tokens(codes)), strict=True
        ):
            begin, end = max(start, first), min(start + window, last)
            sums[begin - first : end - first] += scores[begin - start : end - start]
            counts[begin - first : end - first] += 1
    mean = sums / np.maximum(counts, 1)
    rounded = np.round(mean / PRECISION) * PRECISION
    return np.where(known, rounded, np.nan).astype(np.float32)

"""Targets of an attribution: the logits of true positives, at any point of embedding space."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hyena_ray.attribution.path_baselines import make_baselines, sequence_keys
from hyena_ray.attribution.settings import AttributionSettings
from hyena_ray.dataset.reader import sample_evenly
from hyena_ray.dataset.schema import Windows
from hyena_ray.dataset.tokens import ids_of, level_of, without_levels
from hyena_ray.errors import InputError
from hyena_ray.model.devices import model_device, upload
from hyena_ray.model.window import StrandInput, WindowModel, check_finite

POSITIVE = 1
"""Label and class that are attributed."""


class Packing(NamedTuple):
    """How points are divided into passes through the model."""

    positions: int
    """Sequence positions of a pass, unless the settings give `batch`."""
    grain: int
    """Inputs are truncated to a multiple of this many positions, because the filters are computed
    once for every input length."""
    label_steps: int | None
    """Number of equal parts of a window to whose boundaries the range of labels is extended, so
    that few tensor shapes occur; None reads only the labels that count."""
    repeats: bool
    """Whether every pass is padded to its full number of rows, as CUDA graphs require."""
    held: int
    """Sequence positions, summed over points, whose scores are in memory at the same time."""
    noisy: int
    """Sequence positions whose noise is in memory at the same time."""


PACKING = {
    # A pass should fit into the cache of a core. With `noisy` at 1 << 15 too few windows share the
    # passes, and SmoothGrad of 100 bases is 5 % slower; 1 << 18 is no faster.
    "cpu": Packing(1 << 12, 16, None, repeats=False, held=1 << 19, noisy=1 << 17),
    # On an H200, 640 rows of 100 bases were the fastest: 145,000 rows per second as a compiled CUDA
    # graph, against 79,000 with 40 rows and 137,000 with 10,240. The other fields are not measured.
    "cuda": Packing(1 << 16, 16, 4, repeats=True, held=1 << 24, noisy=1 << 20),
}
"""Packing by device type; `jobs/benchmark.py constants` measures every field but `grain`."""


class Pass(NamedTuple):
    """Points that go through the model together."""

    points: NDArray[np.int64]
    """Indices of the points, shape (R,); padding repeats the first one."""
    size: int
    """Number of points without the padding."""
    length: int
    """Positions of the input that their targets depend on; later ones score 0."""
    labels: slice
    """Labels that the targets read, in forward orientation."""


class Targets:
    """Targets of windows with true positives, and the tensors that their points are computed from.

    The target of a window is the sum of weight * positive logit over its labels. Tracks are
    embedded with the letters that they are measured from: those of a baseline are its own, and on
    a path they change with the letters. Signal tracks have no value in a baseline, and on a path
    they go from there to the value of the base.

    Args:
        model: Model in evaluation mode.
        tokens: Token ids of M windows with the flank that the readout requires, shape (M, W + 2 *
            required_flank), uint8, with the levels of tracks behind them if the model reads any.
        true_positive: True positives, shape (M, W), or (M, 1) for sequences with one label; every
            window has one.
        settings: `normalise`, `baseline`, `shuffles` and `seed` are read.
        positions: Sequence positions of a pass; see `pass_positions`.
    """

    def __init__(
        self,
        model: WindowModel,
        tokens: NDArray[np.uint8],
        true_positive: NDArray[np.bool_],
        settings: AttributionSettings,
        positions: int,
    ) -> None:
        self.model = model
        read = _read_columns(model, tokens)
        self.keys = sequence_keys(tokens[:, read])
        """Keys of the sequences that the model reads, shape (M,)."""
        weight = true_positive.astype(np.float32)
        if settings.normalise:
            weight /= weight.sum(axis=1, keepdims=True)
        self.device = model_device(model)
        """Device of the model and of all tensors."""
        self.packing = PACKING[self.device.type]
        """How points are divided into passes."""
        self.weight = upload(weight, self.device)
        """Weight of every label, shape (M, labels)."""
        on_device = upload(tokens, self.device)
        self.strands = model.strands(on_device)
        """Tokens of each strand, with the flank that the readout requires, of the shape of
        `tokens`."""
        self.inputs = [model.strand_input(strand) for strand in self.strands]
        """What the model is given of each strand."""
        self.length = self.inputs[0].ids.shape[1]
        """Positions T of the input."""
        baselines = [
            [model.strand_input(strand) for strand in model.strands(baseline)]
            for baseline in make_baselines(tokens, read, self.keys, settings, self.device)
        ]
        self.baselines = [_stacked(strand) for strand in zip(*baselines, strict=True)]
        """Input of each strand with ids of shape (baselines, M, T) and tracks of shape (baselines,
        M, T, C); empty for the zero embedding."""
        self._positions = positions
        labels = true_positive.shape[1]
        steps = self.packing.label_steps
        step = 1 if steps is None else -(-labels // steps)
        self._first = true_positive.argmax(axis=1) // step * step
        last = labels - true_positive[:, ::-1].argmax(axis=1)
        self._last = np.minimum(-(-last // step) * step, labels)
        spans = [
            slice(*span) for span in zip(self._first.tolist(), self._last.tolist(), strict=True)
        ]
        self.receptive_ends = [
            np.array([model.receptive_end(strand, span) for span in spans], np.int64)
            for strand in range(len(self.inputs))
        ]
        """Positions of the input that the target depends on, of each strand, shape (M,)."""

    def __len__(self) -> int:
        return len(self.keys)

    def passes(self, strand: int, window: NDArray[np.int64]) -> list[Pass]:
        """Divide points into passes through the model.

        Points whose inputs are about equally long share a pass: a causal model need not read beyond
        the last true positive.

        Args:
            strand: Number of the strand.
            window: Window of each point, shape (P,).
        """
        grain = self.packing.grain
        ends = np.minimum(-(-self.receptive_ends[strand][window] // grain) * grain, self.length)
        order = np.lexsort((self._first[window], -ends))
        passes = []
        while len(order):
            length = int(ends[order[0]])
            rows = max(1, self._positions // length)
            points, order = np.split(order, [rows])
            read = window[points]
            labels = slice(int(self._first[read].min()), int(self._last[read].max()))
            count = len(points)
            if self.packing.repeats:
                points = np.concatenate([points, np.repeat(points[:1], rows - count)])
            passes.append(Pass(points, count, length, labels))
        return passes

    @torch.no_grad()
    def token_values(
        self, strand: int, window: NDArray[np.int64], tokens_at: Callable[[Tensor], Tensor]
    ) -> Tensor:
        """Return the targets of windows with other tokens than their own.

        Args:
            strand: Number of the strand.
            window: Window of each point, shape (P,).
            tokens_at: Function that returns the strand's tokens at some points: of numbers of
                shape (R,), tokens of shape (R, W + 2 * required_flank), and levels behind them.

        Returns:
            Targets, shape (P,), float64.
        """
        result = torch.zeros(len(window), dtype=torch.float64, device=self.device)
        windows = upload(window, self.device)
        for points, part in zip_uploaded(self.passes(strand, window), self.device):
            rows = windows[points]
            given = self.model.strand_input(tokens_at(points)).first(part.length)
            logits = self.model.strand_logits(self.model.embed(*given), strand, part.labels)
            values = (logits[..., POSITIVE] * self.weight[rows, part.labels]).sum(1)
            result[points[: part.size]] = values[: part.size].double()
        return result


def zip_uploaded(passes: list[Pass], device: torch.device) -> Iterator[tuple[Tensor, Pass]]:
    """Yield the point indices of each pass on a device, with the pass.

    All indices are uploaded at once.

    Args:
        passes: Passes.
        device: Device of the indices.
    """
    if not passes:
        return
    points = upload(np.concatenate([part.points for part in passes]), device)
    sizes = [len(part.points) for part in passes]
    yield from zip(points.split(sizes), passes, strict=True)


def pass_positions(model: WindowModel, settings: AttributionSettings) -> int:
    """Return how many sequence positions a pass has, unless memory runs out.

    Args:
        model: Model, on the device that computes.
        settings: `batch` is read.
    """
    return settings.batch or PACKING[model_device(model).type].positions


def labelled_windows(windows: Windows, limit: int) -> Windows:
    """Return windows that have a positive label, sampled evenly across all that do.

    Args:
        windows: Windows as prepared.
        limit: Return at most this many.
    """
    rows = np.flatnonzero((windows.labels == POSITIVE).any(axis=1))
    return windows.rows(rows[sample_evenly(len(rows), limit)])


def trim_tokens(model: WindowModel, windows: Windows) -> NDArray[np.uint8]:
    """Return the tokens of windows with exactly the flank that the model requires.

    Args:
        model: Model that reads the windows.
        windows: N windows as prepared, with the same flank or a longer one.

    Returns:
        Token ids, shape (N, W + 2 * required_flank), uint8; with the levels of tracks behind them
        if the model reads any.

    Raises:
        InputError: The windows have another length, or a shorter flank than the model requires.
    """
    length, required = model.readout.window, model.readout.required_flank
    window = windows.labels.shape[1]
    if window == 1:
        # Sequences with one label have no flank.
        window = windows.tokens.shape[1]
    flank = (windows.tokens.shape[1] - window) // 2
    if window != length:
        raise InputError(
            "windows",
            f"{window} bases",
            f"the model reads windows of {length}",
            f"prepare the data with --lengths {length}, or use another model",
        )
    if flank < required:
        raise InputError(
            "windows",
            f"flank {flank}",
            f"the model needs a flank of {required}",
            f"prepare the data with --flank {required} or more",
        )
    trimmed = windows.tokens[:, flank - required : flank + length + required]
    # What the model does not read must not change the draws that belong to a sequence.
    if not model.readout.scales:
        alone: NDArray[np.uint8] = ids_of(trimmed)
        return alone
    read = without_levels(trimmed)
    for scale in model.readout.scales:
        read[..., 1 + scale.number] = level_of(trimmed, scale.number)
    return read


def true_positives(
    model: WindowModel, tokens: NDArray[np.uint8], labels: NDArray[np.int8], batch: int
) -> NDArray[np.bool_]:
    """Find the labels that are 1 and that the model predicts: probability at its threshold or
    above.

    Args:
        model: Model in evaluation mode.
        tokens: Token ids as `trim_tokens` returns them, shape (N, L), uint8.
        labels: Labels, shape (N, W), or (N, 1) for sequences; -100 for none.
        batch: Sequence positions of one pass through the model; see `pass_positions`.

    Returns:
        True positives, shaped as the labels, bool.

    Raises:
        NonFiniteError: The model's logits overflow.
    """
    device = model_device(model)
    positive: NDArray[np.bool_] = labels == POSITIVE
    # Windows without a label have no true positive, whatever the model predicts.
    rows = np.flatnonzero(positive.any(axis=1))
    for some in batches(rows, max(1, batch // tokens.shape[1])):
        with torch.no_grad():
            probability = model.probability(upload(tokens[some], device)).cpu().numpy()
        check_finite(probability)
        positive[some] &= probability >= model.threshold
    return positive


def batches(items: NDArray[np.int64], size: int) -> Iterator[NDArray[np.int64]]:
    """Divide items into batches, the last of which may be smaller.

    Args:
        items: Items, shape (n,).
        size: Items of a batch.
    """
    for first in range(0, len(items), size):
        yield items[first : first + size]


def _read_columns(model: WindowModel, tokens: NDArray[np.uint8]) -> slice:
    """Return the columns that the model reads as bases; of the others it reads the tracks."""
    unread = model.readout.required_flank - model.readout.flank
    return slice(unread, tokens.shape[1] - unread)


def _stacked(inputs: Sequence[StrandInput]) -> StrandInput:
    tracks = [given.tracks for given in inputs if given.tracks is not None]
    ids = torch.stack([given.ids for given in inputs])
    return StrandInput(ids, torch.stack(tracks) if tracks else None)

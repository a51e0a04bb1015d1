"""Score DNA of any length with a trained model: overlapping windows, and the mean at every base.

`load` gives a notebook a model that takes letters; `score_piece` scores a piece of a contig.
"""

from __future__ import annotations

from pathlib import PurePath
from typing import Any, Literal, NamedTuple, overload

import numpy as np
import torch
from numpy.typing import NDArray

from hyena_ray.dataset.tokens import codes_to_tokens, encode, tokens_to_codes, validate_letters
from hyena_ray.errors import InputError
from hyena_ray.genome.contigs import N_CODE
from hyena_ray.genome.intervals import gather_windows, true_runs
from hyena_ray.model.devices import default_device
from hyena_ray.model.filters import frozen_filters
from hyena_ray.model.pretrained import resolve_checkpoint
from hyena_ray.model.saved import load_window_model
from hyena_ray.model.settings import READOUT
from hyena_ray.model.window import WindowModel
from hyena_ray.storage import AnyPath, location

BATCH = 128
"""Windows of one forward pass: past this, larger batches are no faster on a CPU."""
PRECISION = 2.0**-20
"""Unit of probabilities, a millionth: anything smaller is the noise of float32. Sums of multiples
are exact in float64, so that no mean depends on how a genome was cut."""


class ContigSlice(NamedTuple):
    """Known sequence around a piece of a contig."""

    start: int
    """First base, 0-based on the contig."""
    codes: NDArray[np.uint8]
    """Base codes, shape (n,)."""


@torch.inference_mode()
def probabilities(model: WindowModel, tokens: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Compute the probability of class 1, with the model's own strands.

    Args:
        model: A model in evaluation mode, on any device.
        tokens: Token ids, shape (B, window + 2 * stored); see `WindowModel`.

    Returns:
        Shape (B, window) for bases, (B, 1) for sequences; float32.
    """
    device = next(model.parameters()).device
    logits = model.predict(torch.from_numpy(tokens).to(device))
    scores: NDArray[np.float32] = logits.float().softmax(-1)[..., 1].cpu().numpy()
    return scores


def window_starts(size: int, window: int, step: int, first: int, last: int) -> NDArray[np.int64]:
    """Return the first bases of the windows that hold any base of [first, last), ascending.

    Windows start at 0, step, 2 step, ..., as `prepare` has them at steps of their length. Where
    these leave bases over at the contig's end, one more ends there; a contig that is shorter than a
    window has one that ends past it.

    Args:
        size: Bases of the contig.
        window: Bases of a window.
        step: Bases from one window to the next, at most `window`.
        first: First base, 0-based.
        last: One past the last base, at most `size`.

    Returns:
        0-based positions on the contig, shape (n,), int64.

    Example:
        >>> window_starts(size=25, window=10, step=5, first=0, last=25).tolist()
        [0, 5, 10, 15]
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
    sequence: ContigSlice,
    size: int,
    first: int,
    last: int,
    *,
    step: int,
    batch: int = BATCH,
) -> NDArray[np.float32]:
    """Compute the probability of class 1 for every base of [first, last) of a contig.

    It is the mean over the windows that hold the base; each window comes with what `prepare` stores
    around it, N past the contig's ends. Windows without a known base here are not scored.

    Args:
        model: A model in evaluation mode.
        sequence: The contig's sequence from a window and its flank before `first` to as much after
            `last`, as far as the contig extends.
        size: Bases of the contig.
        first: First base, 0-based.
        last: One past the last base.
        step: Bases from one window to the next.
        batch: Windows of one forward pass.

    Returns:
        Shape (last - first,), float32, rounded to `PRECISION`; NaN for N.
    """
    window, stored = model.readout.window, model.readout.required_flank
    known = sequence.codes[first - sequence.start : last - sequence.start] != N_CODE
    starts = window_starts(size, window, step, first, last)
    before = np.append(0, np.cumsum(known))
    inside = np.clip(starts + window, first, last), np.clip(starts, first, last)
    starts = starts[before[inside[0] - first] > before[inside[1] - first]]
    sums, counts = np.zeros(last - first), np.zeros(last - first)
    with frozen_filters(model):
        for row in range(0, len(starts), batch):
            batch_starts = starts[row : row + batch]
            codes = gather_windows(
                sequence.codes, batch_starts - stored - sequence.start, window + 2 * stored, N_CODE
            )
            for start, scores in zip(
                batch_starts, probabilities(model, codes_to_tokens(codes)), strict=True
            ):
                begin, end = max(start, first), min(start + window, last)
                sums[begin - first : end - first] += scores[begin - start : end - start]
                counts[begin - first : end - first] += 1
    mean = sums / np.maximum(counts, 1)
    rounded = np.round(mean / PRECISION) * PRECISION
    return np.where(known, rounded, np.nan).astype(np.float32)


class PredictedRegion(NamedTuple):
    """A run of bases at or above the threshold; 0-based and half-open."""

    start: int
    end: int
    score: float
    """Mean probability of its bases."""


class SequencePredictor:
    """A trained model that reads DNA as letters; `load` makes one.

    Args:
        model: A window model; it is put into evaluation mode here.
        source: Where it came from, for people.

    Example:
        >>> from hyena_ray.model.build import build_model
        >>> from hyena_ray.model.settings import LoraSettings, ModelSettings, Readout
        >>> from hyena_ray.tasks import TASKS
        >>> settings, readout = ModelSettings(architecture="rule"), Readout(window=100)
        >>> model = build_model(settings, readout, LoraSettings(), TASKS["zdna"], seed=0)
        >>> predictor = SequencePredictor(model, "alternation")
        >>> [region[:2] for region in predictor.predict_regions("AAAAACGCGCGCGCGCAAAAA")]
        [(1, 20)]
    """

    def __init__(self, model: WindowModel, source: str) -> None:
        self.model = model.eval()
        self.source = source

    def __repr__(self) -> str:
        config, readout = self.model.classifier.config, self.model.readout
        labelled = "bases, in windows of" if self.model.labels_bases else "sequences of"
        weights = sum(parameter.numel() for parameter in self.model.parameters())
        return (
            f"<{type(self).__name__} {self.source}: {config.model_type}, {weights:,} weights, "
            f"labels {labelled} {readout.window}, flank {readout.flank}, "
            f"strands {readout.strands}, threshold {self.threshold:.3f}>"
        )

    @property
    def threshold(self) -> float:
        """Probability from which a label counts as positive, as training chose it."""
        return self.model.threshold

    @property
    def kind(self) -> Literal["base", "sequence"]:
        """Unit that gets a label."""
        return "base" if self.model.labels_bases else "sequence"

    @overload
    def predict(
        self, sequence: str, *, stride: int | None = None
    ) -> NDArray[np.float32] | float: ...

    @overload
    def predict(
        self, sequence: list[str], *, stride: int | None = None
    ) -> list[NDArray[np.float32]] | list[float]: ...

    def predict(
        self, sequence: str | list[str], *, stride: int | None = None
    ) -> NDArray[np.float32] | float | list[NDArray[np.float32]] | list[float]:
        """Compute the probability of class 1.

        Args:
            sequence: A sequence of A C G T N of either case, or a list of them. Where bases are
                labelled it may have any length: a long one is read in overlapping windows whose
                scores are averaged, and past its ends there is N. Real flanks give better scores:
                include them, and cut the result. A sequence that gets one label needs the model's
                length.
            stride: Bases from one window to the next; None takes half a window.

        Returns:
            Shape (L,), float32, one for each base, NaN for N, as a prediction scores a contig; for
            sequences with one label a float. A list of them for a list.

        Raises:
            InputError: Another letter, an empty sequence, a length that the model does not read, or
                a stride outside 1 to the window.
        """
        if isinstance(sequence, str):
            one: NDArray[np.float32] | float = self._predict([sequence], ["sequence"], stride)[0]
            return one
        places = [f"sequence {number}" for number in range(1, len(sequence) + 1)]
        return self._predict(sequence, places, stride)

    def predict_regions(
        self, sequence: str, *, stride: int | None = None, threshold: float | None = None
    ) -> list[PredictedRegion]:
        """Find the runs of bases whose probability reaches the threshold, in order.

        Args:
            sequence: One sequence, as `predict` takes it.
            stride: Bases from one window to the next; None takes half a window.
            threshold: Probability that overrides the model's own threshold.

        Raises:
            InputError: As `predict`, or the model labels whole sequences.
        """
        if not self.model.labels_bases:
            raise InputError(
                self.source, None, "labels whole sequences and finds no regions", "use predict"
            )
        scores = self._predict([sequence], ["sequence"], stride)[0]
        spans = true_runs(scores >= (self.threshold if threshold is None else threshold))
        return [
            PredictedRegion(start, end, float(scores[start:end].mean()))
            for start, end in zip(spans.start.tolist(), spans.end.tolist(), strict=True)
        ]

    def _predict(self, sequences: list[str], places: list[str], stride: int | None) -> list[Any]:
        window = self.model.readout.window
        stride = max(window // 2, 1) if stride is None else stride
        if not 1 <= stride <= window:
            raise InputError("stride", stride, f"not within 1 to {window}", "give one that is")
        for sequence, place in zip(sequences, places, strict=True):
            validate_letters(sequence, place)
            if not sequence:
                raise InputError(place, None, "is empty", "give bases")
            if not self.model.labels_bases and len(sequence) != window:
                raise InputError(
                    place, f"{len(sequence)} bases", f"the model reads {window}", "give that many"
                )
        encoded = [encode(sequence) for sequence in sequences]
        if self.model.labels_bases:
            return [
                score_piece(
                    self.model, ContigSlice(0, tokens_to_codes(tokens)), size, 0, size, step=stride
                )
                for tokens, size in zip(encoded, map(len, encoded), strict=True)
            ]
        scores: list[float] = []
        for first in range(0, len(encoded), BATCH):
            tokens = np.stack(encoded[first : first + BATCH])
            scores += probabilities(self.model, tokens)[:, 0].tolist()
        return scores


def load(source: str | PurePath, *, revision: str | None = None) -> SequencePredictor:
    """Load a trained model, on the GPU where there is one.

    Args:
        source: Folder `model/` of a run, its URI (`s3://bucket/run/model`), or a hub id.
        revision: Commit, tag or branch of a hub id; required with one.

    Raises:
        InputError: There is no such model, or it is damaged.

    Example:
        >>> import tempfile
        >>> from hyena_ray.model.build import build_model
        >>> from hyena_ray.model.saved import save_window_model
        >>> from hyena_ray.model.settings import LoraSettings, ModelSettings, Readout
        >>> from hyena_ray.tasks import TASKS
        >>> settings, readout = ModelSettings(architecture="rule"), Readout(window=100)
        >>> model = build_model(settings, readout, LoraSettings(), TASKS["zdna"], seed=0)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_window_model(model, location(folder) / "model")
        ...     load(f"{folder}/model").predict("TGACGTGCGCGCGCACGTATTC").shape
        (22,)
    """
    folder: AnyPath = location(str(source)).expanduser()
    if not folder.is_dir():
        folder = resolve_checkpoint(source, revision, more=(READOUT,))
    model = load_window_model(folder).to(default_device())
    return SequencePredictor(model, str(source))

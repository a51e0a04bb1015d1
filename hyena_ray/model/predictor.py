"""A trained model for a notebook: letters in, probabilities out.

`predict_bases` is how a sequence of any length is read in windows, whoever asks for it.
"""

from __future__ import annotations

from pathlib import PurePath
from typing import Any, Literal, NamedTuple, overload

import numpy as np
import torch
from numpy.typing import NDArray

from hyena_ray.dataset.tokens import N_TOKEN, encode, refuse_foreign
from hyena_ray.errors import InputError
from hyena_ray.genome.labels import gather, spans_of
from hyena_ray.model.checkpoint import resolve_checkpoint
from hyena_ray.model.saved import READOUT, load_window_model
from hyena_ray.model.window import WindowModel
from hyena_ray.storage import AnyPath, location

BATCH = 128
"""Windows of one forward pass: past this, larger batches are no faster on a CPU."""


class PredictedRegion(NamedTuple):
    """A run of bases at or above the threshold; 0-based and half-open."""

    start: int
    end: int
    score: float
    """Mean probability of its bases."""


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


def window_starts(length: int, window: int, stride: int) -> NDArray[np.int64]:
    """(n,) first bases of windows that cover `length` bases: multiples of the stride, and one that
    ends with the last base; 0 alone where the sequence is no longer than a window."""
    last = max(length - window, 0)
    return np.append(np.arange(0, last, stride, dtype=np.int64), last)


def predict_bases(
    model: WindowModel, tokens: NDArray[np.uint8], *, stride: int, batch: int = BATCH
) -> NDArray[np.float32]:
    """Probability of class 1 of every base of a sequence, the mean over the windows that hold it.

    Past both ends the model reads N, as windows at the ends of a contig were prepared.

    Args:
        model: labels bases; in evaluation mode, on any device.
        tokens: (L,) ids, L >= 1.
        stride: bases from one window to the next, 1 to the model's window.
        batch: windows of one forward pass.

    Returns:
        (L,) float32.
    """
    window, stored = model.readout.window, model.readout.stored
    starts = window_starts(len(tokens), window, stride)
    size = max(len(tokens), window)
    total, times = np.zeros(size), np.zeros(size, np.int32)
    for first in range(0, len(starts), batch):
        some = starts[first : first + batch]
        read = gather(tokens, some - stored, window + 2 * stored, N_TOKEN)
        for start, scores in zip(some.tolist(), probabilities(model, read), strict=True):
            total[start : start + window] += scores
            times[start : start + window] += 1
    mean: NDArray[np.float32] = (total / times)[: len(tokens)].astype(np.float32)
    return mean


class SequencePredictor:
    """A trained model that reads DNA as letters; made by `load`.

    Args:
        model: put into evaluation mode here.
        source: where it came from, for people.
    """

    def __init__(self, model: WindowModel, source: str) -> None:
        self.model = model.eval()
        self.source = source

    def __repr__(self) -> str:
        config, readout = self.model.classifier.config, self.model.readout
        of = "bases, in windows of" if self.model.labels_bases else "sequences of"
        weights = sum(parameter.numel() for parameter in self.model.parameters())
        return (
            f"<{type(self).__name__} {self.source}: {config.model_type}, {weights:,} weights, "
            f"labels {of} {readout.window}, flank {readout.flank}, strands {readout.strands}, "
            f"threshold {self.threshold:.3f}>"
        )

    @property
    def threshold(self) -> float:
        """Probability from which a label counts as positive, as training chose it."""
        return self.model.threshold

    @property
    def kind(self) -> Literal["base", "sequence"]:
        """What gets a label."""
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
        """Probability of class 1.

        Args:
            sequence: A C G T N, lower case is sequence; one, or a list of them. Bases may be of any
                number where bases are labelled: a long sequence is read in overlapping windows and
                averaged, and what lies past its ends is N. Real surroundings make better figures:
                give them, and cut the result. A sequence that has one label has the model's length.
            stride: bases from one window to the next; None takes half a window.

        Returns:
            (L,) float32, one for each base; for sequences with one label a float. A list of them
            for a list.

        Raises:
            InputError: another letter, an empty sequence, a length that the model does not read, or
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
        """Runs of bases whose probability reaches the threshold, in order.

        Args:
            sequence: as `predict`.
            stride: as `predict`.
            threshold: in place of the model's own.

        Raises:
            InputError: as `predict`, or the model labels whole sequences.
        """
        if not self.model.labels_bases:
            raise InputError(
                self.source, None, "labels whole sequences and finds no regions", "use predict"
            )
        scores = self._predict([sequence], ["sequence"], stride)[0]
        spans = spans_of(scores >= (self.threshold if threshold is None else threshold))
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
            refuse_foreign(sequence, place)
            if not sequence:
                raise InputError(place, None, "is empty", "give bases")
            if not self.model.labels_bases and len(sequence) != window:
                raise InputError(
                    place, f"{len(sequence)} bases", f"the model reads {window}", "give so many"
                )
        encoded = [encode(sequence) for sequence in sequences]
        if self.model.labels_bases:
            return [predict_bases(self.model, tokens, stride=stride) for tokens in encoded]
        found: list[float] = []
        for first in range(0, len(encoded), BATCH):
            tokens = np.stack(encoded[first : first + BATCH])
            found += probabilities(self.model, tokens)[:, 0].tolist()
        return found


def load(source: str | PurePath, *, revision: str | None = None) -> SequencePredictor:
    """A trained model, on the GPU where there is one.

    Args:
        source: folder `model/` of a run, its URI (`s3://bucket/run/model`), or a hub id.
        revision: commit, tag or branch of a hub id; required with one.

    Raises:
        InputError: there is no such model, or it is damaged.
    """
    folder: AnyPath = location(str(source)).expanduser()
    if not folder.is_dir():
        folder = resolve_checkpoint(source, revision, more=(READOUT,))
    model = load_window_model(folder).to("cuda" if torch.cuda.is_available() else "cpu")
    return SequencePredictor(model, str(source))

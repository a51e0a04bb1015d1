"""A trained model for a notebook: letters in, probabilities out."""

from __future__ import annotations

from pathlib import PurePath
from typing import Any, Literal, NamedTuple, overload

import numpy as np
import torch
from numpy.typing import NDArray

from hyena_ray.dataset.tokens import encode, tokens_to_codes, validate_letters
from hyena_ray.errors import InputError
from hyena_ray.genome.intervals import true_runs
from hyena_ray.model.checkpoint import resolve_checkpoint
from hyena_ray.model.saved import READOUT, load_window_model
from hyena_ray.model.scoring import BATCH, Sequence, probabilities, score_piece
from hyena_ray.model.window import WindowModel
from hyena_ray.storage import AnyPath, location


class PredictedRegion(NamedTuple):
    """A run of bases at or above the threshold; 0-based and half-open."""

    start: int
    end: int
    score: float
    """Mean probability of its bases."""


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
            (L,) float32, one for each base, NaN for N, as predict.py scores a contig; for
            sequences with one label a float. A list of them for a list.

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
                    place, f"{len(sequence)} bases", f"the model reads {window}", "give so many"
                )
        encoded = [encode(sequence) for sequence in sequences]
        if self.model.labels_bases:
            return [
                score_piece(
                    self.model, Sequence(0, tokens_to_codes(tokens)), size, 0, size, step=stride
                )
                for tokens, size in zip(encoded, map(len, encoded), strict=True)
            ]
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

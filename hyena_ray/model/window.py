"""A classifier read out on windows: flanks, lookahead and both strands.

A causal model sees nothing right of a base, so the label of base i is read `lookahead` positions
further right, where bases up to i + lookahead have been seen, or by a head that looks ahead itself.
A classifier of sequences gives one label for the whole window.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from hyena_ray.dataset.tokens import FIRST_BASE, N_TOKEN, TOKEN_IDS, ids_of
from hyena_ray.errors import InputError
from hyena_ray.genome.called_regions import RegionSettings
from hyena_ray.model.beta_calibration import BetaCalibration
from hyena_ray.model.classifier import Classifier, ClassifierOutput
from hyena_ray.model.configuration import kind_of
from hyena_ray.model.convolution import ALL
from hyena_ray.model.input_tracks import measure_tracks
from hyena_ray.model.settings import Readout, Strands


class NonFiniteError(InputError):
    """A model's scores are not numbers."""


def check_finite(scores: Tensor | NDArray[np.floating]) -> None:
    """Refuse a model whose logits overflow: NaN would be taken for what has no score.

    Args:
        scores: Probabilities of known bases or of sequences.

    Raises:
        NonFiniteError: One of them is NaN.
    """
    nan = scores.isnan() if isinstance(scores, Tensor) else np.isnan(scores)
    if bool(nan.any()):
        raise NonFiniteError(
            "model",
            None,
            "its logits overflow: probabilities are NaN",
            "use another model, or train it again with a lower learning rate",
        )


class StrandInput(NamedTuple):
    """What a classifier is given of one strand of some windows, in the strand's own direction.

    T = flank + window + lookahead for a causal classifier of bases, else flank + window + flank,
    and one more with special tokens.
    """

    ids: Tensor
    """Token ids, shape (B, T), int64."""
    tracks: Tensor | None
    """Their tracks, shape (B, T, C), float32; None for a model that reads none."""

    def first(self, length: int) -> StrandInput:
        """Return the first positions.

        Args:
            length: Number of positions.
        """
        tracks = None if self.tracks is None else self.tracks[:, :length]
        return StrandInput(self.ids[:, :length], tracks)


class WindowScorer(nn.Module, ABC):
    """What gives the labels of windows logits: a model, or an ensemble of several.

    Tokens have shape (B, window + 2 * stored), uint8 or int64, where `stored` is at least
    `readout.required_flank`, or (B, window + 2 * stored, 1 + tracks) where the data have tracks of
    a user, see `dataset.tokens`. Logits have shape (B, labels, num_labels), with a label for every
    base of the window, or one for all of it.
    """

    readout: Readout
    """Window and flanks that are read."""
    labels_bases: bool
    """Whether every base has a label, or the window."""

    def __init__(self) -> None:
        super().__init__()
        self.calibration = BetaCalibration()
        """Map from log-odds to probabilities that are fractions of the genome; training fits it.
        Logits, and so losses and attributions, are those before it."""
        self.threshold = 0.5
        """Calibrated probability of class 1 from which a label counts as positive; training chooses
        it, for bases at the prevalence of the genome."""
        self.tile_threshold = 0.5
        """The same for bases of tiles with and without a label at a fixed ratio, on which the
        original work tested; no job calls bases with it."""
        self.min_length = 1
        """Bases of the shortest region that is called; the task's in a model that was built."""
        self.merge_gap = 0
        """Most uncalled bases between two runs of called ones that are one region; likewise."""

    @property
    def regions(self) -> RegionSettings:
        """How probabilities become regions, where nothing else is asked for."""
        return RegionSettings(
            threshold=self.threshold, min_length=self.min_length, merge_gap=self.merge_gap
        )

    def probability(self, tokens: Tensor) -> Tensor:
        """Compute the calibrated probability of class 1, from the strands of the readout.

        Args:
            tokens: Windows with their flanks, as the class says.

        Returns:
            Shape (B, labels), float32; NaN where the logits overflow.
        """
        return self.calibration.probability(self.predict(tokens))

    @property
    @abstractmethod
    def members(self) -> tuple[WindowModel, ...]:
        """The models that it is made of, sorted by `model_sha256`; a model is its only one."""

    @property
    def scan_step(self) -> int:
        """Bases from one window to the next in a scan, where nothing else is asked for.

        It is half a window, so that a base near the edge of a window is in the middle of another
        one; or a whole window, where a base has the same logits in each window that holds it.
        """
        window = self.readout.window
        return window if all(member.is_local for member in self.members) else window - window // 2

    @abstractmethod
    def predict(self, tokens: Tensor) -> Tensor:
        """Compute logits.

        Args:
            tokens: Windows with their flanks, as the class says.
        """

    @abstractmethod
    def read_strands(self, strands: Strands) -> None:
        """Change which strands are read.

        Args:
            strands: The given strand, or both.
        """


class WindowModel(WindowScorer):
    """A classifier read out on windows, see `WindowScorer`.

    Args:
        classifier: Classifier of bases or of sequences; its `config.causal` says whether it sees
            the right side of a base.
        readout: How labels are read from its output.

    Raises:
        InputError: The window with its flanks is longer than the classifier's `max_seq_len`, or the
            readout has other tracks than the classifier.

    Example:
        >>> from hyena_ray.model.baseline_models import KmerLogisticRegression
        >>> from hyena_ray.model.configuration import KmerLogisticConfig
        >>> classifier = KmerLogisticRegression(KmerLogisticConfig(k=3, radius=4))
        >>> model = WindowModel(classifier, Readout(window=20, flank=8, lookahead=0))
        >>> model.predict(torch.full((1, 36), 7)).shape
        torch.Size([1, 20, 2])
    """

    def __init__(self, classifier: Classifier, readout: Readout) -> None:
        super().__init__()
        self.classifier = classifier
        self.readout = readout
        config = classifier.config
        read = tuple(getattr(config, "tracks", ()))
        if read != readout.tracks:
            raise InputError(
                "readout.tracks",
                ",".join(readout.tracks) or None,
                f"the classifier reads {','.join(read) or 'none'}",
                "build the model with the tracks that it is given",
            )
        scaled = tuple(scale.name for scale in readout.scales)
        if scaled != readout.signal_tracks:
            raise InputError(
                "readout.scales",
                ",".join(scaled) or None,
                f"the readout has the tracks {','.join(readout.signal_tracks) or 'none'}",
                "give the scale of each of these, from the manifest of the data",
            )
        self.left = readout.flank
        self.right = readout.lookahead if config.causal else readout.flank
        shifted = config.causal and config.head != "lookahead"
        self.shift = readout.lookahead if shifted else 0
        self.labels_bases = kind_of(config) == "base"
        limit = getattr(config, "max_seq_len", None)
        length = self.left + readout.window + self.right + readout.special_tokens
        if limit is not None and length > limit:
            raise InputError(
                "readout.window",
                readout.window,
                f"with flank, lookahead and special tokens {length} tokens, above the model's "
                f"max_seq_len {limit}",
                "use shorter windows or a model with a longer input",
            )

    def forward(self, tokens: Tensor, window: int | None = None) -> Tensor:
        """Compute logits from the forward strand, as training does.

        Args:
            tokens: Windows with their flanks, as the class says.
            window: Bases of these windows, where they were cut shorter than the readout's.
        """
        window = window or self.readout.window
        given = self.strand_input(tokens, window)
        return self._logits(slice(0, window), input_ids=given.ids, tracks=given.tracks)

    @property
    def members(self) -> tuple[WindowModel, ...]:
        """The model itself."""
        return (self,)

    @property
    def is_local(self) -> bool:
        """Whether the logits of a base do not depend on where its window begins."""
        reach = self.classifier.reach
        return reach is not None and reach <= min(self.left, self.right)

    def read_strands(self, strands: Strands) -> None:
        """Change which strands are read; calibration and thresholds stay those of others.

        Args:
            strands: Predict from the given strand, or average the logits of both.
        """
        self.readout = self.readout.updated({"strands": strands}, "--strands")

    def predict(self, tokens: Tensor) -> Tensor:
        """Compute logits averaged over the strands of the readout.

        With both strands, the reverse complement of a window gets exactly the flipped logits.

        Args:
            tokens: Windows with their flanks, as the class says.
        """
        every = slice(0, self.readout.window)
        logits = [
            self._oriented(self._logits(every, input_ids=given.ids, tracks=given.tracks), strand)
            for strand, given in enumerate(map(self.strand_input, self.strands(tokens)))
        ]
        # Not torch.mean: a sum of two is the same in either order, to the bit.
        return logits[0] if len(logits) == 1 else (logits[0] + logits[1]) / 2

    def strands(self, tokens: Tensor) -> list[Tensor]:
        """Return the strands of the readout, the given one first, each in its own direction.

        Args:
            tokens: Windows with their flanks, as the class says.

        Returns:
            Tokens, each of the shape of `tokens`.
        """
        both = self.readout.strands == "both"
        return [tokens, reverse_complement(tokens)] if both else [tokens]

    def strand_input(self, tokens: Tensor, window: int | None = None) -> StrandInput:
        """Return what the classifier is given of one strand.

        Args:
            tokens: Windows with their flanks on this strand, as the class says.
            window: Bases of these windows, where they were cut shorter than the readout's.
        """
        window, names = window or self.readout.window, self.readout.tracks
        stored = self._check_stored(tokens, window)
        bases = slice(stored - self.left, stored + window + self.right)
        ids, tracks = ids_of(tokens)[:, bases].long(), None
        if names:
            tracks = measure_tracks(names, tokens, bases, self.readout.scales)
        if self.readout.special_tokens:
            ids = F.pad(ids, (0, 1), value=TOKEN_IDS["[SEP]"])
            tracks = None if tracks is None else F.pad(tracks, (0, 0, 0, 1))
        return StrandInput(ids, tracks)

    def embed(self, ids: Tensor, tracks: Tensor | None = None) -> Tensor:
        """Return what the classifier's layers read of a strand.

        Args:
            ids: Token ids, shape (B, T), int64.
            tracks: Their tracks, shape (B, T, C), for a model that reads tracks.

        Returns:
            Shape (B, T, channels).
        """
        return self.classifier.embed(ids, tracks)

    def strand_logits(
        self,
        embeddings: Tensor,
        strand: int,
        labels: slice = ALL,
    ) -> Tensor:
        """Compute logits from one strand's embeddings, in forward orientation.

        Args:
            embeddings: Result of `embed` for that strand's `strand_input`, shape (B, T, channels),
                at least the first `receptive_end(strand, labels)`.
            strand: 0 for the given strand, 1 for its reverse complement.
            labels: Labels of the window whose logits are wanted, in forward orientation.
        """
        wanted = self._on_strand(labels, strand)
        logits = self._logits(wanted, inputs_embeds=embeddings)
        return self._oriented(logits, strand)

    def receptive_end(self, strand: int, labels: slice = ALL) -> int:
        """Return the end of the receptive field of these labels, in inputs of a strand.

        A causal classifier of bases sees nothing behind the last label that is read.

        Args:
            strand: 0 for the given strand, 1 for its reverse complement.
            labels: Labels of the window, in forward orientation.

        Returns:
            Number of the strand's inputs, from its first, that the logits depend on.
        """
        wanted = self._on_strand(labels, strand)
        if self.classifier.config.causal and self.labels_bases and labels != ALL:
            return self.left + int(wanted.stop) + self.right
        return self.left + self.readout.window + self.right + self.readout.special_tokens

    def to_window(self, per_position: Tensor, strand: int) -> Tensor:
        """Cut values of one strand's inputs down to the window's bases, in forward orientation.

        Args:
            per_position: Values of the inputs, shape (B, T, ...).
            strand: 0 for the given strand, 1 for its reverse complement.

        Returns:
            Shape (B, window, ...).
        """
        inner = per_position[:, self.left : self.left + self.readout.window]
        return self._oriented(inner, strand)

    def _check_stored(self, tokens: Tensor, window: int) -> int:
        """Return the bases on each side of these windows."""
        stored, odd = divmod(tokens.shape[1] - window, 2)
        if odd or stored < self.readout.required_flank:
            raise InputError(
                "window length",
                tokens.shape[1],
                f"needs {window + 2 * self.readout.required_flank} bases (window {window}, and "
                f"{self.readout.required_flank} on each side) or more, evenly on both sides",
                "prepare longer flanks, lower readout.flank, or leave out one of readout.tracks",
            )
        return stored

    def _on_strand(self, labels: slice, strand: int) -> slice:
        """Return the same labels of the window, counted in a strand's own direction."""
        window = self.readout.window
        first, last, _ = labels.indices(window)
        return slice(first, last) if strand == 0 else slice(window - last, window - first)

    def _logits(self, labels: slice, **given: Tensor | None) -> Tensor:
        """Compute (B, labels, num_labels) logits of bases on the given strand, or one for all."""
        first = self.left + self.shift
        positions = slice(first + labels.start, first + labels.stop) if self.labels_bases else ALL
        output: ClassifierOutput = self.classifier(positions=positions, **given)
        logits = output.logits
        return logits if self.labels_bases else logits[:, None]

    @staticmethod
    def _oriented(values: Tensor, strand: int) -> Tensor:
        return values if strand == 0 else values.flip(1)


def reverse_complement(tokens: Tensor) -> Tensor:
    """Return the opposite strand, read in its own direction.

    Args:
        tokens: Token ids, shape (length,) or (B, length), integer, or (B, length, 1 + tracks) with
            the levels of tracks, which stay with their bases. Special tokens and N are their own
            complements.

    Returns:
        The same shape.

    Example:
        >>> reverse_complement(torch.tensor([7, 8, 11]))  # ACN, NGT
        tensor([11,  9, 10])
    """
    if tokens.ndim == 3:
        ids, levels = tokens[..., 0], tokens[..., 1:]
        return torch.cat((reverse_complement(ids)[..., None], levels.flip(1)), -1)
    backwards = tokens.flip(-1)
    is_base = (backwards >= FIRST_BASE) & (backwards < N_TOKEN)
    return torch.where(is_base, FIRST_BASE + N_TOKEN - 1 - backwards, backwards)

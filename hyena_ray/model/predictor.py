"""Score DNA of any length with a trained model: overlapping windows, and the mean at every base.

`load` gives a notebook a model that takes letters; a `Scorer` scores pieces of contigs.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack
from pathlib import PurePath
from threading import Lock
from typing import Any, Literal, NamedTuple, Self, get_args, overload

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor
from torch.nn import functional as F

from hyena_ray.dataset.tokens import (
    codes_to_tokens,
    encode,
    tokens_to_codes,
    validate_letters,
    with_levels,
)
from hyena_ray.errors import InputError, raise_together, require_type
from hyena_ray.genome.called_regions import Stretch, call_regions
from hyena_ray.genome.contigs import N_CODE
from hyena_ray.genome.signal_scale import NO_VALUE, level_columns
from hyena_ray.genome.signal_tracks import SignalFile, SignalTrack
from hyena_ray.genome.track_files import PLACE, REMEDY, parse_tracks
from hyena_ray.model.devices import (
    arithmetic,
    default_device,
    download,
    halving,
    model_device,
    upload,
)
from hyena_ray.model.embedding import Embedder, cover_of, cut_cover, require_hidden_states
from hyena_ray.model.filters import frozen_filters
from hyena_ray.model.pretrained import resolve_checkpoint
from hyena_ray.model.replay import Replay
from hyena_ray.model.saved import ADAPTER, load_window_model
from hyena_ray.model.settings import Per, Readout, Strands
from hyena_ray.model.window import WindowModel, WindowScorer, check_finite
from hyena_ray.storage import location

MODEL_FILES = ("*.json", f"{ADAPTER}/*")
"""Files of a model beside configuration and weights, as patterns of the hub."""
CPU_BATCH = 128
"""Windows of one forward pass on a CPU: past this, larger batches are no faster."""
GPU_POSITIONS = 1 << 20
"""Most bases of one forward pass on a GPU, flanks included. With 4,096 windows of 100 bases and
flanks of 32, an NVIDIA H200 scores 113,000 windows per second on both strands; other sizes have not
been measured."""
SMALLEST = 16
"""The smallest pass that is captured as a CUDA graph has `batch / SMALLEST` windows."""
PRECISION = 2.0**-20
"""Unit of probabilities, a millionth: anything smaller is the noise of float32. Sums of multiples
are exact in float64, so that no mean depends on how a genome was cut."""


Signals = Mapping[str, ArrayLike]
"""Values of the tracks of a sequence by name, one for each base; NaN where there is none."""


class ContigSlice(NamedTuple):
    """Known sequence around a piece of a contig."""

    start: int
    """First base, 0-based on the contig."""
    codes: NDArray[np.uint8]
    """Base codes, shape (n,)."""
    levels: NDArray[np.uint8] | None = None
    """Levels of the tracks that the model reads, shape (n, tracks); None has no value anywhere."""


class ScoredSpan(NamedTuple):
    """Bases of a contig that are to be scored, and the sequence around them."""

    sequence: ContigSlice
    """The contig's sequence from a window and its flank before `first` to as much after `last`, as
    far as the contig extends."""
    size: int
    """Bases of the contig."""
    first: int
    """First base, 0-based."""
    last: int
    """One past the last base."""


@torch.inference_mode()
def probabilities(model: WindowScorer, tokens: Tensor) -> Tensor:
    """Compute the calibrated probability of class 1, with the model's own strands.

    Args:
        model: A model in evaluation mode, on any device.
        tokens: Token ids on that device, shape (B, window + 2 * stored); see `WindowModel`.

    Returns:
        Shape (B, window) for bases, (B, 1) for sequences; float32.
    """
    with arithmetic("float32"):
        return model.probability(tokens)


def default_batch(readout: Readout, device: torch.device) -> int:
    """Return the windows of one forward pass on a device; a power of two.

    Args:
        readout: Readout of the model.
        device: Device that computes.

    Example:
        >>> default_batch(Readout(window=100, flank=32), torch.device("cuda"))
        4096
    """
    if device.type == "cpu":
        return CPU_BATCH
    most = GPU_POSITIONS // (readout.window + 2 * readout.flank)
    return 1 << max(0, most.bit_length() - 1)


def pass_sizes(windows: int, batch: int, *, repeated: bool) -> list[int]:
    """Return the number of windows of every forward pass over a piece.

    Args:
        windows: Windows of the piece.
        batch: Windows of a full pass.
        repeated: Whether only few sizes may occur, because each is captured as a CUDA graph. The
            windows that are left over are then scored in passes of `batch / 2`, `batch / 4` and so
            on, the last of which may have to be padded.

    Returns:
        Sizes in order; their sum is at least `windows`.

    Example:
        >>> pass_sizes(300, 128, repeated=False), pass_sizes(300, 128, repeated=True)
        ([128, 128, 44], [128, 128, 32, 8, 8])
    """
    full, left = divmod(windows, batch)
    sizes, size, smallest = [batch] * full, batch, max(1, batch // SMALLEST)
    while left > 0:
        if not repeated:
            size = left
        while size > max(left, smallest):
            size = max(size // 2, smallest)
        sizes.append(size)
        left -= size
    return sizes


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
    spans = np.array([[size], [first], [last]], np.int64)
    return span_windows(spans[0], spans[1], spans[2], window, step)[1]


def span_windows(
    size: NDArray[np.int64],
    first: NDArray[np.int64],
    last: NDArray[np.int64],
    window: int,
    step: int,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return `window_starts` of many spans, each on a contig of its own.

    Args:
        size: (k,) bases of the contig of each span.
        first: (k,) first base, 0-based.
        last: (k,) one past the last base.
        window: Bases of a window.
        step: Bases from one window to the next, at most `window`.

    Returns:
        Span of every window, and its first base on the contig, each of shape (n,).
    """
    count = np.maximum(0, (size - window) // step + 1)
    begin = np.maximum(0, (first - window) // step + 1)
    regular = np.maximum(0, np.minimum(count, -(-last // step)) - begin)
    at_end = np.maximum(0, size - window)
    covered = np.where(count > 0, (count - 1) * step + window, 0)
    number = regular + ((covered < size) & (at_end < last))
    span = np.repeat(np.arange(len(size)), number)
    rank = np.arange(len(span)) - (np.cumsum(number) - number)[span]
    starts = np.where(rank < regular[span], (begin[span] + rank) * step, at_end[span])
    return span, starts


class Scorer:
    """Scores pieces of contigs with one model, on the model's device.

    The bases of a piece are uploaded once. Windows are cut, scored and averaged on the device, and
    the means are downloaded once. On a GPU the passes are replayed as CUDA graphs, and only the
    download synchronises. Threads may share a scorer: while one waits for its piece, another one
    queues the next.

    The filters of the model are computed once, so its weights must not change before `close`.

    Args:
        model: A model of bases in evaluation mode.
        batch: Windows of one forward pass; None takes `default_batch`. It is halved each time that
            a GPU runs out of memory.
        replay: Replays the passes; None makes one for the device of the model.

    Example:
        >>> from hyena_ray.model.build import build_model
        >>> from hyena_ray.model.settings import LoraSettings, ModelSettings
        >>> from hyena_ray.tasks import TASKS
        >>> settings, readout = ModelSettings(architecture="rule"), Readout(window=100)
        >>> model = build_model(settings, readout, LoraSettings(), TASKS["zdna"], seed=0)
        >>> bases = ContigSlice(0, np.array([0, 1, 2, N_CODE], np.uint8))
        >>> with Scorer(model.eval()) as scorer:
        ...     np.isfinite(scorer.score(bases, size=4, first=0, last=4, step=50)).tolist()
        [True, True, True, False]
    """

    def __init__(
        self, model: WindowScorer, batch: int | None = None, replay: Replay | None = None
    ) -> None:
        self.device = model_device(model)
        self.batch = default_batch(model.readout, self.device) if batch is None else batch
        """Windows of one forward pass, possibly halved since the scorer was made."""
        self._model = model
        self._replay = Replay(self.device) if replay is None else replay
        # Fixed here: if a pass cannot be captured, later pieces must still be cut in the same way.
        self._repeated = self._replay.captures
        self._queueing = Lock()
        self._frozen = ExitStack()
        self._frozen.enter_context(frozen_filters(model))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Drop the graphs and the filters; the scorer cannot be used afterwards."""
        self._replay.clear()  # before the filters, which the graphs read
        self._frozen.close()

    def score(
        self, sequence: ContigSlice, size: int, first: int, last: int, *, step: int
    ) -> NDArray[np.float32]:
        """Compute the probability of class 1 for every base of [first, last) of a contig.

        It is the mean over the windows that contain the base. Each window has the flanks that
        `prepare` stores, with N past the ends of the contig. Windows without a known base in
        [first, last) are not scored.

        Args:
            sequence: The contig's sequence from a window and its flank before `first` to as much
                after `last`, as far as the contig extends.
            size: Bases of the contig.
            first: First base, 0-based.
            last: One past the last base.
            step: Bases from one window to the next.

        Returns:
            Shape (last - first,), float32, rounded to `PRECISION`; NaN for N.

        Raises:
            DeviceError: A single window does not fit into the memory of the GPU.
            NonFiniteError: The model's logits overflow.
        """
        return self.score_spans([ScoredSpan(sequence, size, first, last)], step=step)

    def score_spans(self, spans: Sequence[ScoredSpan], *, step: int) -> NDArray[np.float32]:
        """Compute the probabilities of several spans, whose windows share forward passes.

        Args:
            spans: Spans of one contig or of several, at least one; see `score`.
            step: Bases from one window to the next.

        Returns:
            Probabilities of all spans, one behind the other, as from `score`.

        Raises:
            DeviceError: A single window does not fit into the memory of the GPU.
            NonFiniteError: The model's logits overflow.
        """

        def attempt(batch: int) -> Callable[[], NDArray[np.float32]]:
            if batch < self.batch:
                self.batch = batch
                self._replay.clear()  # the old graphs occupy the memory that was too much
            return download(self._queue(spans, step))

        with self._queueing:
            wait = halving(self.batch, attempt, "--batch", "window")
        scores = wait()
        known = [
            span.sequence.codes[span.first - span.sequence.start : span.last - span.sequence.start]
            != N_CODE
            for span in spans
        ]
        check_finite(scores[np.concatenate(known)])
        return scores

    @torch.inference_mode()
    def _queue(self, spans: Sequence[ScoredSpan], step: int) -> Tensor:
        """Queue the work of spans on the device, and return their scores there.

        The windows of a span cover consecutive bases, its cover. Covers are put one behind the
        other, each filled up to a multiple of the step, so that no base is in two of them.
        """
        window, stored = self._model.readout.window, self._model.readout.required_flank
        size, first, last = np.array([span[1:] for span in spans], np.int64).T
        owner, starts = span_windows(size, first, last, window, step)
        edges = np.searchsorted(owner, np.arange(len(spans) + 1))
        origin = starts[edges[:-1]]
        length = -(-(starts[edges[1:] - 1] + window - origin) // step) * step
        cover = np.cumsum(length) - length
        # Every cover has flanks of its own, with N past the ends of its contig.
        behind = cover + 2 * stored * np.arange(len(spans))
        codes = np.full(int(length.sum()) + 2 * stored * len(spans), N_CODE, np.uint8)
        columns = level_columns(self._model.readout.scales)
        levels = np.full((len(codes), columns), NO_VALUE, np.uint8)
        known = np.zeros(len(codes), bool)
        for span, at, begin, end in zip(
            spans,
            (behind - origin + stored).tolist(),
            (origin - stored).tolist(),
            (starts[edges[1:] - 1] + window + stored).tolist(),
            strict=True,
        ):
            sequence = span.sequence
            begin = max(begin, sequence.start)
            end = min(end, sequence.start + len(sequence.codes))
            given, there = (
                slice(begin - sequence.start, end - sequence.start),
                slice(at + begin, at + end),
            )
            codes[there] = sequence.codes[given]
            if columns and sequence.levels is not None:
                levels[there] = sequence.levels[given]
            inside = slice(at + span.first, at + span.last)
            known[inside] = codes[inside] != N_CODE
        tokens = upload(with_levels(codes_to_tokens(codes), levels), self.device)
        before = np.append(0, np.cumsum(known))
        relative = starts - origin[owner]
        holds_known = (
            before[behind[owner] + stored + relative + window]
            > before[behind[owner] + stored + relative]
        )
        relative, owner = relative[holds_known], owner[holds_known]
        sizes = pass_sizes(len(relative), self.batch, repeated=self._repeated)
        placed = np.append(relative, np.repeat(relative[-1:], sum(sizes) - len(relative)))
        owner = np.append(owner, np.repeat(owner[-1:], len(placed) - len(owner)))
        position = upload(cover[owner] + placed, self.device)
        row = upload(behind[owner] + placed, self.device)
        windows = tokens.unfold(0, window + 2 * stored, 1).movedim(-1, 1)
        means = _Means(int(length.sum()), window, step, self.device)
        done = 0
        for count in sizes:
            (scores,) = self._replay("scores", self._pass, windows[row[done : done + count]])
            means.add(scores, relative[done : done + count], position[done : done + count])
            done += count
        bases = last - first
        spans_of_bases = np.repeat(np.arange(len(spans)), bases)
        rank = np.arange(len(spans_of_bases)) - (np.cumsum(bases) - bases)[spans_of_bases]
        place = (cover + first - origin)[spans_of_bases] + rank
        unknown = upload(~known[place + (behind - cover)[spans_of_bases] + stored], self.device)
        scores = means.compute()[upload(place, self.device)]
        return torch.where(unknown, torch.nan, scores).float()

    def _pass(self, tokens: Tensor) -> tuple[Tensor, ...]:
        return (probabilities(self._model, tokens),)


class _Means:
    """Means of the scores of overlapping windows, of one cover or of several side by side.

    A base gets its scores one after the other, in the order in which their windows start, so that
    equal scores have equal means to the bit on every device.

    Args:
        length: Bases that the windows cover together, a multiple of the step.
        window: Bases of a window.
        step: Bases from one window to the next.
        device: Device that adds.
    """

    def __init__(self, length: int, window: int, step: int, device: torch.device) -> None:
        self._window, self._step = window, step
        self._sums = torch.zeros(length, dtype=torch.float64, device=device)
        self._changes = torch.zeros(length + 1, dtype=torch.int64, device=device)
        """Windows that start at a base, less those that ended before it."""

    def add(self, scores: Tensor, starts: NDArray[np.int64], position: Tensor) -> None:
        """Add windows.

        Args:
            scores: Score of every base, shape (B, window), B at least n; the rest are ignored.
            starts: First base of every window within its cover, ascending in each, shape (n,):
                multiples of the step, but for one that ends where its contig does.
            position: Its place among all bases, on the device.
        """
        count, window, step = len(starts), self._window, self._step
        scores, position = scores[:count].double(), position[:count]
        self._changes[position] += 1
        self._changes[position + window] -= 1
        at_end = starts % step > 0
        regular, parts = position, scores
        if at_end.any():
            kept = upload(np.flatnonzero(~at_end), scores.device)
            regular, parts = position[kept], scores[kept]
        blocks, parts = self._sums.view(-1, step), F.pad(parts, (0, -window % step))
        # Last parts first, since the earliest window of a base holds it in its last part.
        for part in reversed(range(parts.shape[1] // step)):
            rows = regular // step + part
            blocks.index_add_(0, rows, parts[:, part * step : (part + 1) * step])
        if at_end.any():
            # The last window of its contig, so that no two of them share a base.
            last = upload(np.flatnonzero(at_end), scores.device)
            offsets = torch.arange(window, device=scores.device)
            bases = position[last][:, None] + offsets
            self._sums.index_add_(0, bases.flatten(), scores[last].flatten())

    def compute(self) -> Tensor:
        """Return the mean of every base, float64, rounded to `PRECISION`; 0 without a window."""
        counts = self._changes[:-1].cumsum(0).clamp_min(1)
        return (self._sums / counts / PRECISION).round() * PRECISION


class PredictedRegion(NamedTuple):
    """Bases at or above the threshold, and small gaps between them; 0-based and half-open."""

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
        self, sequence: str, *, stride: int | None = None, tracks: Signals | None = None
    ) -> NDArray[np.float32] | float: ...

    @overload
    def predict(
        self, sequence: list[str], *, stride: int | None = None, tracks: list[Signals] | None = None
    ) -> list[NDArray[np.float32]] | list[float]: ...

    def predict(
        self,
        sequence: str | list[str],
        *,
        stride: int | None = None,
        tracks: Signals | list[Signals] | None = None,
    ) -> NDArray[np.float32] | float | list[NDArray[np.float32]] | list[float]:
        """Compute the probability of class 1.

        Args:
            sequence: A sequence of A C G T N of either case, or a list of them. Where bases are
                labelled it may have any length: a long one is read in overlapping windows whose
                scores are averaged, and past its ends there is N. Real flanks give better scores:
                include them, and cut the result. A sequence that gets one label needs the model's
                length.
            stride: Bases from one window to the next; None takes `WindowScorer.scan_step`.
            tracks: Values of the signal tracks that the model reads, by name, such as
                `{"dnase": values}`: one for each base, NaN where there is none, in the unit of the
                training; a list of such mappings for a list of sequences.

        Returns:
            Shape (L,), float32, one for each base, NaN for N, as a prediction scores a contig; for
            sequences with one label a float. A list of them for a list.

        Raises:
            InputError: Another letter, an empty sequence, a length that the model does not read, a
                stride outside 1 to the window, or other tracks than those that the model reads.
        """
        given, places, signals = self._listed(sequence, tracks)
        scores = self._predict(given, places, stride, signals)
        return scores[0] if isinstance(sequence, str) else scores

    def predict_regions(
        self,
        sequence: str,
        *,
        stride: int | None = None,
        threshold: float | None = None,
        min_length: int | None = None,
        merge_gap: int | None = None,
        tracks: Signals | None = None,
    ) -> list[PredictedRegion]:
        """Find the regions whose bases reach the threshold, in order, as a prediction calls them.

        Args:
            sequence: One sequence, as `predict` takes it.
            stride: Bases from one window to the next; None takes `WindowScorer.scan_step`.
            threshold: Probability from which a base is called; None takes the model's own.
            min_length: Bases of the shortest region; None takes that of the model's task.
            merge_gap: Most uncalled bases between two runs that are one region; None takes that of
                the model's task.
            tracks: Values of the signal tracks that the model reads, as `predict` takes them.

        Raises:
            InputError: As `predict`, or the model labels whole sequences.
        """
        if not self.model.labels_bases:
            raise InputError(
                self.source, None, "labels whole sequences and finds no regions", "use predict"
            )
        own = [] if tracks is None else [tracks]
        (scores,) = self._predict([sequence], ["sequence"], stride, own)
        settings = self.model.regions.changed(threshold, min_length, merge_gap)
        regions = call_regions([Stretch("", 0, scores)], settings)
        return [PredictedRegion(region.start, region.end, region.mean) for region in regions]

    @overload
    def embed(
        self,
        sequence: str,
        *,
        per: Per = "sequence",
        strands: Strands | None = None,
        tracks: Signals | None = None,
    ) -> NDArray[np.float32]: ...

    @overload
    def embed(
        self,
        sequence: list[str],
        *,
        per: Per = "sequence",
        strands: Strands | None = None,
        tracks: list[Signals] | None = None,
    ) -> list[NDArray[np.float32]]: ...

    def embed(
        self,
        sequence: str | list[str],
        *,
        per: Per = "sequence",
        strands: Strands | None = None,
        tracks: Signals | list[Signals] | None = None,
    ) -> NDArray[np.float32] | list[NDArray[np.float32]]:
        """Compute the last hidden states of the model, as `hyena-ray embed` writes them.

        Args:
            sequence: A sequence of A C G T N of either case and any length, or a list of them. Past
                its ends there is N: for embeddings within a genome use the job.
            per: `sequence` for the mean over the bases, `base` for one embedding of each.
            strands: `both` for the mean of both strands, `forward` for the given one; None takes
                those that the model was trained with.
            tracks: Values of the signal tracks that the model reads, as `predict` takes them.

        Returns:
            Shape (channels,), float32, for a sequence; (L, channels) for its bases. A list of them
            for a list.

        Raises:
            InputError: Another letter, an empty sequence, other tracks than those that the model
                reads, or a model without hidden states.
        """
        require_hidden_states(self.model, "model", self.source)
        choices = ("per", per, get_args(Per)), ("strands", strands, (*get_args(Strands), None))
        for name, value, known in choices:
            if value not in known:
                problem = f"is none of {', '.join(map(str, known))}"
                raise InputError(name, value, problem, "give one of them")
        one = isinstance(sequence, str)
        given, places, signals = self._listed(sequence, tracks)
        readout = self.model.readout
        batch = default_batch(readout, model_device(self.model))
        embeddings = []
        with Embedder(self.model, batch, strands) as embedder:
            for codes, levels in self._read(given, places, signals):
                tokens = with_levels(codes_to_tokens(codes), levels)
                cover = cover_of(0, len(codes), readout.window)
                windows = cut_cover(tokens, 0, cover, readout.window, readout.required_flank)
                embedding = embedder.embed(windows, [len(codes)], per)
                embeddings.append(embedding[0] if per == "sequence" else embedding)
        return embeddings[0] if one else embeddings

    @staticmethod
    def _listed(sequence: Any, tracks: Any) -> tuple[list[str], list[str], Any]:
        """Return one or several sequences as a list, with their places for messages, and tracks."""
        if isinstance(sequence, str):
            return [sequence], ["sequence"], [] if tracks is None else [tracks]
        remedy = "give letters, such as 'ACGT', or a list of such"
        require_type(sequence, (list, tuple), "sequence", "is neither text nor a list", remedy)
        places = [f"sequence {number}" for number in range(1, len(sequence) + 1)]
        return list(sequence), places, tracks or []

    def _read(
        self, sequences: list[str], places: list[str], tracks: Any
    ) -> list[tuple[NDArray[np.uint8], NDArray[np.uint8]]]:
        """Return base codes of sequences, shape (L,), and levels of tracks, shape (L, tracks)."""
        for sequence, place in zip(sequences, places, strict=True):
            require_type(sequence, str, place, "is no text", "give letters, such as 'ACGT'")
            validate_letters(sequence, place)
            if not sequence:
                raise InputError(place, None, "is empty", "give bases")
        if tracks and (not isinstance(tracks, list) or len(tracks) != len(sequences)):
            problem = f"not one mapping for each of {len(sequences)} sequences"
            raise InputError("tracks", None, problem, 'give a list of such as {"dnase": values}')
        return [
            (tokens_to_codes(encode(sequence)), self._levels(own, len(sequence), place))
            for sequence, own, place in zip(
                sequences, tracks or [{}] * len(sequences), places, strict=True
            )
        ]

    def _predict(
        self, sequences: list[str], places: list[str], stride: int | None, tracks: Any
    ) -> list[Any]:
        window = self.model.readout.window
        stride = self.model.scan_step if stride is None else stride
        require_type(stride, int, "stride", "is no number of bases", "give one, or None")
        if not 1 <= stride <= window:
            raise InputError("stride", stride, f"not within 1 to {window}", "give one that is")
        read = self._read(sequences, places, tracks)
        for (codes, _), place in zip(read, places, strict=True):
            if not self.model.labels_bases and len(codes) != window:
                raise InputError(
                    place, f"{len(codes)} bases", f"the model reads {window}", "give that many"
                )
        if self.model.labels_bases:
            with Scorer(self.model) as scorer:
                return [
                    scorer.score(ContigSlice(0, *one), len(one[0]), 0, len(one[0]), step=stride)
                    for one in read
                ]
        scores: list[float] = []
        device = model_device(self.model)
        batch = default_batch(self.model.readout, device)
        encoded = [with_levels(codes_to_tokens(codes), levels) for codes, levels in read]
        for first in range(0, len(encoded), batch):
            tokens = upload(np.stack(encoded[first : first + batch]), device)
            batch_scores = probabilities(self.model, tokens)[:, 0].cpu()
            check_finite(batch_scores)
            scores += batch_scores.tolist()
        return scores

    def _levels(self, values: Signals, size: int, place: str) -> NDArray[np.uint8]:
        """Return the levels of a sequence, shape (L, tracks)."""
        scales = self.model.readout.scales
        require_type(values, Mapping, f"{place}: tracks", "is no mapping", 'give {"NAME": values}')
        check_tracks(self.model, values, f"{place}: tracks", 'give {"NAME": values}')
        levels = np.full((size, level_columns(scales)), NO_VALUE, np.uint8)
        for name, given in values.items():
            own = np.asarray(given, np.float64)
            if own.shape != (size,) or np.isinf(own).any():
                problem = "holds infinite values"
                if own.shape != (size,):
                    problem = f"has the shape {own.shape}, and the sequence has {size} bases"
                raise InputError(
                    f"{place}: tracks", name, problem, "give a number for each base, or NaN"
                )
            for scale in scales:  # models of an ensemble may have a track in different columns
                if scale.name == name:
                    levels[:, scale.number] = scale.encode(own)
        return levels


def check_tracks(model: WindowScorer, given: Collection[str], place: str, remedy: str) -> None:
    """Refuse tracks other than those that a model reads.

    Args:
        model: The model.
        given: Names of the tracks that it is given.
        place: Option or argument that gives them, for the message.
        remedy: How to give one.

    Raises:
        InputError: The model reads a track that is not given, or is given one that it does not
            read.
    """
    wanted = [scale.name for scale in model.readout.scales]
    problems = [
        InputError(
            place,
            name,
            f"the model does not read that track, but {', '.join(wanted) or 'none'}",
            "leave it out",
        )
        for name in given
        if name not in wanted
    ]
    if missing := [name for name in wanted if name not in given]:
        problem = f"the model reads {', '.join(missing)}, which is not given"
        problems.append(InputError(place, None, problem, remedy))
    raise_together(problems)


def open_tracks(model: WindowScorer, texts: Sequence[str]) -> tuple[SignalTrack, ...]:
    """Give the files of a command line the scales of a model.

    Args:
        model: Model that reads them.
        texts: Texts such as `dnase=signal.bw`.

    Raises:
        InputError: A file cannot be used, or the model reads other tracks.
    """
    files = parse_tracks(texts)
    check_tracks(model, files, PLACE, REMEDY)
    tracks = []
    for scale in model.readout.scales:
        with SignalFile(scale.name, files[scale.name]) as file:
            tracks.append(SignalTrack(files[scale.name], file.sha256, scale))
    return tuple(tracks)


def load(source: str | PurePath, *, revision: str | None = None) -> SequencePredictor:
    """Load a trained model, on the GPU where there is one.

    Args:
        source: Folder of a training or a search, or `model/` in it; its URI (`s3://bucket/run`), or
            a hub id.
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
        ...     load(folder).predict("TGACGTGCGCGCGCACGTATTC").shape
        (22,)
    """
    folder = location(source)
    if not folder.is_dir():
        folder = resolve_checkpoint(source, revision, more=MODEL_FILES)
    model = load_window_model(folder).to(default_device())
    return SequencePredictor(model, str(source))

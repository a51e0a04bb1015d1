"""Embeddings of sequences: hidden states of a backbone, for every base or as their mean.

A sequence is read in windows as in training, each with the flanks of the model and as many as it
takes; together they are centred on the sequence, and none overlaps another. The embedding of a base
is the last hidden state at its own position, wherever a head reads it: the mean of both strands, or
that of the given one. The embedding of a sequence is the mean over its bases, N included.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import PurePath
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hyena_ray.dataset.tokens import N_TOKEN
from hyena_ray.errors import InputError
from hyena_ray.files import read_json
from hyena_ray.genome.signal_scale import NO_VALUE
from hyena_ray.model.backbone import HyenaDNA
from hyena_ray.model.backbone_table import BACKBONES
from hyena_ray.model.baseline_models import LetterBaseline
from hyena_ray.model.classifier import Classifier, HyenaDNAClassifier
from hyena_ray.model.configuration import TransformersFields
from hyena_ray.model.devices import arithmetic, halving, model_device, upload
from hyena_ray.model.filters import frozen_filters
from hyena_ray.model.pretrained import load_pretrained, resolve_checkpoint
from hyena_ray.model.settings import LONGEST, Per, Readout, Strands
from hyena_ray.model.transformers_classifier import load_transformers
from hyena_ray.model.window import NonFiniteError, WindowModel, reverse_complement

BACKBONE_WINDOW = 1024
"""Bases of a window of a backbone by itself, which has no readout; fewer if it reads fewer."""


class Cover(NamedTuple):
    """Bases that the windows of a sequence hold, the sequence in their middle."""

    start: int
    """First base, on the axis of the sequence's own `start`; it may be negative."""
    end: int
    """One past the last base."""


def cover_of(start: int, end: int, window: int) -> Cover:
    """Return the bases that the windows of a sequence hold.

    Args:
        start: First base of the sequence.
        end: One past the last base.
        window: Bases of a window.

    Example:
        >>> cover_of(100, 104, 10), cover_of(100, 115, 10)
        (Cover(start=97, end=107), Cover(start=98, end=118))
    """
    first = start - (-(end - start) % window) // 2
    return Cover(first, first - (-(end - start) // window) * window)


def cut_cover(
    tokens: NDArray[np.uint8], first: int, cover: Cover, window: int, flank: int
) -> NDArray[np.uint8]:
    """Cut the bases of a cover into its windows, with N where there is no base.

    Args:
        tokens: Token ids of consecutive bases, shape (n,), or (n, 1 + tracks) with levels.
        first: First of these bases, on the axis of the cover.
        cover: What the windows hold.
        window: Bases of a window.
        flank: Bases on each side of a window.

    Returns:
        Shape (windows, window + 2 * flank) or (windows, window + 2 * flank, 1 + tracks), uint8.

    Example:
        >>> cut_cover(np.array([7, 8, 9], np.uint8), 0, Cover(-1, 3), window=2, flank=1).tolist()
        [[11, 11, 7, 8], [7, 8, 9, 11]]
    """
    begin, end = cover.start - flank, cover.end + flank
    filled = np.full((end - begin, *tokens.shape[1:]), NO_VALUE, np.uint8)
    (filled if tokens.ndim == 1 else filled[:, 0])[:] = N_TOKEN
    low, high = max(begin, first), min(end, first + len(tokens))
    if low < high:
        filled[low - begin : high - begin] = tokens[low - first : high - first]
    views = np.lib.stride_tricks.sliding_window_view(filled, window + 2 * flank, axis=0)[::window]
    return np.ascontiguousarray(np.moveaxis(views, -1, 1))


def require_hidden_states(model: WindowModel, place: str, value: object) -> None:
    """Refuse a model that has no hidden states.

    Args:
        model: The model.
        place: Option or argument that gave it, for the message.
        value: What was given.

    Raises:
        InputError: It scores letters.
    """
    if isinstance(model.classifier, LetterBaseline):
        raise InputError(
            place,
            value,
            f"is a model of the kind {model.classifier.config.model_type}, whose scores are sums "
            "over letters: it has no hidden states",
            "give a model of a network, such as hyenadna, dilated_cnn or bilstm",
        )


def load_backbone(
    source: str | PurePath, revision: str | None = None, window: int | None = None
) -> WindowModel:
    """Load the backbone of a checkpoint, to embed sequences; in evaluation mode, on the CPU.

    Args:
        source: Folder of a checkpoint, its URI, or a hub id with `revision`.
        revision: Commit, tag or branch of the hub id.
        window: Bases of a window; None takes `BACKBONE_WINDOW`, or as many as the backbone reads.

    Returns:
        A model without flanks, whose head is not trained.

    Raises:
        InputError: The checkpoint cannot be used, or reads fewer bases.
    """
    # Whatever head the checkpoint has stays behind.
    headless: dict[str, Any] = {"pooling": None, "tracks": [], "head": "linear", "num_labels": 2}
    values = read_json(resolve_checkpoint(source, revision) / "config.json")
    kind = values.get("model_type") if isinstance(values, dict) else None
    if kind == TransformersFields.model_type and isinstance(values.get("network"), dict):
        kind = values["network"].get("model_type")  # a trained model of ours
    names = [name for name, backbone in BACKBONES.items() if backbone.model_type == kind]
    classifier: Classifier
    with torch.random.fork_rng(devices=[]):
        if names:
            classifier = load_transformers(names[0], source, revision, 0.0, **headless)
        else:
            backbone = load_pretrained(HyenaDNA, source, revision, **headless)
            classifier = HyenaDNAClassifier(backbone.config)
            classifier.hyena = backbone
    longest = classifier.config.max_seq_len or LONGEST
    window = min(BACKBONE_WINDOW, longest) if window is None else window
    if not 1 <= window <= longest:
        raise InputError("--window", window, f"the backbone reads 1 to {longest} bases", "lower it")
    return WindowModel(classifier, Readout(window=window, flank=0, lookahead=0)).eval()


def hidden_states(model: WindowModel, tokens: Tensor, strands: Strands) -> Tensor:
    """Compute the last hidden state of every base of windows.

    Args:
        model: A model with hidden states.
        tokens: Windows with their flanks, as `WindowScorer` takes them.
        strands: The given strand, or the mean of both.

    Returns:
        Shape (B, window, channels), float32.
    """
    given = [tokens] if strands == "forward" else [tokens, reverse_complement(tokens)]
    states = []
    for strand, own in enumerate(given):
        ids, tracks = model.strand_input(own)
        output = model.classifier(input_ids=ids, tracks=tracks)
        states.append(model.to_window(output.hidden_states[-1], strand).float())
    # Not torch.mean: a sum of two is the same in either order, to the bit.
    return states[0] if len(states) == 1 else (states[0] + states[1]) / 2


class Embedder:
    """Embeds sequences with one model, on the model's device.

    The filters of the model are computed once, so its weights must not change before `close`.

    Args:
        model: A model with hidden states, in evaluation mode.
        batch: Windows of one forward pass, halved each time that a GPU runs out of memory.
        strands: Strands to read; None takes those of the model's readout.

    Example:
        >>> from hyena_ray.dataset.tokens import encode
        >>> from hyena_ray.model.build import build_model
        >>> from hyena_ray.model.settings import LoraSettings, ModelSettings
        >>> from hyena_ray.tasks import TASKS
        >>> settings, readout = ModelSettings(d_model=8, n_layer=1), Readout(window=20, flank=32)
        >>> model = build_model(settings, readout, LoraSettings(), TASKS["zdna"], seed=0)
        >>> windows = cut_cover(encode("ACGT" * 6), 0, cover_of(0, 24, 20), 20, flank=32)
        >>> with Embedder(model.eval(), batch=2) as embedder:
        ...     embedder.embed(windows, [24], "sequence").shape
        ...     embedder.embed(windows, [24], "base").shape
        (1, 8)
        (24, 8)
    """

    def __init__(self, model: WindowModel, batch: int, strands: Strands | None = None) -> None:
        self.batch = batch
        """Windows of one forward pass, possibly halved since the embedder was made."""
        self._model = model
        self._strands: Strands = strands or model.readout.strands
        self._device = model_device(model)
        self._frozen = ExitStack()
        self._frozen.enter_context(frozen_filters(model))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Drop the filters; the embedder cannot be used afterwards."""
        self._frozen.close()

    def embed(
        self, windows: NDArray[np.uint8], lengths: list[int], per: Per
    ) -> NDArray[np.float32]:
        """Embed sequences.

        Args:
            windows: Windows of all sequences one behind the other, see `cut_cover`.
            lengths: Bases of each sequence, shape (n,).
            per: What gets an embedding.

        Returns:
            Shape (n, channels) for sequences, (sum of lengths, channels) for bases.

        Raises:
            DeviceError: A single window does not fit into the memory of the GPU.
            NonFiniteError: The model's hidden states overflow.
        """
        window = self._model.readout.window
        size = np.asarray(lengths, np.int64)
        count = -(-size // window)
        before = (count * window - size) // 2
        sequence = np.repeat(np.arange(len(size)), count * window)
        place = np.arange(len(sequence)) - np.repeat(
            (np.cumsum(count) - count) * window, count * window
        )
        inside = (place >= before[sequence]) & (place < (before + size)[sequence])

        def attempt(batch: int) -> NDArray[np.float32]:
            self.batch = batch
            if per == "base":
                return np.concatenate(
                    [
                        states[upload(inside[first:last], self._device)].cpu().numpy()
                        for first, last, states in self._states(windows, batch)
                    ]
                )
            sums: Tensor | None = None
            for first, last, states in self._states(windows, batch):
                if sums is None:
                    shape = len(size), states.shape[-1]
                    sums = torch.zeros(shape, dtype=torch.float64, device=self._device)
                kept = inside[first:last]
                owner = upload(sequence[first:last][kept], self._device)
                sums.index_add_(0, owner, states[upload(kept, self._device)].double())
            assert sums is not None, "no sequence is given"
            return (sums.cpu().numpy() / size[:, None]).astype(np.float32)

        with torch.inference_mode(), arithmetic("float32"):
            embeddings = halving(self.batch, attempt, "--batch", "window")
        if not np.isfinite(embeddings).all():
            remedy = "use another model, or train it again with a lower learning rate"
            raise NonFiniteError("model", None, "its hidden states overflow", remedy)
        return embeddings

    def _states(self, windows: NDArray[np.uint8], batch: int) -> Iterator[tuple[int, int, Tensor]]:
        """Yield first and last base of every pass, and their states, shape (bases, channels)."""
        window = self._model.readout.window
        for first in range(0, len(windows), batch):
            tokens = upload(windows[first : first + batch], self._device)
            states = hidden_states(self._model, tokens, self._strands).flatten(0, 1)
            yield first * window, first * window + len(states), states

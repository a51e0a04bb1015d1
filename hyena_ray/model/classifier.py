"""Classifiers in plain torch: what HyenaDNA and the baselines have in common, and HyenaDNA's own.

A classifier has its head in `score` and, where it labels whole sequences, the pool of their hidden
states in `pool`; `tracks` embeds what is read beside them. Everything else is its backbone.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from hyena_ray.dataset.tokens import FIRST_BASE
from hyena_ray.errors import InputError
from hyena_ray.model.backbone import HyenaBlock, HyenaDNA, check_one_input, initialise
from hyena_ray.model.convolution import ALL
from hyena_ray.model.heads import make_head, make_pool, make_track_embedding
from hyena_ray.model.input_tracks import TrackEmbedding
from hyena_ray.model.settings import PRETRAINABLE, Targets


class ClassifierOutput(NamedTuple):
    """Output of a classifier."""

    logits: Tensor
    """Float32, shape (B, L, num_labels) for bases, (B, num_labels) for sequences."""
    hidden_states: tuple[Tensor, ...]
    """Input of every layer and output of the last, each of shape (B, L, channels); empty for
    models without hidden states."""


class Classifier(nn.Module):
    """Arguments and output of all classifiers.

    Args:
        config: Sizes of the classifier, a `...Config` of configuration.py. Initial weights are
            drawn from torch's global generator.
    """

    config: Any
    score: Any  # a module whose weights depend on the head
    pool: nn.Module | None
    tracks: TrackEmbedding | None
    adapted: set[str] | None = None
    """Names of the parameters of adapters, which `apply_lora` sets."""

    @property
    def reach(self) -> int | None:
        """Bases on each side of a base that its label depends on; None where all of the input
        counts."""
        return None

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.build(config)

    @abstractmethod
    def build(self, config: Any) -> None:
        """Make the modules and draw their weights.

        Args:
            config: Sizes of the classifier.
        """

    @abstractmethod
    def initialise_module(self, module: nn.Module) -> None:
        """Draw the weights of one module; its children are left as they are.

        Args:
            module: Any module of this classifier.
        """

    @abstractmethod
    def get_input_embeddings(self) -> nn.Embedding:
        """Return the table of token embeddings.

        Raises:
            InputError: The classifier has none.
        """

    def embeddings_of_bases(self) -> Tensor:
        """Return all that `embed` can give a known base, without tracks.

        Returns:
            Embeddings of A, C, G and T, shape (4, channels); of all k-mers of bases, where these
            are the tokens.

        Raises:
            InputError: The classifier has no embeddings.
        """
        table = self.get_input_embeddings()
        bases = torch.arange(FIRST_BASE, FIRST_BASE + 4, device=next(table.parameters()).device)
        embeddings: Tensor = table(bases)
        return embeddings

    def lora_modules(self, targets: Targets) -> list[str]:
        """Return the names of the modules that get LoRA adapters.

        Args:
            targets: Which of them are wanted.

        Raises:
            InputError: The classifier has none of them.
        """
        raise InputError(
            "lora.enabled",
            True,
            "this architecture has no LoRA targets",
            f"use {', '.join(PRETRAINABLE)}, or false",
        )

    def embed(self, input_ids: Tensor, tracks: Tensor | None) -> Tensor:
        """Return what the layers read: embeddings of tokens, and of their tracks.

        Args:
            input_ids: Token ids, shape (B, L), int64.
            tracks: Tracks of the same positions, shape (B, L, C), for a classifier that reads them.

        Returns:
            Shape (B, L, channels).
        """
        embeddings: Tensor = self.get_input_embeddings()(input_ids)
        return embeddings if self.tracks is None else embeddings + self.tracks(tracks)

    def checkpoint_activations(self) -> None:
        """Recompute activations in the backward pass of training instead of keeping them.

        Raises:
            InputError: The classifier cannot.
        """
        blocks = [block for block in self.modules() if isinstance(block, HyenaBlock)]
        if not blocks:
            raise InputError(
                "training.checkpoint_activations",
                True,
                f"{self.config.model_type} does not support it",
                f"set it to false, or use {', '.join(PRETRAINABLE)}",
            )
        for block in blocks:
            block.gradient_checkpointing = True

    def forward(
        self,
        input_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        positions: slice = ALL,
        tracks: Tensor | None = None,
    ) -> ClassifierOutput:
        """Compute logits of every base, or of the whole sequence.

        Args:
            input_ids: Token ids, shape (B, L), int64.
            inputs_embeds: Result of `embed` instead of ids, shape (B, L, channels). They are taken
                to have no padding, since it cannot be seen.
            positions: Bases whose logits are wanted, and are returned alone.
            tracks: Tracks of the ids, shape (B, L, C), for a classifier whose configuration has
                `tracks`, and for no other; see input_tracks.py.

        Raises:
            InputError: Both or neither input is given, L exceeds `max_seq_len`, or `tracks` are
                missing or have no use.
        """
        check_one_input(input_ids, inputs_embeds)
        reads = bool(getattr(self.config, "tracks", ()))
        if (tracks is not None) != (reads and input_ids is not None):
            raise InputError(
                "forward",
                None,
                "tracks belong to the ids of a classifier that was built with tracks",
                "give them to such a classifier with its ids, and to no other",
            )
        if tracks is not None and input_ids is not None:
            return self._label_with_tracks(input_ids, tracks, positions)
        return self._label(input_ids, inputs_embeds, positions)

    def _label_with_tracks(
        self, input_ids: Tensor, tracks: Tensor, positions: slice
    ) -> ClassifierOutput:
        """Compute the output from ids and their tracks; padding is not seen."""
        return self._label(None, self.embed(input_ids, tracks), positions)

    @abstractmethod
    def _label(
        self, input_ids: Tensor | None, inputs_embeds: Tensor | None, positions: slice
    ) -> ClassifierOutput:
        """Compute the output from one of the inputs."""

    def _label_hidden(self, hidden: Tensor, input_ids: Tensor | None) -> Tensor:
        """Map the last hidden states (B, L, D) to float32 logits, by `pool` and `score`."""
        if self.pool is not None:
            hidden = self.pool(hidden, self._counted_tokens(hidden, input_ids))
        logits: Tensor = self.score(hidden)
        return logits.float()

    def _counted_tokens(self, hidden: Tensor, input_ids: Tensor | None) -> Tensor:
        """Return (B, L) bool, True where a token is not padding."""
        if input_ids is None or self.config.pad_token_id is None:
            return hidden.new_ones(hidden.shape[:2], dtype=torch.bool)
        counted: Tensor = input_ids != self.config.pad_token_id
        return counted


LORA_TARGETS: dict[Targets, tuple[str, ...]] = {
    "mixer": ("in_proj", "out_proj"),
    "ffn": ("fc1", "fc2"),
    "mixer+ffn": ("in_proj", "out_proj", "fc1", "fc2"),
    "short_filter": ("short_filter",),
    "embeddings": ("word_embeddings",),
}
"""HyenaDNA's modules that get adapters, by the name of the targets."""


class HyenaDNAClassifier(Classifier):
    """HyenaDNA with a head; the backbone is `hyena`.

    Bases are labelled from the hidden state of their position, sequences from the pooled ones.

    Example:
        >>> from hyena_ray.model.configuration import HyenaConfig
        >>> config = HyenaConfig(d_model=8, d_inner=16, n_layer=1, max_seq_len=64)
        >>> HyenaDNAClassifier(config)(torch.full((2, 30), 7)).logits.shape
        torch.Size([2, 30, 2])

    Reference: Bokhyan 2025, Algorithm 1.
    """

    def build(self, config: Any) -> None:
        self.config = config
        self.hyena = HyenaDNA(config)
        self.score = make_head(config, config.d_model, bias=False)
        self.pool = make_pool(config, config.d_model)
        self.tracks = make_track_embedding(config, config.d_model)
        for part in (self.score, self.pool, self.tracks):
            if part is not None:
                part.apply(self.initialise_module)

    def initialise_module(self, module: nn.Module) -> None:
        initialise(module, self.config)

    def get_input_embeddings(self) -> nn.Embedding:
        return self.hyena.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Embedding) -> None:
        """Replace the table of token embeddings.

        Args:
            value: The new table.
        """
        self.hyena.set_input_embeddings(value)

    def lora_modules(self, targets: Targets) -> list[str]:
        return [
            f"hyena.{name}"
            for name, _ in self.hyena.named_modules()
            if name.rpartition(".")[2] in LORA_TARGETS[targets]
        ]

    def _label(
        self, input_ids: Tensor | None, inputs_embeds: Tensor | None, positions: slice
    ) -> ClassifierOutput:
        read = positions
        if positions != ALL and self.config.head == "lookahead":
            read = slice(positions.start, positions.stop + self.config.lookahead)
        output = self.hyena(input_ids, inputs_embeds, read)
        logits = self._label_hidden(output.last_hidden_state, input_ids)
        if read != positions:
            logits = logits[:, : positions.stop - positions.start]
        return ClassifierOutput(logits, output.hidden_states)

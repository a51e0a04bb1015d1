"""Classifiers in plain torch: what HyenaDNA and the baselines have in common, and HyenaDNA's own.

A classifier has its head in `score` and, where it labels whole sequences, the pool of their hidden
states in `pool`; `surroundings` embeds the flank composition. Everything else is its backbone.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from hyena_ray.errors import InputError
from hyena_ray.model.backbone import HyenaBlock, HyenaDNA, check_one_input, initialise
from hyena_ray.model.convolution import ALL
from hyena_ray.model.flank_composition import CompositionEmbedding
from hyena_ray.model.heads import make_composition_embedding, make_head, make_pool


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
    surroundings: CompositionEmbedding | None
    adapted: set[str] | None = None
    """Names of the parameters of adapters, which `apply_lora` sets."""

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
                "set it to false, or use hyenadna",
            )
        for block in blocks:
            block.gradient_checkpointing = True

    def forward(
        self,
        input_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        positions: slice = ALL,
        composition: Tensor | None = None,
    ) -> ClassifierOutput:
        """Compute logits of every base, or of the whole sequence.

        Args:
            input_ids: Token ids, shape (B, L), int64.
            inputs_embeds: Embeddings instead of ids, shape (B, L, channels). They are taken to have
                no padding, since it cannot be seen.
            positions: Bases whose logits are wanted, and are returned alone.
            composition: Composition of windows and flanks, shape (B, FEATURES), for a classifier
                whose configuration has `flank_composition`, and for no other; see
                flank_composition.py.

        Raises:
            InputError: Both or neither input is given, L exceeds `max_seq_len`, or `composition` is
                missing or has no use.
        """
        check_one_input(input_ids, inputs_embeds)
        if (composition is None) != (self.surroundings is None):
            raise InputError(
                "forward",
                None,
                "composition belongs to a classifier that was built with flank_composition",
                "give it to such a classifier, and to no other",
            )
        if self.surroundings is not None:
            if inputs_embeds is None:
                inputs_embeds = self.get_input_embeddings()(input_ids)
            input_ids, inputs_embeds = None, inputs_embeds + self.surroundings(composition)
        return self._label(input_ids, inputs_embeds, positions)

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
        self.surroundings = make_composition_embedding(config, config.d_model)
        for part in (self.score, self.pool, self.surroundings):
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

"""What the baselines share: arguments, outputs, loss; and, for networks, embeddings and head."""

from __future__ import annotations

from abc import abstractmethod
from typing import NoReturn

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.modeling_outputs import TokenClassifierOutput

from hyena_ray.errors import InputError
from hyena_ray.model.baselines.configuration import BaselineConfig, NetworkConfig
from hyena_ray.model.classification import (
    Classifier,
    PositionPool,
    label_hidden,
    make_composition_embedding,
    make_head,
    make_pool,
)
from hyena_ray.model.flank_composition import ZeroInitLinear


class Baseline(Classifier, PreTrainedModel):
    """A label per base or per sequence; arguments and output as HyenaDNA's classifiers."""

    config_class: type[BaselineConfig]
    output_class = TokenClassifierOutput


class NetworkBaseline(Baseline):
    """Embeddings below and a head above what a subclass computes between them."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__(config)
        self.embedding = nn.Embedding(config.vocab_size, config.channels)

    def get_input_embeddings(self) -> nn.Module:
        return self.embedding

    def set_input_embeddings(self, value: nn.Embedding) -> None:
        self.embedding = value

    @abstractmethod
    def _states(self, embedded: Tensor) -> tuple[Tensor, ...]:
        """(B, L, channels) embeddings to hidden states (B, L, ...); the last one is labelled."""

    def _label(
        self, input_ids: Tensor | None, inputs_embeds: Tensor | None, positions: slice
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        states = self._states(self.embedding(input_ids) if inputs_embeds is None else inputs_embeds)
        return label_hidden(self, states[-1][:, positions], input_ids), states

    def _add_head(self, width: int) -> None:
        """The last line of a subclass's __init__."""
        self.score = make_head(self.config, width, bias=True)
        self.pool = make_pool(self.config, width)
        self.surroundings = make_composition_embedding(self.config, self.config.channels)
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, ZeroInitLinear):
            init.zeros_(module.weight)
            init.zeros_(module.bias)
        elif isinstance(module, nn.Conv1d):
            init.kaiming_normal_(module.weight, nonlinearity="relu")
            init.zeros_(module.bias)
        elif isinstance(module, nn.Embedding):
            init.normal_(module.weight)
        elif isinstance(module, PositionPool):
            init.ones_(module.weight)
        else:  # linear maps from a standard deviation of 0.02: a loss near log 2 at the start
            super()._init_weights(module)


class LetterBaseline(Baseline):
    """Computes from the letters themselves, without embeddings."""

    surroundings = None

    def get_input_embeddings(self) -> NoReturn:
        raise InputError(
            "model.architecture",
            self.config.model_type,
            "reads letters and has no embeddings",
            "give input_ids, or use another architecture",
        )

    @abstractmethod
    def _logits(self, input_ids: Tensor) -> Tensor:
        """(B, L) ids to logits, (B, L, C) or (B, C) float32."""

    def _label(
        self, input_ids: Tensor | None, inputs_embeds: Tensor | None, positions: slice
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        if input_ids is None:
            self.get_input_embeddings()
        logits = self._logits(input_ids)
        return (logits[:, positions] if logits.ndim == 3 else logits), ()

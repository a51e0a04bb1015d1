"""The baseline to beat: a small convolutional network that sees both sides of every base."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.modeling_outputs import TokenClassifierOutput

from hyena_ray.errors import InputError
from hyena_ray.model.configuration import DilatedCNNConfig
from hyena_ray.model.heads import token_loss


class DilatedLayer(nn.Module):
    """x + conv1(gelu(dilated(gelu(norm(x))))), (B, C, L) in and out."""

    def __init__(self, config: DilatedCNNConfig, dilation: int) -> None:
        super().__init__()
        channels, kernel = config.channels, config.kernel_size
        self.norm = nn.BatchNorm1d(channels)
        self.dilated = nn.Conv1d(channels, channels, kernel, padding="same", dilation=dilation)
        self.mix = nn.Conv1d(channels, channels, 1)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor) -> Tensor:
        added = self.mix(F.gelu(self.dilated(F.gelu(self.norm(x)))))
        result: Tensor = x + self.dropout(added)
        return result


class DilatedCNNForTokenClassification(PreTrainedModel):  # type: ignore[misc]
    """A label per base; arguments and output as `HyenaDNAForTokenClassification`."""

    config_class = DilatedCNNConfig

    def __init__(self, config: DilatedCNNConfig) -> None:
        super().__init__(config)
        self.embedding = nn.Embedding(config.vocab_size, config.channels)
        self.stem = nn.Conv1d(config.channels, config.channels, config.kernel_size, padding="same")
        self.layers = nn.ModuleList(DilatedLayer(config, d) for d in config.dilations)
        self.norm = nn.BatchNorm1d(config.channels)
        self.score = nn.Linear(config.channels, config.num_labels)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        return self.embedding

    def set_input_embeddings(self, value: nn.Embedding) -> None:
        self.embedding = value

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.Conv1d):
            init.kaiming_normal_(module.weight, nonlinearity="relu")
            init.zeros_(module.bias)
        elif isinstance(module, nn.Linear):
            init.normal_(module.weight, std=0.02)  # starts from a loss near log 2
            init.zeros_(module.bias)
        elif isinstance(module, nn.Embedding):
            init.normal_(module.weight)
        else:
            super()._init_weights(module)

    def forward(
        self,
        input_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> TokenClassifierOutput | tuple[Any, ...]:
        """As `HyenaDNAForTokenClassification.forward`; hidden states are those of the layers."""
        if (input_ids is None) == (inputs_embeds is None):
            raise InputError(
                "forward", None, "needs input_ids or inputs_embeds, not both", "give one of them"
            )
        if inputs_embeds is None:
            inputs_embeds = self.embedding(input_ids)
        x = self.stem(inputs_embeds.transpose(1, 2))
        states = [x]
        for layer in self.layers:
            x = layer(x)
            states.append(x)
        logits = self.score(F.gelu(self.norm(x)).transpose(1, 2)).float()
        if output_hidden_states is None:
            output_hidden_states = self.config.output_hidden_states
        output = TokenClassifierOutput(
            loss=None if labels is None else token_loss(logits, labels, self.config.class_weights),
            logits=logits,
            hidden_states=tuple(s.transpose(1, 2) for s in states)
            if output_hidden_states
            else None,
        )
        named = self.config.return_dict if return_dict is None else return_dict
        return output if named else output.to_tuple()

"""The baseline to beat: a small convolutional network that sees both sides of every base."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedConfig, PreTrainedModel
from transformers import initialization as init
from transformers.modeling_outputs import TokenClassifierOutput

from hyena_ray.errors import InputError
from hyena_ray.model.heads import token_loss


class DilatedCNNConfig(PreTrainedConfig):  # type: ignore[misc]
    """Sizes of the network; by default base i sees bases i - 64 to i + 64."""

    model_type = "dilated_cnn"
    causal: ClassVar[bool] = False

    vocab_size: int = 16
    """Tokens, as HyenaDNA's table has them."""
    channels: int = 64
    """Channels of every layer."""
    kernel_size: int = 9
    """Taps of every convolution; odd."""
    dilations: list[int] | tuple[int, ...] = (1, 2, 4, 8)
    """Distance of the taps, one residual layer for each."""
    dropout: float = 0.0
    """Dropout of each layer's contribution."""
    class_weights: list[float] | None = None
    """Weight of each class in the cross-entropy; None weighs all alike."""

    def __post_init__(self, **kwargs: Any) -> None:
        super().__post_init__(**kwargs)
        if self.kernel_size % 2 == 0:
            raise InputError("config: kernel_size", self.kernel_size, "not odd", "add 1")


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
        if isinstance(module, nn.Conv1d | nn.Linear):
            init.kaiming_normal_(module.weight, nonlinearity="relu")
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

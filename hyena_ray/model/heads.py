"""HyenaDNA with a head: language model, a label per base, a label per sequence."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.modeling_outputs import (
    CausalLMOutput,
    SequenceClassifierOutput,
    TokenClassifierOutput,
)

from hyena_ray.model.backbone import HyenaDNAModel, HyenaDNAPreTrainedModel, wants_dict
from hyena_ray.model.configuration import HyenaDNAConfig


class HyenaDNAWithHead(HyenaDNAPreTrainedModel):
    """Access to the embeddings below a head; the backbone is `hyena`."""

    hyena: HyenaDNAModel

    def get_input_embeddings(self) -> nn.Module:
        return self.hyena.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Embedding) -> None:
        self.hyena.set_input_embeddings(value)


class HyenaDNAForCausalLM(HyenaDNAWithHead):
    """Predicts the next token."""

    def __init__(self, config: HyenaDNAConfig) -> None:
        super().__init__(config)
        self.hyena = HyenaDNAModel(config)
        self.lm_head = nn.Linear(config.d_model, config.padded_vocab_size, bias=False)
        self.post_init()

    def get_output_embeddings(self) -> nn.Module:
        return self.lm_head

    def set_output_embeddings(self, value: nn.Linear) -> None:
        self.lm_head = value

    def forward(
        self,
        input_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> CausalLMOutput | tuple[Any, ...]:
        """As `HyenaDNAModel.forward`, with `logits` (B, L, padded vocabulary) float32.

        Args:
            labels: (B, L) token ids; position i is compared with labels[i + 1]; -100 is ignored.
        """
        hidden = self.hyena(input_ids, inputs_embeds, output_hidden_states, return_dict=True)
        logits = self.lm_head(hidden.last_hidden_state).float()
        loss = None
        if labels is not None:
            loss = F.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten().long())
        output = CausalLMOutput(loss=loss, logits=logits, hidden_states=hidden.hidden_states)
        return output if wants_dict(self.config, return_dict) else output.to_tuple()


class HyenaDNAForTokenClassification(HyenaDNAWithHead):
    """One label per position, from the hidden state of that position.

    Source: Algorithm 1 of the study.
    """

    def __init__(self, config: HyenaDNAConfig, num_labels: int | None = None) -> None:
        config = with_labels(config, num_labels)
        super().__init__(config)
        self.num_labels = config.num_labels
        self.hyena = HyenaDNAModel(config)
        self.score = nn.Linear(config.d_model, config.num_labels, bias=False)
        self.post_init()

    def forward(
        self,
        input_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
        attention_mask: Tensor | None = None,
        output_attentions: bool | None = None,
    ) -> TokenClassifierOutput | tuple[Any, ...]:
        """As `HyenaDNAModel.forward`, with `logits` (B, L, num_labels) float32.

        Args:
            labels: (B, L) class of each position, -100 is ignored; any integer dtype. The loss is
                the cross-entropy weighted by `config.class_weights`.
            attention_mask: not used, as published; peft and Trainer pass it on.
            output_attentions: not used, likewise; there is no attention.
        """
        hidden = self.hyena(input_ids, inputs_embeds, output_hidden_states, return_dict=True)
        logits = self.score(hidden.last_hidden_state).float()
        loss = None if labels is None else token_loss(logits, labels, self.config.class_weights)
        output = TokenClassifierOutput(loss=loss, logits=logits, hidden_states=hidden.hidden_states)
        return output if wants_dict(self.config, return_dict) else output.to_tuple()


class HyenaDNAForSequenceClassification(HyenaDNAWithHead):
    """One label per sequence, from the hidden state of its last token that is not padding."""

    def __init__(self, config: HyenaDNAConfig, num_labels: int | None = None) -> None:
        config = with_labels(config, num_labels)
        super().__init__(config)
        self.num_labels = config.num_labels
        self.hyena = HyenaDNAModel(config)
        self.score = nn.Linear(config.d_model, config.num_labels, bias=False)
        self.post_init()

    def forward(
        self,
        input_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
        attention_mask: Tensor | None = None,
        output_attentions: bool | None = None,
    ) -> SequenceClassifierOutput | tuple[Any, ...]:
        """As `HyenaDNAModel.forward`, with `logits` (B, num_labels) float32.

        Args:
            inputs_embeds: are taken to have no padding on the right, since it cannot be told.
            labels: (B,) classes; numbers when there is one label (mean squared error); or
                (B, num_labels) float, several classes at once (binary cross-entropy).
            attention_mask: not used, as published; peft and Trainer pass it on.
            output_attentions: not used, likewise; there is no attention.
        """
        hidden = self.hyena(input_ids, inputs_embeds, output_hidden_states, return_dict=True)
        last_hidden = hidden.last_hidden_state
        last = torch.full((len(last_hidden),), last_hidden.shape[1] - 1, device=last_hidden.device)
        if input_ids is not None and self.config.pad_token_id is not None:
            positions = torch.arange(input_ids.shape[1], device=last.device)
            last = (positions * (input_ids != self.config.pad_token_id)).amax(1)
        rows = torch.arange(len(last), device=last.device)
        logits = self.score(last_hidden[rows, last]).float()
        loss = None if labels is None else self._loss(logits, labels)
        output = SequenceClassifierOutput(
            loss=loss, logits=logits, hidden_states=hidden.hidden_states
        )
        return output if wants_dict(self.config, return_dict) else output.to_tuple()

    def _loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        if self.num_labels == 1:
            return F.mse_loss(logits[:, 0], labels.flatten().float())
        if labels.is_floating_point():
            return F.binary_cross_entropy_with_logits(logits, labels.float())
        return token_loss(logits, labels, self.config.class_weights)


def with_labels(config: HyenaDNAConfig, num_labels: int | None) -> HyenaDNAConfig:
    """The configuration with `num_labels`, which goes before the one in it unless None."""
    if num_labels is None or num_labels == config.num_labels:
        return config
    config = copy.deepcopy(config)  # the caller may go on using theirs
    config.num_labels = num_labels
    return config


def token_loss(logits: Tensor, labels: Tensor, class_weights: list[float] | None) -> Tensor:
    """Class-weighted mean cross-entropy of (..., C) logits with (...) labels; -100 is ignored."""
    weight = None if class_weights is None else logits.new_tensor(class_weights)
    return F.cross_entropy(
        logits.flatten(0, -2), labels.flatten().long(), weight=weight, ignore_index=-100
    )

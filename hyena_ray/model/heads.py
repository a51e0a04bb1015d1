"""HyenaDNA with a head: language model, a label per base, a label per sequence."""

from __future__ import annotations

import copy
from typing import Any, ClassVar

from torch import Tensor, nn
from torch.nn import functional as F
from transformers.modeling_outputs import (
    CausalLMOutput,
    SequenceClassifierOutput,
    TokenClassifierOutput,
)

from hyena_ray.model.arguments import ALL, wants_dict
from hyena_ray.model.backbone import HyenaDNAModel, HyenaDNAPreTrainedModel
from hyena_ray.model.classification import (
    Classifier,
    label_hidden,
    make_composition_embedding,
    make_head,
    make_pool,
)
from hyena_ray.model.configuration import HyenaDNAConfig
from hyena_ray.model.settings import Pooling


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


class HyenaDNAClassifier(Classifier, HyenaDNAWithHead):
    """What the two classifiers have in common."""

    pooling: ClassVar[Pooling | None]
    """Pooling where the configuration says none."""

    def __init__(self, config: HyenaDNAConfig, num_labels: int | None = None) -> None:
        pooling = None if self.pooling is None else config.pooling or self.pooling
        config = with_labels(config, num_labels, pooling)
        super().__init__(config)
        self.num_labels = config.num_labels
        self.hyena = HyenaDNAModel(config)
        self.score = make_head(config, config.d_model, bias=False)
        self.pool = make_pool(config, config.d_model)
        self.surroundings = make_composition_embedding(config, config.d_model)
        self.post_init()

    def _label(
        self, input_ids: Tensor | None, inputs_embeds: Tensor | None, positions: slice
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        read = positions
        if positions != ALL and self.config.head == "lookahead":
            read = slice(positions.start, positions.stop + self.config.lookahead)
        hidden = self.hyena(
            input_ids, inputs_embeds, output_hidden_states=True, return_dict=True, positions=read
        )
        logits = label_hidden(self, hidden.last_hidden_state, input_ids)
        if read != positions:
            logits = logits[:, : positions.stop - positions.start]
        return logits, hidden.hidden_states


class HyenaDNAForTokenClassification(HyenaDNAClassifier):
    """One label per position, from the hidden state of that position.

    Source: Algorithm 1 of the original work.
    """

    pooling = None
    output_class = TokenClassifierOutput


class HyenaDNAForSequenceClassification(HyenaDNAClassifier):
    """One label per sequence; as published from its last token that is not padding."""

    pooling = "last"
    output_class = SequenceClassifierOutput


def with_labels(
    config: HyenaDNAConfig, num_labels: int | None, pooling: Pooling | None
) -> HyenaDNAConfig:
    """The configuration with `num_labels`, unless None, and `pooling`."""
    config = copy.deepcopy(config)  # the caller may go on using theirs
    config.num_labels = config.num_labels if num_labels is None else num_labels
    config.pooling = pooling
    return config

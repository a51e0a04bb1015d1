"""The backbone of HyenaDNA: embeddings, pre-norm blocks of mixer and MLP, a last LayerNorm."""

from __future__ import annotations

import logging
import math
from dataclasses import fields
from pathlib import PurePath
from typing import Any, Self

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import BaseModelOutputWithNoAttention

from hyena_ray.errors import InputError
from hyena_ray.model.arguments import ALL, check_one_input, wants_dict
from hyena_ray.model.checkpoint import (
    complete_weights,
    quiet_transformers,
    read_config,
    read_weights,
    resolve_checkpoint,
)
from hyena_ray.model.classification import HEAD_PREFIXES, PositionPool
from hyena_ray.model.configuration import HyenaDNAConfig
from hyena_ray.model.filters import DecayWindow, HyenaFilter, Sine, TimeFeatures
from hyena_ray.model.flank_composition import ZeroInitLinear
from hyena_ray.model.mlp import HyenaMLP
from hyena_ray.model.operator import HyenaOperator, ResidualLinear, TokenLookup

logger = logging.getLogger(__name__)

_CONFIG_KEYS = {field.name for field in fields(HyenaDNAConfig)} - {"dtype"} | {"num_labels"}


class HyenaBlock(GradientCheckpointingLayer):
    """x + mixer(norm1(x)), then x + mlp(norm2(x)); (L, B, D) float32 in and out.

    Everything after the long convolution is computed at `positions` alone. Given the `lookup` that
    x came from, the mixer projects the rows of its table instead of every position.
    """

    def __init__(self, config: HyenaDNAConfig) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(config.d_model)
        self.mixer = HyenaOperator(config)
        self.norm2 = nn.LayerNorm(config.d_model)
        self.mlp = HyenaMLP(config)

    def forward(
        self, residual: Tensor, positions: slice = ALL, lookup: TokenLookup | None = None
    ) -> Tensor:
        if lookup is not None and self.mixer.supports_token_lookup:
            normed = TokenLookup(lookup.ids, _normed(self.norm1, lookup.table))
            mixed = self.mixer.forward_from_lookup(normed, positions)
        else:
            mixed = self.mixer(_normed(self.norm1, residual), positions)
        residual = residual[positions] + mixed
        result: Tensor = residual + self.mlp(_normed(self.norm2, residual))
        return result


class HyenaEmbeddings(nn.Module):
    """The table of token embeddings; there are no position embeddings."""

    def __init__(self, config: HyenaDNAConfig) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(config.padded_vocab_size, config.d_model)


class HyenaBackbone(nn.Module):
    """Everything between tokens and the last hidden state."""

    def __init__(self, config: HyenaDNAConfig) -> None:
        super().__init__()
        self.embeddings = HyenaEmbeddings(config)
        self.layers = nn.ModuleList(HyenaBlock(config) for _ in range(config.n_layer))
        self.ln_f = nn.LayerNorm(config.d_model, eps=config.layer_norm_epsilon)

    def forward(
        self, embedded: Tensor, positions: slice = ALL, lookup: TokenLookup | None = None
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Run the layers.

        Args:
            embedded: (B, L, D).
            positions: whose last hidden state is wanted.
            lookup: The table and row numbers that `embedded` came from.

        Returns:
            The last hidden state (B, P, D), and what went into each layer and came out of the
            last two parts: n_layer + 2 tensors (B, L, D), as published, the last two (B, P, D).
        """
        # Time-major inside; see operator.py. The residual stream stays in float32 or better.
        residual = embedded.transpose(0, 1)
        residual = residual.to(torch.promote_types(residual.dtype, torch.float32)).contiguous()
        states = [residual]
        for number, layer in enumerate(self.layers, start=1):
            last = number == len(self.layers)
            residual = layer(residual, positions if last else ALL, lookup)
            lookup = None
            states.append(residual)
        states.append(_normed(self.ln_f, residual))
        return states[-1].transpose(0, 1), tuple(state.transpose(0, 1) for state in states)


class HyenaDNAPreTrainedModel(PreTrainedModel):
    """Loading, saving and initial weights, common to HyenaDNA with any head."""

    config_class = HyenaDNAConfig
    base_model_prefix = "hyena"
    _no_split_modules = ("HyenaBlock",)
    supports_gradient_checkpointing = True
    # Rounded filters are other filters; see filters.py.
    _keep_in_fp32_modules_strict = ("filter_fn",)

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | PurePath,
        *arguments: Any,
        config: HyenaDNAConfig | None = None,
        revision: str | None = None,
        **options: Any,
    ) -> Self:
        """Load a checkpoint of any published layout; see checkpoint.py. Of a head that it lacks
        the weights are drawn, and a line of the log says so.

        Args:
            pretrained_model_name_or_path: a folder, or a hub id with `revision`.
            arguments: for the class, as transformers passes them on.
            config: goes before the checkpoint's own.
            revision: commit of the hub id.
            options: values of the configuration (`num_labels=3`), and what transformers'
                `from_pretrained` takes (`dtype`).

        Raises:
            InputError: the checkpoint cannot be used.
        """
        folder = resolve_checkpoint(pretrained_model_name_or_path, revision)
        if config is None:
            of_config = {key: options.pop(key) for key in [*options] if key in _CONFIG_KEYS}
            config = read_config(folder, **of_config)
        found = read_weights(folder)
        with torch.device("meta"):
            empty = cls(config, *arguments).state_dict()
        shapes = {name.removeprefix("hyena."): tensor.shape for name, tensor in empty.items()}
        absent = tuple(of for of in HEAD_PREFIXES if not any(name.startswith(of) for name in found))
        untrained = {name for name in shapes if name.startswith(absent)}
        if untrained:
            parts = ", ".join(sorted({name.split(".")[0] for name in untrained}))
            said = "%s: holds no weights of a head (%s), which is to be trained"
            logger.info(said, pretrained_model_name_or_path, parts)
        shapes = {name: shape for name, shape in shapes.items() if name not in untrained}
        weights = complete_weights(found, shapes, folder)
        named = {name: weights.get(name.removeprefix("hyena.")) for name in empty}
        with quiet_transformers():
            loaded: Self = super().from_pretrained(
                None,
                *arguments,
                config=config,
                state_dict={name: value for name, value in named.items() if value is not None},
                **options,
            )
        return loaded

    def enable_input_require_grads(self) -> None:
        """Nothing: checkpointing is not reentrant here, so it needs no gradient at the embeddings,
        which would send the backward pass through a frozen backbone."""

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """Initial weights as published, or torch's own where `initializer_range` is None."""
        deviation = self.config.initializer_range
        if isinstance(module, ZeroInitLinear):
            init.zeros_(module.weight)
            init.zeros_(module.bias)
        elif isinstance(module, nn.Linear):
            bound = 1 / math.sqrt(module.in_features)
            if deviation is None:
                init.uniform_(module.weight, -bound, bound)
            elif isinstance(module, ResidualLinear):
                # After GPT-2: the residual stream sums up 2 n_layer such terms.
                init.normal_(module.weight, std=deviation / math.sqrt(2 * self.config.n_layer))
            else:
                init.normal_(module.weight, std=deviation)
            if module.bias is not None and deviation is None:
                init.uniform_(module.bias, -bound, bound)
            elif module.bias is not None:
                init.zeros_(module.bias)
        elif isinstance(module, nn.Embedding):
            init.normal_(module.weight, std=1.0 if deviation is None else deviation)
        elif isinstance(module, nn.LayerNorm):
            init.ones_(module.weight)
            init.zeros_(module.bias)
        elif isinstance(module, nn.Conv1d):
            bound = 1 / math.sqrt(module.kernel_size[0])
            init.uniform_(module.weight, -bound, bound)
            init.uniform_(module.bias, -bound, bound)
        elif isinstance(module, PositionPool):
            init.ones_(module.weight)
        elif isinstance(module, HyenaFilter):
            init.normal_(module.bias)
        elif isinstance(module, Sine):
            init.constant_(module.freq, module.initial)
        elif isinstance(module, TimeFeatures):
            t, z = module.initial()
            init.copy_(module.t, t)
            init.copy_(module.z, z)
        elif isinstance(module, DecayWindow):
            init.copy_(module.deltas, module.initial())


class HyenaDNAModel(HyenaDNAPreTrainedModel):
    """HyenaDNA without a head."""

    def __init__(self, config: HyenaDNAConfig) -> None:
        super().__init__(config)
        self.backbone = HyenaBackbone(config)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        return self.backbone.embeddings.word_embeddings

    def set_input_embeddings(self, value: nn.Embedding) -> None:
        self.backbone.embeddings.word_embeddings = value

    def forward(
        self,
        input_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
        positions: slice = ALL,
    ) -> BaseModelOutputWithNoAttention | tuple[Any, ...]:
        """Compute the last hidden state.

        Args:
            input_ids: (B, L) int64 token ids.
            inputs_embeds: (B, L, d_model), instead of `input_ids`.
            output_hidden_states: also return the n_layer + 2 intermediate states; None follows
                the configuration.
            return_dict: False returns a tuple; None follows the configuration.
            positions: whose last hidden state, and the one below its norm, is wanted.

        Raises:
            InputError: both or neither input is given, or L exceeds `max_seq_len`.
        """
        check_one_input(input_ids, inputs_embeds)
        embedding = self.get_input_embeddings()
        if inputs_embeds is None:
            inputs_embeds = embedding(input_ids)
        vocabulary = torch.arange(self.config.padded_vocab_size, device=inputs_embeds.device)
        lookup = None if input_ids is None else TokenLookup(input_ids.T, embedding(vocabulary))
        length, limit = inputs_embeds.shape[1], self.config.max_seq_len
        if length > limit:
            raise InputError(
                "input length", length, f"above max_seq_len {limit}", "give shorter windows"
            )
        last, states = self.backbone(inputs_embeds, positions, lookup)
        if output_hidden_states is None:
            output_hidden_states = self.config.output_hidden_states
        output = BaseModelOutputWithNoAttention(
            last_hidden_state=last, hidden_states=states if output_hidden_states else None
        )
        return output if wants_dict(self.config, return_dict) else output.to_tuple()


def _normed(norm: nn.LayerNorm, residual: Tensor) -> Tensor:
    result: Tensor = norm(residual.to(norm.weight.dtype))
    return result

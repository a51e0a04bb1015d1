"""HyenaDNA in plain torch: embeddings, pre-norm blocks of mixer and MLP, a last LayerNorm.

Names of weights are those of the published Hugging Face layout.
"""

from __future__ import annotations

import math
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import init
from torch.utils.checkpoint import checkpoint

from hyena_ray.errors import InputError
from hyena_ray.model.configuration import HyenaFields
from hyena_ray.model.convolution import ALL
from hyena_ray.model.filters import DecayWindow, HyenaFilter, Sine, TimeFeatures
from hyena_ray.model.heads import PositionPool
from hyena_ray.model.input_tracks import ZeroInitLinear
from hyena_ray.model.mlp import HyenaMLP
from hyena_ray.model.operator import HyenaOperator, ResidualLinear, TokenLookup


class BackboneOutput(NamedTuple):
    """Hidden states of a backbone."""

    last_hidden_state: Tensor
    """Shape (B, P, D), for the positions that were asked for."""
    hidden_states: tuple[Tensor, ...]
    """Input of every layer, output of the last, and the same after the last LayerNorm: n_layer + 2
    tensors of shape (B, L, D), as published; the last two have shape (B, P, D)."""


class LanguageModelOutput(NamedTuple):
    """Output of a language model."""

    logits: Tensor
    """Logits of the next token, shape (B, L, padded vocabulary), float32."""
    hidden_states: tuple[Tensor, ...]
    """As `BackboneOutput.hidden_states`."""


class HyenaBlock(nn.Module):
    """x + mixer(norm1(x)), then x + mlp(norm2(x)); (L, B, D) float32 in and out.

    Everything after the long convolution is computed at `positions` alone. Given the `lookup` that
    x came from, the mixer projects the rows of its table instead of every position.

    Args:
        config: Sizes of the model.
    """

    # The name by which transformers, too, finds the modules that can do it.
    gradient_checkpointing = False
    """Whether activations are recomputed in the backward pass of training."""

    def __init__(self, config: HyenaFields) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(config.d_model)
        self.mixer = HyenaOperator(config)
        self.norm2 = nn.LayerNorm(config.d_model)
        self.mlp = HyenaMLP(config)

    def forward(
        self, residual: Tensor, positions: slice = ALL, lookup: TokenLookup | None = None
    ) -> Tensor:
        """Compute the residual stream after this block.

        Args:
            residual: The stream before it, shape (L, B, D).
            positions: Positions whose result is wanted.
            lookup: The table and row numbers that `residual` came from, if it did.

        Returns:
            Shape (P, B, D).
        """
        if self.gradient_checkpointing and self.training:
            result: Tensor = checkpoint(
                self._compute, residual, positions, lookup, use_reentrant=False
            )
            return result
        return self._compute(residual, positions, lookup)

    def _compute(self, residual: Tensor, positions: slice, lookup: TokenLookup | None) -> Tensor:
        if lookup is not None and self.mixer.supports_token_lookup:
            normed = TokenLookup(lookup.ids, _normed(self.norm1, lookup.table))
            mixed = self.mixer.forward_from_lookup(normed, positions)
        else:
            mixed = self.mixer(_normed(self.norm1, residual), positions)
        residual = residual[positions] + mixed
        result: Tensor = residual + self.mlp(_normed(self.norm2, residual))
        return result


class HyenaEmbeddings(nn.Module):
    """The table of token embeddings; there are no position embeddings.

    Args:
        config: Sizes of the model.
    """

    def __init__(self, config: HyenaFields) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(config.padded_vocab_size, config.d_model)


class HyenaBackbone(nn.Module):
    """Everything between tokens and the last hidden state.

    Args:
        config: Sizes of the model.
    """

    def __init__(self, config: HyenaFields) -> None:
        super().__init__()
        self.embeddings = HyenaEmbeddings(config)
        self.layers = nn.ModuleList(HyenaBlock(config) for _ in range(config.n_layer))
        self.ln_f = nn.LayerNorm(config.d_model, eps=config.layer_norm_epsilon)

    def forward(
        self, embedded: Tensor, positions: slice = ALL, lookup: TokenLookup | None = None
    ) -> BackboneOutput:
        """Run the layers.

        Args:
            embedded: Token embeddings, shape (B, L, D).
            positions: Positions whose last hidden state is wanted.
            lookup: The table and row numbers that `embedded` came from.
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
        return BackboneOutput(
            states[-1].transpose(0, 1), tuple(state.transpose(0, 1) for state in states)
        )


class HyenaDNA(nn.Module):
    """HyenaDNA without a head.

    Args:
        config: Sizes of the model. Initial weights are drawn from torch's global generator.

    Example:
        >>> from hyena_ray.model.configuration import HyenaConfig
        >>> model = HyenaDNA(HyenaConfig(d_model=8, d_inner=16, n_layer=1, max_seq_len=64))
        >>> model(torch.full((2, 30), 7)).last_hidden_state.shape
        torch.Size([2, 30, 8])
    """

    def __init__(self, config: HyenaFields) -> None:
        super().__init__()
        self.build(config)

    def build(self, config: HyenaFields) -> None:
        """Make the modules and draw their weights.

        Args:
            config: Sizes of the model.
        """
        self.config = config
        self.backbone = HyenaBackbone(config)
        self.backbone.apply(partial(initialise, config=config))

    def get_input_embeddings(self) -> nn.Embedding:
        """Return the table of token embeddings."""
        return self.backbone.embeddings.word_embeddings

    def set_input_embeddings(self, value: nn.Embedding) -> None:
        """Replace the table of token embeddings.

        Args:
            value: The new table.
        """
        self.backbone.embeddings.word_embeddings = value

    def forward(
        self,
        input_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        positions: slice = ALL,
    ) -> BackboneOutput:
        """Compute hidden states.

        Args:
            input_ids: Token ids, shape (B, L), int64.
            inputs_embeds: Embeddings instead of ids, shape (B, L, d_model).
            positions: Positions whose last hidden state, and the one below its norm, is wanted.

        Raises:
            InputError: Both or neither input is given, or L exceeds `max_seq_len`.
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
        output: BackboneOutput = self.backbone(inputs_embeds, positions, lookup)
        return output


class HyenaDNALanguageModel(nn.Module):
    """HyenaDNA that predicts the next token.

    Args:
        config: Sizes of the model. Initial weights are drawn from torch's global generator.
    """

    def __init__(self, config: HyenaFields) -> None:
        super().__init__()
        self.build(config)

    def build(self, config: HyenaFields) -> None:
        """Make the modules and draw their weights.

        Args:
            config: Sizes of the model.
        """
        self.config = config
        self.hyena = HyenaDNA(config)
        self.lm_head = nn.Linear(config.d_model, config.padded_vocab_size, bias=False)
        self.lm_head.apply(partial(initialise, config=config))

    def get_input_embeddings(self) -> nn.Embedding:
        """Return the table of token embeddings."""
        return self.hyena.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Embedding) -> None:
        """Replace the table of token embeddings.

        Args:
            value: The new table.
        """
        self.hyena.set_input_embeddings(value)

    def forward(
        self, input_ids: Tensor | None = None, inputs_embeds: Tensor | None = None
    ) -> LanguageModelOutput:
        """Compute the logits of the next token.

        Args:
            input_ids: Token ids, shape (B, L), int64.
            inputs_embeds: Embeddings instead of ids, shape (B, L, d_model).

        Raises:
            InputError: Both or neither input is given, or L exceeds `max_seq_len`.
        """
        output = self.hyena(input_ids, inputs_embeds)
        logits = self.lm_head(output.last_hidden_state).float()
        return LanguageModelOutput(logits, output.hidden_states)


@torch.no_grad()
def initialise(module: nn.Module, config: HyenaFields) -> None:
    """Draw the weights of one module: as published, or torch's own without `initializer_range`.

    Args:
        module: A module of HyenaDNA or of its head; its children are left as they are.
        config: Configuration of the model that it belongs to.
    """
    deviation = config.initializer_range
    if isinstance(module, ZeroInitLinear):
        init.zeros_(module.weight)
        init.zeros_(module.bias)
    elif isinstance(module, nn.Linear):
        bound = 1 / math.sqrt(module.in_features)
        if deviation is None:
            init.uniform_(module.weight, -bound, bound)
        elif isinstance(module, ResidualLinear):
            # After GPT-2: the residual stream sums up 2 n_layer such terms.
            init.normal_(module.weight, std=deviation / math.sqrt(2 * config.n_layer))
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
        if module.bias is not None:
            init.uniform_(module.bias, -bound, bound)
    elif isinstance(module, PositionPool):
        init.ones_(module.weight)
    elif isinstance(module, HyenaFilter):
        init.normal_(module.bias)
    elif isinstance(module, Sine):
        init.constant_(module.freq, module.initial)
    elif isinstance(module, TimeFeatures):
        t, z = module.initial()
        module.t.copy_(t)
        module.z.copy_(z)
    elif isinstance(module, DecayWindow):
        module.deltas.copy_(module.initial())


def check_one_input(input_ids: Tensor | None, inputs_embeds: Tensor | None) -> None:
    """Refuse to compute from both inputs or from none.

    Args:
        input_ids: Token ids, or None.
        inputs_embeds: Their embeddings, or None.

    Raises:
        InputError: Both or neither is given.
    """
    if (input_ids is None) == (inputs_embeds is None):
        raise InputError(
            "forward", None, "needs input_ids or inputs_embeds, not both", "give one of them"
        )


def _normed(norm: nn.LayerNorm, residual: Tensor) -> Tensor:
    result: Tensor = norm(residual.to(norm.weight.dtype))
    return result

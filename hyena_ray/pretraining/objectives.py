"""What a backbone is trained to predict. Both objectives give (B, L, V) logits of the tokens that
`stream.Batch.targets` has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hyena_ray.dataset.tokens import IGNORED
from hyena_ray.errors import InputError
from hyena_ray.files import atomic_folder, write_json
from hyena_ray.model.build import time_scale
from hyena_ray.model.checkpoint import quiet_transformers
from hyena_ray.model.classification import LookaheadHead
from hyena_ray.model.configuration import HyenaDNAConfig
from hyena_ray.model.heads import HyenaDNAForCausalLM
from hyena_ray.model.provenance import PROVENANCE, Provenance
from hyena_ray.pretraining.settings import PretrainSettings
from hyena_ray.storage import AnyPath

SPECIAL_TOKENS = 2
"""Tokens beside the bases for which the published models have room in `max_seq_len`."""


class NextBase(nn.Module):
    """p(x[i+1] | x[0..i]) = softmax(W h[i]): h the last hidden states of the causal backbone, W the
    language-model head.

    Source: Nguyen et al. 2023, section 3.
    """

    def __init__(self, model: HyenaDNAForCausalLM) -> None:
        super().__init__()
        self.model = model

    def forward(self, inputs: Tensor) -> Tensor:
        """(B, L) int64 tokens to (B, L, V) logits of the next one."""
        logits: Tensor = self.model(inputs).logits
        return logits


class MaskedBases(nn.Module):
    """p(x[i] | y) = softmax(g(h[i], sum over d = 0 .. k of c[d] * h[i + d])), y being x with the
    masked bases replaced: h[i + d] has seen y[0..i + d], so that with lookahead k base i is
    predicted from all bases to its left and k to its right, and from itself where y shows it.

    g and c are the head that reads labels of bases in fine-tuning (`LookaheadHead`), which came
    further there than exchanging strands did (RESULTS.md, "Both sides"). It has no place among the
    published weights, and is not kept.
    """

    def __init__(self, model: HyenaDNAForCausalLM, lookahead: int) -> None:
        super().__init__()
        self.hyena = model.hyena
        config = model.config
        self.head = LookaheadHead(config.d_model, lookahead, config.padded_vocab_size, dropout=0.0)

    def forward(self, inputs: Tensor) -> Tensor:
        """(B, L) int64 tokens to (B, L, V) logits of the token that stands at each position."""
        hidden = self.hyena(inputs, return_dict=True).last_hidden_state
        logits: Tensor = self.head(hidden).float()
        return logits


Model = NextBase | MaskedBases


def new_objective(settings: PretrainSettings) -> Model:
    """The untrained model of a run, on the CPU; torch's global generator is left as it was.

    Raises:
        InputError: the weights to go on from cannot be used, or are too small for the windows.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.training.seed)
        model = _backbone(settings)
        if settings.objective == "masked":
            return MaskedBases(model, settings.masking.lookahead)
        return NextBase(model)


def _backbone(settings: PretrainSettings) -> HyenaDNAForCausalLM:
    chosen = settings.model
    if chosen.backbone is not None:
        model = HyenaDNAForCausalLM.from_pretrained(chosen.backbone, revision=chosen.revision)
        _check_holds(settings, model.config.max_seq_len, f"model.backbone: {chosen.backbone}")
        return model
    length = chosen.max_seq_len or settings.longest + SPECIAL_TOKENS
    _check_holds(settings, length, "model")
    config = HyenaDNAConfig(
        d_model=chosen.d_model,
        d_inner=4 * chosen.d_model,
        n_layer=chosen.n_layer,
        initializer_range=chosen.initializer_range,
        **time_scale(chosen.filters, length),
    )
    return HyenaDNAForCausalLM(config)


def _check_holds(settings: PretrainSettings, max_seq_len: int, place: str) -> None:
    if max_seq_len < settings.longest:
        raise InputError(
            f"{place}: max_seq_len",
            max_seq_len,
            f"below the longest window of {settings.longest} bases",
            "lower training.lengths, or take a model of another size",
        )


def summed_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy in nats, summed over the targets that are not `IGNORED`.

    Args:
        logits: (B, L, V) float.
        targets: (B, L) integer.
    """
    return F.cross_entropy(
        logits.flatten(0, 1).float(),
        targets.flatten().long(),
        ignore_index=IGNORED,
        reduction="sum",
    )


def save_backbone(model: Model, folder: AnyPath, provenance: Provenance) -> None:
    """Write config.json, model.safetensors and what the weights have seen, whole or not at all.

    The names are those of the published Hugging Face layout, with the language-model head where the
    objective trained one. A backbone that is there is replaced.
    """
    with atomic_folder(folder, last=PROVENANCE, replace=True) as temporary:
        with quiet_transformers():
            if isinstance(model, NextBase):
                model.model.save_pretrained(temporary)
            else:
                _save_headless(model, temporary)
        write_json(temporary / PROVENANCE, provenance.model_dump(mode="json"))


def _save_headless(model: MaskedBases, folder: Path) -> None:
    """As a language model without its head: `HyenaDNAModel` alone has other names."""
    whole = HyenaDNAForCausalLM(model.hyena.config)
    whole.hyena = model.hyena
    weights: dict[str, Any] = whole.state_dict()
    kept = {name: value for name, value in weights.items() if name.startswith("hyena.")}
    whole.save_pretrained(folder, state_dict=kept)

"""HyenaDNA in plain PyTorch after the design of the published classes, as a peer for our speed.

Batch-major activations, every linear map an nn.Linear, the short filter an nn.Conv1d, the long
convolution by FFT of twice the length, filters made anew in every pass. It takes the weights of
ours, so that both compute the same.
Source: Poli et al. 2023; Nguyen et al. 2023.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hyena_ray.model.classifier import Classifier
from hyena_ray.model.configuration import HyenaFields
from hyena_ray.model.filters import HyenaFilter
from hyena_ray.model.settings import Precision


@contextmanager
def matrix_products(precision: Precision) -> Iterator[None]:
    """Multiply float32 matrices in TF32 inside the block if the precision is `tf32`, else exactly.

    All other settings of torch keep their defaults, so a peer does not pay for determinism.
    """
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


class PlainMixer(nn.Module):
    def __init__(self, config: HyenaFields) -> None:
        super().__init__()
        width = 3 * config.d_model
        self.in_proj = nn.Linear(config.d_model, width)
        self.short_filter = nn.Conv1d(width, width, 3, groups=width, padding=2)
        self.filter_fn = HyenaFilter(config)
        self.out_proj = nn.Linear(config.d_model, config.d_model)

    def forward(self, hidden: Tensor) -> Tensor:
        length = hidden.shape[1]
        projected = self.in_proj(hidden).transpose(1, 2)
        x0, x1, v = self.short_filter(projected)[..., :length].chunk(3, dim=1)
        v = v * x1
        size = 2 * length
        spectrum = torch.fft.rfft(self.filter_fn(length), n=size)
        # Always in float32, under autocast too: a GPU has no FFT in bfloat16.
        mixed = torch.fft.irfft(torch.fft.rfft(v.float(), n=size) * spectrum, n=size)[..., :length]
        gated = (mixed.to(v.dtype) + v * self.filter_fn.bias[:, None]) * x0
        projection: Tensor = self.out_proj(gated.transpose(1, 2))
        return projection


class PlainMLP(nn.Module):
    def __init__(self, config: HyenaFields) -> None:
        super().__init__()
        self.fc1 = nn.Linear(config.d_model, config.d_inner)
        self.fc2 = nn.Linear(config.d_inner, config.d_model)

    def forward(self, hidden: Tensor) -> Tensor:
        projection: Tensor = self.fc2(F.gelu(self.fc1(hidden), approximate="tanh"))
        return projection


class PlainBlock(nn.Module):
    def __init__(self, config: HyenaFields) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(config.d_model)
        self.mixer = PlainMixer(config)
        self.norm2 = nn.LayerNorm(config.d_model)
        self.mlp = PlainMLP(config)

    def forward(self, residual: Tensor) -> Tensor:
        residual = residual + self.mixer(self.norm1(residual))
        mixed: Tensor = residual + self.mlp(self.norm2(residual))
        return mixed


class PlainHyenaDNA(nn.Module):
    """HyenaDNA with a label per base: int64 token ids (B, L) to logits (B, L, num_labels)."""

    def __init__(self, ours: Classifier) -> None:
        super().__init__()
        config = ours.config
        self.embeddings = nn.Embedding(config.padded_vocab_size, config.d_model)
        self.layers = nn.ModuleList(PlainBlock(config) for _ in range(config.n_layer))
        self.ln_f = nn.LayerNorm(config.d_model)
        self.score = nn.Linear(config.d_model, config.num_labels, bias=False)
        self.load_state_dict(
            {
                name.removeprefix("hyena.backbone.").replace(".word_embeddings", ""): tensor
                for name, tensor in ours.state_dict().items()
            }
        )

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        return self.score.weight.device

    def forward(self, ids: Tensor) -> Tensor:
        return self.of_embeddings(self.embeddings(ids))

    def of_embeddings(self, hidden: Tensor) -> Tensor:
        """Compute logits from embeddings of shape (B, L, d_model)."""
        for layer in self.layers:
            hidden = layer(hidden)
        logits: Tensor = self.score(self.ln_f(hidden))
        return logits

"""A small convolutional network: dilated layers with residuals."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from hyena_ray.model.baselines.base import NetworkBaseline
from hyena_ray.model.baselines.configuration import DilatedCNNConfig


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


class DilatedCNNClassifier(NetworkBaseline):
    """A stem, dilated layers, a last norm."""

    config_class = DilatedCNNConfig

    def __init__(self, config: DilatedCNNConfig) -> None:
        super().__init__(config)
        self.stem = nn.Conv1d(config.channels, config.channels, config.kernel_size, padding="same")
        self.layers = nn.ModuleList(DilatedLayer(config, d) for d in config.dilations)
        self.norm = nn.BatchNorm1d(config.channels)
        self._add_head(config.channels)

    def _states(self, embedded: Tensor) -> tuple[Tensor, ...]:
        states = [self.stem(embedded.transpose(1, 2))]
        for layer in self.layers:
            states.append(layer(states[-1]))
        states.append(F.gelu(self.norm(states[-1])))
        return tuple(state.transpose(1, 2) for state in states)

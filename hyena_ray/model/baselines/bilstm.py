"""A bidirectional LSTM on sequence alone: what DeepZ is without its omics."""

from __future__ import annotations

from torch import Tensor, nn

from hyena_ray.model.baselines.base import NetworkBaseline
from hyena_ray.model.baselines.configuration import BiLSTMConfig


class BiLSTMClassifier(NetworkBaseline):
    """Two layers of both directions by default."""

    config_class = BiLSTMConfig

    def __init__(self, config: BiLSTMConfig) -> None:
        super().__init__(config)
        self.lstm = nn.LSTM(
            config.channels,
            config.channels,
            num_layers=config.n_layer,
            batch_first=True,
            dropout=config.dropout if config.n_layer > 1 else 0.0,  # between layers
            bidirectional=True,
        )
        self._add_head(2 * config.channels)

    def _states(self, embedded: Tensor) -> tuple[Tensor, ...]:
        return (self.lstm(embedded)[0],)

"""Score a model on a source of windows."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from hyena_ray.dataset.reader import PreparedData
from hyena_ray.model.window import WindowModel
from hyena_ray.training.losses import weighted_cross_entropy
from hyena_ray.training.metrics import Metrics, measure
from hyena_ray.training.settings import RunSettings
from hyena_ray.training.sources import ArraySource, WindowSource

EVALUATION_BATCH = 128
"""Windows of one forward pass: past this, larger batches are no faster on a CPU."""


@torch.inference_mode()
def evaluate(
    model: WindowModel,
    source: WindowSource,
    class_weights: Tensor,
    *,
    threshold: float | None,
) -> Metrics:
    """Metrics over all windows of a source, with the model's own strands.

    Args:
        model: put into evaluation mode here.
        source: windows with labels.
        class_weights: (2,) float32 of the loss.
        threshold: None chooses the best one on this source: for validation only.
    """
    model.eval()
    device = next(model.parameters()).device
    totals = torch.zeros(2, dtype=torch.float64)
    labels, scores = [], []
    for batch in source.batches(EVALUATION_BATCH, epoch=None, seed=0):
        logits = model.predict(torch.from_numpy(batch.tokens).to(device))
        loss = weighted_cross_entropy(
            logits, torch.from_numpy(batch.labels).to(device), class_weights.to(device)
        )
        totals += torch.stack([loss.total, loss.weight]).double().cpu()
        labels.append(batch.labels)
        scores.append(logits.float().softmax(-1)[..., 1].cpu().numpy())
    total, weight = totals.tolist()
    return measure(
        np.concatenate(labels), np.concatenate(scores), loss=total / weight, threshold=threshold
    )


def evaluate_on_split(
    model: WindowModel, data: PreparedData, settings: RunSettings, split: str
) -> Metrics:
    """Metrics on a split of the prepared data, at the threshold that the model carries."""
    source = ArraySource(data.read(settings.data.length, split))
    return evaluate(model, source, settings.training.class_weights(), threshold=model.threshold)

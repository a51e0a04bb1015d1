"""What a model is trained towards: labels, or probabilities of class 1 made of them.

Where a region ends is measured to within a few bases at best, and a base at its edge is labelled
with more certainty than anyone has. `soften_edges` turns labels into probabilities there. A teacher
knows how sure it is of every base, see `distillation`.

Everything here works on tensors of one device, and never makes the host wait for it.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from hyena_ray.dataset.tokens import IGNORED
from hyena_ray.training.loaders import Batch
from hyena_ray.training.settings import TrainingSettings


def training_targets(batch: Batch, recipe: TrainingSettings, device: torch.device) -> Tensor:
    """Return the targets of all windows of a batch, before augmentation.

    Args:
        batch: Windows with their labels, and the probabilities of a teacher where there is one.
        recipe: Settings of the training.
        device: Device of the result.

    Returns:
        Shape (B, W); `IGNORED` for a base that does not count. The labels themselves, int8, if
        nothing softens them, else probabilities of class 1, float32.
    """
    labels, share = batch.labels(device), recipe.teacher_share
    if not recipe.soft_edges and share is None:
        return labels
    targets = soften_edges(labels, recipe.soft_edges) if recipe.soft_edges else labels.float()
    if share is None:
        return targets
    taught = batch.teacher(device)
    if taught is None:
        raise RuntimeError("these windows have no teacher: see distillation.teach")
    return torch.where(labels == IGNORED, targets, share * taught + (1 - share) * targets)


def soften_edges(labels: Tensor, bases: int) -> Tensor:
    """Turn labels into probabilities that fall on a line from 1 to 0 across the edges of regions.

    An edge is between two neighbours that both count and have different labels; so neither the end
    of a window nor a base that does not count is one. A base whose centre is d bases from the
    nearest edge (0.5, 1.5, and so on) has the target 0.5 + d / (2 * bases) inside of a region and
    0.5 - d / (2 * bases) outside, but at most 1 and at least 0. So a base in a region is always
    above 0.5, however short the region, and the opposite strand has the same targets.

    Args:
        labels: Shape (B, W), integer; `IGNORED` where a base does not count.
        bases: Bases on each side of an edge whose target is between 0 and 1; at least 1.

    Returns:
        Probabilities of class 1, shape (B, W), float32; `IGNORED` where a base does not count.

    Example:
        >>> soften_edges(torch.tensor([[0, 0, 0, 1, 1, 1]]), 2)
        tensor([[0.0000, 0.1250, 0.3750, 0.6250, 0.8750, 1.0000]])
    """
    counted = labels != IGNORED
    edges = (labels[:, 1:] != labels[:, :-1]) & counted[:, 1:] & counted[:, :-1]
    from_left, from_right = _half_bases_since(edges), _half_bases_since(edges.flip(1)).flip(1)
    distance = torch.minimum(from_left, from_right)
    # 0.5 + d / (2 * bases) with d in halves of a base, so that both strands round alike.
    rise = (distance / (4 * bases)).clamp(max=0.5)
    targets = torch.where(labels == 1, 0.5 + rise, 0.5 - rise)
    return torch.where(counted, targets, torch.full_like(targets, IGNORED))


def _half_bases_since(edges: Tensor) -> Tensor:
    """Return the distance of every base from the last edge to its left, in halves of a base.

    Args:
        edges: Whether base i + 1 begins something else than base i is of, shape (B, W - 1), bool.

    Returns:
        Shape (B, W), int64; very far where there is no edge.
    """
    far = -(1 << 40)
    places = torch.arange(1, edges.shape[1] + 1, device=edges.device)
    last = F.pad(torch.where(edges, places, far), (1, 0), value=far).cummax(1).values
    return 2 * (torch.arange(edges.shape[1] + 1, device=edges.device) - last) + 1

"""What a window's target loses when one of its bases is another: in-silico mutagenesis."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from hyena_ray.attribution.settings import AttributionSettings
from hyena_ray.attribution.targets import Targets
from hyena_ray.dataset.tokens import FIRST_BASE, N_TOKEN


def saturation_mutagenesis(targets: Targets, settings: AttributionSettings) -> NDArray[np.float64]:
    """(S, M, T) f(x) less the mean of f over what may stand at a base in its place.

    That is each of the other letters, or N with `ism_substitute="n"`. Only bases of the windows
    themselves have scores; those of the flanks, and an N in the place of an N, have 0.

    Source: Zhou & Troyanskaya 2015 (mutagenesis); Zeiler & Fergus 2014 (occlusion).
    """
    letters = np.arange(FIRST_BASE, FIRST_BASE + 4)
    if settings.ism_substitute == "n":
        letters = np.array([N_TOKEN])
    model = targets.model
    first, last = model.left, model.left + model.readout.window
    losses = np.zeros((len(targets.inputs), len(targets), targets.length))
    for strand, of_strand in enumerate(losses):
        inputs = targets.inputs[strand].cpu().numpy()
        # What is behind the last position that a target depends on changes nothing.
        read = np.arange(first, last) < targets.receptive_end[strand][:, None]
        tried_there = read[..., None] & (inputs[:, first:last, None] != letters)
        window, position, letter = np.nonzero(tried_there)
        position += first
        tried = np.zeros(of_strand.shape)
        np.add.at(tried, (window, position), 1)
        whole = np.zeros(len(targets))
        for some, length, labels in targets.passes(strand, np.arange(len(targets))):
            whole[some] = _values(targets, strand, some, inputs[some, :length], labels)
        for some, length, labels in targets.passes(strand, window):
            which, where = window[some], position[some]
            changed = inputs[which, :length]
            changed[np.arange(len(which)), where] = letters[letter[some]]
            loss = whole[which] - _values(targets, strand, which, changed, labels)
            np.add.at(of_strand, (which, where), loss)
        of_strand /= np.maximum(tried, 1)
    return losses


@torch.no_grad()
def _values(
    targets: Targets,
    strand: int,
    window: NDArray[np.int64],
    ids: NDArray[np.int64],
    labels: slice,
) -> NDArray[np.float64]:
    """(R,) targets of windows with (R, length) ids in place of their own."""
    points = targets.model.embed(torch.from_numpy(ids).to(targets.inputs[strand].device))
    found = targets.values(strand, window, points, labels).double().cpu().numpy()
    return np.asarray(found, np.float64)

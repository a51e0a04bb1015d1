"""Weigh sampled negatives back to the genome that they were drawn from."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hyena_ray.dataset.manifest import Count
from hyena_ray.dataset.schema import Windows


def genome_weights(windows: Windows, counts: Sequence[Count]) -> NDArray[np.float64] | None:
    """(n,) how many windows of the genome each stands for; None where no negative was drawn.

    A positive window stands for itself, since all of them were taken, and a negative one for
    candidates / drawn of its contig. Candidates of contigs of which none was drawn are shared out
    to the negatives of the others.

    Args:
        windows: all of one length and split.
        counts: of that length and split.
    """
    drawn = {count.contig: count for count in counts if count.negative}
    if not drawn:
        return None
    shared_out = sum(c.candidates for c in counts) / sum(c.candidates for c in drawn.values())
    names, contig = np.unique(windows.contig, return_inverse=True)
    of_contig = np.ones(len(names))
    for index, name in enumerate(names):
        if name in drawn:
            of_contig[index] = shared_out * drawn[name].candidates / drawn[name].negative
    return np.where((windows.labels == 1).any(1), 1.0, of_contig[contig])

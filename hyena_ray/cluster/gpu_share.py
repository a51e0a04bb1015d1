"""Limit a process to the GPUs that Ray assigned to it, to a fraction of one, or to none.

Ray 2.60 makes only the assigned GPUs visible to a process, but a process without any sees them all.
It also does not limit how much memory each of the processes on a shared GPU takes.
"""

from __future__ import annotations

import os

from hyena_ray.cluster.resources import FOR_TENSORS, Resources

NO_GPU = {"CUDA_VISIBLE_DEVICES": ""}
"""Environment of a process that sees no GPU. CUDA reads it only once, on its first call."""


def keep_to(resources: Resources) -> None:
    """Limit this process to its GPUs. A worker must call this before it does anything else.

    Args:
        resources: Resources that the process was placed with; `gpu` is a number.
    """
    if not resources.gpu:
        os.environ.update(NO_GPU)
    elif resources.gpu < 1:
        import torch

        from hyena_ray.model.devices import default_device

        if default_device().type == "cuda":
            torch.cuda.set_per_process_memory_fraction(FOR_TENSORS * resources.gpu)

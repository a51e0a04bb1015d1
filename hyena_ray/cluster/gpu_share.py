"""Hold a process to its GPUs: those that Ray assigned to it, a part of one, or none.

Ray 2.60 shows a process the GPUs that are assigned to it, but hides none from one without any, and
leaves it to the processes that share a GPU how much of its memory each takes.
"""

from __future__ import annotations

import os

from hyena_ray.cluster.resources import FOR_TENSORS, Resources

NO_GPU = {"CUDA_VISIBLE_DEVICES": ""}
"""Environment of a process that sees no GPU. CUDA reads it once, when it is first asked."""


def keep_to(resources: Resources) -> None:
    """Hold this process to its GPUs; to be called before anything else that a worker does.

    Args:
        resources: What the process was placed with; `gpu` is a number.
    """
    if not resources.gpu:
        os.environ.update(NO_GPU)
    elif resources.gpu < 1:
        import torch

        from hyena_ray.model.devices import default_device

        if default_device().type == "cuda":
            torch.cuda.set_per_process_memory_fraction(FOR_TENSORS * resources.gpu)

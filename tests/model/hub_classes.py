"""The Hugging Face class of a classifier."""

from __future__ import annotations

from typing import Any

from hyena_ray.model import huggingface
from hyena_ray.model.configuration import HUGGING_FACE_CLASSES
from hyena_ray.tasks import Kind


def hub_class(name: str, kind: Kind) -> Any:
    """Return the class that config.json names.

    Args:
        name: `model_type` of the configuration.
        kind: What is labelled.
    """
    return getattr(huggingface, HUGGING_FACE_CLASSES[name, kind])

"""hyena-ray: find non-B DNA with HyenaDNA on a Ray cluster, and the motifs the model relies on.

The names below are those that a notebook needs: `load` a trained model and `predict` with it, read
`PreparedData`, attribute windows and rank k-mers, or use the Hugging Face classes. Each is imported
on first use.

Example:
    >>> import hyena_ray
    >>> hyena_ray.HyenaDNAConfig(n_layer=4).model_type
    'hyenadna'
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hyena_ray.attribution.consensus import consensus_ranking
    from hyena_ray.attribution.engine import attribute_windows
    from hyena_ray.attribution.tables import kmer_table
    from hyena_ray.dataset.reader import PreparedData
    from hyena_ray.model.huggingface import (
        HyenaDNAConfig,
        HyenaDNAForCausalLM,
        HyenaDNAForSequenceClassification,
        HyenaDNAForTokenClassification,
        HyenaDNAModel,
        HyenaDNATokenizer,
    )
    from hyena_ray.model.predictor import load
    from hyena_ray.model.saved import load_window_model

__version__ = "0.1.0"

# Imported on first use: torch and transformers take seconds, and a job that refuses its
# arguments should do so at once.
_HOMES = {
    "HyenaDNAConfig": "hyena_ray.model.huggingface",
    "HyenaDNAForCausalLM": "hyena_ray.model.huggingface",
    "HyenaDNAForSequenceClassification": "hyena_ray.model.huggingface",
    "HyenaDNAForTokenClassification": "hyena_ray.model.huggingface",
    "HyenaDNAModel": "hyena_ray.model.huggingface",
    "HyenaDNATokenizer": "hyena_ray.model.huggingface",
    "PreparedData": "hyena_ray.dataset.reader",
    "attribute_windows": "hyena_ray.attribution.engine",
    "consensus_ranking": "hyena_ray.attribution.consensus",
    "kmer_table": "hyena_ray.attribution.tables",
    "load": "hyena_ray.model.predictor",
    "load_window_model": "hyena_ray.model.saved",
}

__all__ = [
    "HyenaDNAConfig",
    "HyenaDNAForCausalLM",
    "HyenaDNAForSequenceClassification",
    "HyenaDNAForTokenClassification",
    "HyenaDNAModel",
    "HyenaDNATokenizer",
    "PreparedData",
    "attribute_windows",
    "consensus_ranking",
    "kmer_table",
    "load",
    "load_window_model",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'hyena_ray' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)

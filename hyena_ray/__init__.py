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

import sys
from importlib import import_module
from types import ModuleType
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


class _Package(ModuleType):
    """The type of this package, whose public names are properties.

    A shell that completes a name asks for the value of every candidate, but not for that of a
    property: listing the names imports nothing.
    """

    def __dir__(self) -> list[str]:
        loaded = [name for name, value in vars(self).items() if _is_part(value)]
        return sorted({*__all__, "__doc__", "__file__", "__name__", "__version__", *loaded})


def _is_part(value: object) -> bool:
    return isinstance(value, ModuleType) and value.__name__.startswith(f"{__name__}.")


def _on_first_use(name: str) -> property:
    def value(package: ModuleType) -> Any:
        return getattr(import_module(_HOMES[name]), name)

    return property(value)


for _name in _HOMES:
    setattr(_Package, _name, _on_first_use(_name))
sys.modules[__name__].__class__ = _Package

"""Models: the Hyena operator, HyenaDNA and its heads, baselines, checkpoints and LoRA targets.

Importing this room makes transformers' Auto classes know the models.
"""

from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoTokenizer,
)

from hyena_ray.model.backbone import HyenaDNAModel
from hyena_ray.model.baselines import DilatedCNNForTokenClassification
from hyena_ray.model.configuration import DilatedCNNConfig, HyenaDNAConfig
from hyena_ray.model.heads import (
    HyenaDNAForCausalLM,
    HyenaDNAForSequenceClassification,
    HyenaDNAForTokenClassification,
)
from hyena_ray.model.tokenizer import HyenaDNATokenizer

AutoConfig.register(HyenaDNAConfig.model_type, HyenaDNAConfig, exist_ok=True)
AutoModel.register(HyenaDNAConfig, HyenaDNAModel, exist_ok=True)
AutoModelForCausalLM.register(HyenaDNAConfig, HyenaDNAForCausalLM, exist_ok=True)
AutoModelForTokenClassification.register(
    HyenaDNAConfig, HyenaDNAForTokenClassification, exist_ok=True
)
AutoModelForSequenceClassification.register(
    HyenaDNAConfig, HyenaDNAForSequenceClassification, exist_ok=True
)
AutoTokenizer.register(HyenaDNAConfig, slow_tokenizer_class=HyenaDNATokenizer, exist_ok=True)
AutoConfig.register(DilatedCNNConfig.model_type, DilatedCNNConfig, exist_ok=True)
AutoModelForTokenClassification.register(
    DilatedCNNConfig, DilatedCNNForTokenClassification, exist_ok=True
)

__all__ = [
    "DilatedCNNConfig",
    "DilatedCNNForTokenClassification",
    "HyenaDNAConfig",
    "HyenaDNAForCausalLM",
    "HyenaDNAForSequenceClassification",
    "HyenaDNAForTokenClassification",
    "HyenaDNAModel",
    "HyenaDNATokenizer",
]

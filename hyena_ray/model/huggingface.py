"""HyenaDNA as Hugging Face classes; the import registers them with transformers' Auto classes."""

from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoTokenizer,
)

from hyena_ray.model.backbone import HyenaDNAModel
from hyena_ray.model.baselines import BASELINES
from hyena_ray.model.configuration import HyenaDNAConfig
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
for _baseline in BASELINES:
    AutoConfig.register(_baseline.config_class.model_type, _baseline.config_class, exist_ok=True)
    # They have no backbone without a head: AutoModel gives the whole model.
    for _auto in (AutoModel, AutoModelForTokenClassification, AutoModelForSequenceClassification):
        _auto.register(_baseline.config_class, _baseline, exist_ok=True)

__all__ = [
    "HyenaDNAConfig",
    "HyenaDNAForCausalLM",
    "HyenaDNAForSequenceClassification",
    "HyenaDNAForTokenClassification",
    "HyenaDNAModel",
    "HyenaDNATokenizer",
]

"""The baselines that HyenaDNA has to beat, each in a file of its own.

All take what HyenaDNA's classifiers take and give what they give; `config.pooling` says whether
they label bases or sequences. All see both sides of a base.
"""

from hyena_ray.model.baselines.base import Baseline
from hyena_ray.model.baselines.bilstm import BiLSTMClassifier
from hyena_ray.model.baselines.dilated_cnn import DilatedCNNClassifier
from hyena_ray.model.baselines.kmer_logistic import KmerLogisticClassifier
from hyena_ray.model.baselines.rule import RuleClassifier

BASELINES: tuple[type[Baseline], ...] = (
    DilatedCNNClassifier,
    BiLSTMClassifier,
    KmerLogisticClassifier,
    RuleClassifier,
)

__all__ = [
    "BASELINES",
    "Baseline",
    "BiLSTMClassifier",
    "DilatedCNNClassifier",
    "KmerLogisticClassifier",
    "RuleClassifier",
]

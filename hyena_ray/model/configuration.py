"""Configurations of the classifiers, and config.json as Hugging Face writes and reads it.

The `...Fields` hold what config.json stores. Each has two users: the configuration here, for models
in plain torch, and the Hugging Face configuration in huggingface.py.
"""

# No `from __future__ import annotations`: transformers checks the types of fields, but not strings.

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path, PurePath
from typing import Any, ClassVar, Literal, TypeVar

from pydantic import TypeAdapter, ValidationError

from hyena_ray.errors import InputError
from hyena_ray.genome.untrained import MOST_DINUCLEOTIDES
from hyena_ray.model.backbone_table import backbone_of, check_values
from hyena_ray.model.settings import (
    DEEPEST,
    LONGEST,
    MOST_TREES,
    WIDEST,
    WIDEST_RADIUS,
    Filters,
    Pooling,
)
from hyena_ray.tasks import Kind

FINEST_PERIOD = 8
"""Bases that the finest feature of local filters spans."""
FASTEST_DECAY = 5
"""Bases within which the fastest channel of local filters decays to 1 %."""

SMALL_NETWORK = {
    "vocab_size": 16,
    "hidden_size": 64,
    "intermediate_size": 170,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "layer_types": ["full_attention", "full_attention"],
    "max_position_embeddings": 1024,
    **dict.fromkeys(("bos_token_id", "cls_token_id", "eos_token_id", "sep_token_id"), None),
    "pad_token_id": 4,
}
"""Sizes of a backbone of transformers where nothing else is said."""

MOST_FEATURES = 1 << 28
"""Most features of time steps of all layers, of 4 bytes each."""
DROPOUT = (0, 0.999)


@dataclass
class ClassifierFields:
    """Values that every classifier has."""

    model_type: ClassVar[str]
    BOUNDS: ClassVar[dict[str, tuple[float, float]]] = {
        "pooled_length": (1, LONGEST),
        "pad_token_id": (0, WIDEST),
        "class_weights": (0, 1e6),
        "num_labels": (1, 1_000),
    }
    """Smallest and largest value of every number, or of the numbers of a list."""

    pooling: Pooling | None = None
    """Which hidden state labels a sequence; None labels every base. Where nothing is learnt below
    the head, any other value labels the sequence as a whole."""
    pooled_length: int = 70
    """Tokens of every sequence, where they are pooled by position."""
    pad_token_id: int | None = 4
    """Token that is left out of a sequence."""
    class_weights: list[float] | None = None
    """Weight of each class in a classifier's cross-entropy; None weighs all alike."""

    def __post_init__(self) -> None:
        self.check()

    @property
    def causal(self) -> bool:
        """Whether position i of the output depends on positions 0 to i of the input alone."""
        return False

    def check(self) -> None:
        """Refuse values that the equations do not define.

        Raises:
            InputError: Names the value.
        """
        for name, (low, high) in self.BOUNDS.items():
            value = getattr(self, name, None)
            for number in _numbers(value):
                if not low <= number <= high:
                    raise InputError(
                        f"config: {name}", number, f"not within {low:g} to {high:g}", "correct it"
                    )


@dataclass
class HyenaFields(ClassifierFields):
    """Sizes of a HyenaDNA model: field for field as published, then what was added to it.

    The defaults are those of tiny-1k.
    """

    model_type = "hyenadna"
    BOUNDS: ClassVar[dict[str, tuple[float, float]]] = {
        **ClassifierFields.BOUNDS,
        "vocab_size": (1, WIDEST),
        "d_model": (1, WIDEST),
        "d_inner": (1, WIDEST),
        "max_seq_len": (1, LONGEST),
        "emb_dim": (3, LONGEST),
        "n_layer": (1, DEEPEST),
        "filter_order": (1, WIDEST),
        "short_filter_order": (1, 1_000),
        "activation_freq": (-1e6, 1e6),
        "num_inner_mlps": (0, DEEPEST),
        "embed_dropout": DROPOUT,
        "hyena_dropout": DROPOUT,
        "hyena_filter_dropout": DROPOUT,
        "layer_norm_epsilon": (1e-12, 1),
        "initializer_range": (0, 10),
        "pad_vocab_size_multiple": (1, WIDEST),
        "slow_decay": (1e-9, 1e6),
        "fast_decay": (1e-9, 1e6),
        "head_dropout": DROPOUT,
        "lookahead": (0, LONGEST),
        "short_filter_rank": (0, WIDEST),
    }

    vocab_size: int = 12
    """Tokens; the embedding table is padded to a multiple of `pad_vocab_size_multiple`."""
    d_model: int = 128
    """Channels of the residual stream."""
    d_inner: int = 512
    """Channels inside a layer's MLP."""
    use_bias: bool = True
    """Kept for the file format: the convolution always has its bias, as published."""
    train_freq: bool = True
    """The frequency of the filters' sine is a parameter rather than a constant."""
    max_seq_len: int = 1026
    """Longest input in tokens; also the time scale of the filters, fixed for a checkpoint."""
    emb_dim: int = 5
    """Features of a time step that the filters are made from; odd, at least 3."""
    n_layer: int = 2
    """Blocks of a mixer and an MLP."""
    hyena_order: int = 2
    """Projections less one; only 2 is defined for the published filters."""
    filter_order: int = 64
    """Width of the MLP that makes the filters."""
    short_filter_order: int = 3
    """Taps of the depthwise convolution before the gates."""
    activation_freq: float | int = 10
    """Initial frequency of the filters' sine."""
    num_inner_mlps: int = 2
    """Hidden layers of the MLP that makes the filters."""
    embed_dropout: float | int = 0.1
    """Kept for the file format: the published classes never applied it."""
    hyena_dropout: float | int = 0.0
    """Dropout on the input of the long convolution."""
    hyena_filter_dropout: float | int = 0.0
    """Kept for the file format: the published classes never applied it."""
    layer_norm_epsilon: float | int = 1e-5
    """Epsilon of the last LayerNorm; those inside the layers use 1e-5, as published."""
    initializer_range: float | int | None = 0.02
    """Standard deviation of initial weights; None takes torch's own initial weights, from which a
    short training on few windows comes much further (RESULTS.md)."""
    pad_vocab_size_multiple: int = 8
    """See `vocab_size`."""
    tie_word_embeddings: bool = False
    """Embedding and language-model head share one table; never so in the published models."""
    slow_decay: float | int = 1.5
    """Fraction of `max_seq_len` after which the slowest channel's filter has decayed to 1 %."""
    fast_decay: float | int = 0.3
    """The same fraction for the fastest channel."""
    decay_spacing: Literal["linear", "log"] = "linear"
    """Spacing of the channels' decay rates between these two: even as published, or even in their
    logarithm, so that as many channels look at a few bases as at many."""
    head: Literal["linear", "electra", "lookahead"] = "linear"
    """Map from hidden state to labels: one matrix as published; dense, GELU, dropout, projection;
    or the same on the hidden states of the next positions too, for labels of bases."""
    head_dropout: float | int = 0.0
    """Dropout of the other two heads."""
    lookahead: int = 0
    """Positions further right that the lookahead head sees."""
    tracks: list[str] | tuple[str, ...] = ()
    """Names of the tracks that are an input beside the tokens."""
    short_filter_rank: int = 0
    """Rank of a correction to the short convolutions that mixes channels, as LoRA trains it; 0 has
    none, as published."""

    @property
    def causal(self) -> bool:
        return True

    def check(self) -> None:
        super().check()
        numbers = self.n_layer * self.max_seq_len * (self.emb_dim + 1)
        if numbers > MOST_FEATURES:
            raise InputError(
                "config: max_seq_len",
                self.max_seq_len,
                f"{numbers:,} features of time steps with n_layer {self.n_layer} and emb_dim "
                f"{self.emb_dim}, above {MOST_FEATURES:,}",
                "lower one of them",
            )
        if self.hyena_order != 2:
            raise InputError(
                "config: hyena_order", self.hyena_order, "only 2 is supported", "set it to 2"
            )
        if not 0 < self.fast_decay <= self.slow_decay:
            raise InputError(
                "config: fast_decay", self.fast_decay, "not above 0 or above slow_decay", "lower it"
            )
        if self.head == "lookahead" and self.pooling is not None:
            raise InputError(
                "config: head", self.head, "labels bases, not sequences", "set linear or electra"
            )
        if self.emb_dim % 2 == 0:
            raise InputError("config: emb_dim", self.emb_dim, "not odd", "set 5")

    @property
    def padded_vocab_size(self) -> int:
        """Rows of the embedding table."""
        multiple = self.pad_vocab_size_multiple
        return -(-self.vocab_size // multiple) * multiple


@dataclass
class HyenaConfig(HyenaFields):
    """Configuration of a HyenaDNA model in plain torch.

    Example:
        >>> HyenaConfig(vocab_size=12, pad_vocab_size_multiple=8).padded_vocab_size
        16
    """

    num_labels: int = 2
    """Classes of a classifier."""


@dataclass
class NetworkFields(ClassifierFields):
    """Values that the baselines which are networks have."""

    BOUNDS: ClassVar[dict[str, tuple[float, float]]] = {
        **ClassifierFields.BOUNDS,
        "vocab_size": (1, WIDEST),
        "channels": (1, WIDEST),
        "dropout": DROPOUT,
        "head_dropout": DROPOUT,
    }

    vocab_size: int = 16
    """Tokens, as HyenaDNA's table has them."""
    channels: int = 64
    """Channels of a layer; of the BiLSTM in each direction."""
    dropout: float | int = 0.0
    """Dropout of each layer's contribution."""
    head: Literal["linear", "electra"] = "linear"
    """As `HyenaFields.head`; the linear one has a bias here."""
    head_dropout: float | int = 0.0
    """Dropout of the Electra head."""
    tracks: list[str] | tuple[str, ...] = ()
    """As `HyenaFields.tracks`."""


@dataclass
class DilatedCNNFields(NetworkFields):
    """Sizes of the dilated CNN. By default base i sees bases i - 64 to i + 64."""

    model_type = "dilated_cnn"
    BOUNDS: ClassVar[dict[str, tuple[float, float]]] = {
        **NetworkFields.BOUNDS,
        "kernel_size": (1, 1_001),
        "dilations": (1, 10_000),
    }

    kernel_size: int = 9
    """Taps of every convolution; odd."""
    dilations: list[int] | tuple[int, ...] = (1, 2, 4, 8)
    """Distance of the taps, one residual layer for each."""

    def check(self) -> None:
        super().check()
        if self.kernel_size % 2 == 0:
            raise InputError("config: kernel_size", self.kernel_size, "not odd", "add 1")
        if len(self.dilations) > DEEPEST:
            raise InputError(
                "config: dilations",
                f"{len(self.dilations)} of them",
                f"above {DEEPEST}",
                "give fewer",
            )


@dataclass
class DilatedCNNConfig(DilatedCNNFields):
    """Configuration of the dilated CNN in plain torch."""

    num_labels: int = 2
    """Classes of the classifier."""


@dataclass
class BiLSTMFields(NetworkFields):
    """Sizes of the BiLSTM. Every base sees the whole input."""

    model_type = "bilstm"
    BOUNDS: ClassVar[dict[str, tuple[float, float]]] = {
        **NetworkFields.BOUNDS,
        "n_layer": (1, DEEPEST),
    }

    n_layer: int = 2
    """Layers of both directions."""


@dataclass
class BiLSTMConfig(BiLSTMFields):
    """Configuration of the BiLSTM in plain torch."""

    num_labels: int = 2
    """Classes of the classifier."""


@dataclass
class TransformersFields(ClassifierFields):
    """A backbone of transformers, and the head on it."""

    model_type = "transformers_backbone"
    BOUNDS: ClassVar[dict[str, tuple[float, float]]] = {
        **ClassifierFields.BOUNDS,
        "head_dropout": DROPOUT,
        "lookahead": (0, LONGEST),
    }

    network: dict[str, Any] = field(
        default_factory=lambda: {"model_type": "modernbert", **SMALL_NETWORK}
    )
    """Values of transformers' configuration of the backbone, whose `model_type` says which it is;
    see backbone_table.py."""
    head: Literal["linear", "electra", "lookahead"] = "linear"
    """As `HyenaFields.head`; the linear one has a bias here."""
    head_dropout: float | int = 0.0
    """Dropout of the other two heads."""
    lookahead: int = 0
    """Positions further right that the lookahead head of a causal backbone sees."""
    tracks: list[str] | tuple[str, ...] = ()
    """As `HyenaFields.tracks`."""

    @property
    def causal(self) -> bool:
        return backbone_of(self.network).causal

    @property
    def max_seq_len(self) -> int | None:
        """Longest input in bases; None where there is no limit."""
        return backbone_of(self.network).longest(self.network)

    def check(self) -> None:
        super().check()
        check_values(self.network)
        if self.head == "lookahead" and (self.pooling is not None or not self.causal):
            raise InputError(
                "config: head", self.head, "is for bases and causal backbones", "set linear"
            )


@dataclass
class TransformersConfig(TransformersFields):
    """Configuration of a classifier on a backbone of transformers."""

    num_labels: int = 2
    """Classes of the classifier."""


@dataclass
class KmerLogisticFields(ClassifierFields):
    """Sizes of the logistic regression. Base i sees the k-mers within i - radius to i + radius."""

    model_type = "kmer_logistic"
    BOUNDS: ClassVar[dict[str, tuple[float, float]]] = {
        **ClassifierFields.BOUNDS,
        "k": (1, 8),
        "radius": (0, WIDEST_RADIUS),
    }

    k: int = 6
    """Bases of a k-mer; the model has a weight for each of 4**k and each class."""
    radius: int = 12
    """Bases on each side whose k-mers are counted for a base. Of 6 to 24, 11 is best for Z-DNA and
    16 for G4 on the validation contig of hg19."""

    def check(self) -> None:
        super().check()
        if not 1 <= self.k <= 2 * self.radius + 1:
            raise InputError(
                "config: k", self.k, f"not within 1 to {2 * self.radius + 1}", "change k or radius"
            )


@dataclass
class KmerLogisticConfig(KmerLogisticFields):
    """Configuration of the logistic regression in plain torch."""

    num_labels: int = 2
    """Classes of the classifier."""


@dataclass
class RuleFields(ClassifierFields):
    """The rule that scores the bases; the rest is one scale and one offset."""

    model_type = "rule"

    rule: str = "alternation"
    """A key of `baseline_models.RULES`."""


@dataclass
class RuleConfig(RuleFields):
    """Configuration of a rule in plain torch."""

    num_labels: int = 2
    """Classes of the classifier; a rule has two."""


@dataclass
class ZHuntFields(ClassifierFields):
    """Windows of Z-HUNT; the rest is one weight and one bias."""

    model_type = "zhunt"
    BOUNDS: ClassVar[dict[str, tuple[float, float]]] = {
        **ClassifierFields.BOUNDS,
        "dinucleotides": (1, MOST_DINUCLEOTIDES),
        "candidates": (1, MOST_DINUCLEOTIDES),
    }

    dinucleotides: list[int] | tuple[int, ...] = (6, 6)
    """Fewest and most dinucleotides of a window."""
    candidates: list[list[int]] | tuple[tuple[int, ...], ...] = ((6, 6),)
    """Pairs of which validation chose the one above."""

    def check(self) -> None:
        super().check()
        for name in ("dinucleotides", "candidates"):
            pairs = [self.dinucleotides] if name == "dinucleotides" else self.candidates
            if any(len(pair) != 2 or pair[0] > pair[1] for pair in pairs):
                raise InputError(
                    f"config: {name}", pairs, "not two ascending numbers", "correct it"
                )


@dataclass
class ZHuntConfig(ZHuntFields):
    """Configuration of Z-HUNT in plain torch."""

    num_labels: int = 2
    """Classes of the classifier; Z-HUNT has two."""


@dataclass
class BoostedTreesFields(ClassifierFields):
    """Sizes of the boosted trees, and how they were fitted."""

    model_type = "trees"
    BOUNDS: ClassVar[dict[str, tuple[float, float]]] = {
        **ClassifierFields.BOUNDS,
        "trees": (1, MOST_TREES),
        "depth": (1, 10),
        "shrinkage": (0, 1),
        "fraction": (0, 1),
        "feature_fraction": (0, 1),
        "smallest_leaf": (0, LONGEST),
    }

    features: str = "zdna"
    """A key of `tree_features.FEATURE_SETS`."""
    tracks: list[str] | tuple[str, ...] = ()
    """Names of the tracks that are features too."""
    trees: int = 200
    """Number of trees."""
    depth: int = 5
    """Most comparisons from the root of a tree to a leaf."""
    shrinkage: float | int = 0.05
    """Factor of every tree's values."""
    fraction: float | int = 1.0
    """Fraction of the training bases that were drawn for each tree."""
    feature_fraction: float | int = 0.5
    """Fraction of the features that were drawn for each comparison."""
    smallest_leaf: float | int = 50.0
    """Least weight of a leaf, see `ModelSettings.smallest_leaf`."""


@dataclass
class BoostedTreesConfig(BoostedTreesFields):
    """Configuration of the boosted trees in plain torch."""

    num_labels: int = 2
    """Classes of the classifier; the trees have two."""


Config = (
    HyenaConfig
    | DilatedCNNConfig
    | BiLSTMConfig
    | TransformersConfig
    | KmerLogisticConfig
    | RuleConfig
    | ZHuntConfig
    | BoostedTreesConfig
)
ConfigType = TypeVar("ConfigType", bound=Config)
CONFIG_CLASSES: dict[str, type[Config]] = {
    config_class.model_type: config_class
    for config_class in (
        HyenaConfig,
        DilatedCNNConfig,
        BiLSTMConfig,
        TransformersConfig,
        KmerLogisticConfig,
        RuleConfig,
        ZHuntConfig,
        BoostedTreesConfig,
    )
}
"""All configurations by their `model_type`."""
LANGUAGE_MODEL = "HyenaDNAForCausalLM"
"""Hugging Face class of a HyenaDNA language model, as config.json names it."""
HUGGING_FACE_CLASSES: dict[tuple[str, Kind], str] = {
    ("hyenadna", "base"): "HyenaDNAForTokenClassification",
    ("hyenadna", "sequence"): "HyenaDNAForSequenceClassification",
    ("dilated_cnn", "base"): "DilatedCNNClassifier",
    ("dilated_cnn", "sequence"): "DilatedCNNClassifier",
    ("bilstm", "base"): "BiLSTMClassifier",
    ("bilstm", "sequence"): "BiLSTMClassifier",
    ("transformers_backbone", "base"): "TransformersBackboneClassifier",
    ("transformers_backbone", "sequence"): "TransformersBackboneClassifier",
    ("kmer_logistic", "base"): "KmerLogisticClassifier",
    ("kmer_logistic", "sequence"): "KmerLogisticClassifier",
    ("rule", "base"): "RuleClassifier",
    ("rule", "sequence"): "RuleClassifier",
    ("zhunt", "base"): "ZHuntClassifier",
    ("trees", "base"): "BoostedTreesClassifier",
}
"""Hugging Face class of every classifier, by its `model_type` and what it labels."""


def time_scale(filters: Filters, length: int) -> dict[str, Any]:
    """Return the values of HyenaDNA's configuration that set how far and how finely filters see.

    Args:
        filters: Published or local ones.
        length: Longest input in tokens.

    Example:
        >>> time_scale("published", 1026)
        {'max_seq_len': 1026}
    """
    if filters == "published":
        return {"max_seq_len": length}
    return {
        "max_seq_len": length,
        "emb_dim": 2 * max(2, length // FINEST_PERIOD) + 1,
        "fast_decay": min(1.0, FASTEST_DECAY / length),
        "decay_spacing": "log",
    }


def kind_of(config: ClassifierFields) -> Kind:
    """Return what a classifier labels: bases or whole sequences.

    Args:
        config: Configuration of the classifier.

    Example:
        >>> kind_of(RuleConfig(pooling="mean"))
        'sequence'
    """
    return "base" if config.pooling is None else "sequence"


def _numbers(value: Any) -> Iterator[float]:
    """Yield a number, or those of a list, whatever it is nested in."""
    if isinstance(value, list | tuple):
        for item in value:
            yield from _numbers(item)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield value


def parse_config(
    config_class: type[ConfigType], values: Mapping[str, Any], path: PurePath
) -> ConfigType:
    """Validate the values of a config.json. Keys that the class does not know are left out.

    Args:
        config_class: The class of the result.
        values: Plain values, as JSON gives them.
        path: The file, for messages.

    Raises:
        InputError: A value has the wrong type or is out of range; names `path` and the key.
    """
    labels = values.get("id2label")
    if "num_labels" not in values and isinstance(labels, dict) and labels:
        values = {**values, "num_labels": len(labels)}
    try:
        # JSON mode: a list is one, and neither "1" nor True is a number.
        return TypeAdapter(config_class).validate_json(json.dumps(values), strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        cause = first.get("ctx", {}).get("error")
        if isinstance(cause, InputError):
            raise cause.within(path) from None
        key = ".".join(str(part) for part in first["loc"][:1])
        reason = f"{key}: {first['msg']}" if key else first["msg"]
        raise InputError(path, None, f"unfit value ({reason})", "correct the file") from None


def write_config(
    folder: Path, config: ClassifierFields, architecture: str, dtype: str = "float32"
) -> None:
    """Write config.json, byte for byte as transformers' `save_pretrained` does.

    Args:
        folder: An existing folder.
        config: The model's configuration.
        architecture: Name of the Hugging Face class that reads the weights.
        dtype: Number type of the weights.
    """
    values = asdict(config)
    labels = values.pop("num_labels", 2)
    if labels != 2:  # transformers' default
        names = [f"LABEL_{label}" for label in range(labels)]
        values["id2label"] = dict(enumerate(names))
        values["label2id"] = {name: label for label, name in enumerate(names)}
    values |= {
        "architectures": [architecture],
        "dtype": dtype,
        "model_type": config.model_type,
    }
    with suppress(PackageNotFoundError):  # the key is for people
        values["transformers_version"] = version("transformers")
    text = json.dumps(values, indent=2, sort_keys=True) + "\n"
    (folder / "config.json").write_text(text, encoding="utf-8")

"""The models as Hugging Face classes: `from_pretrained`, `save_pretrained`, Trainer and peft.

They are thin wrappers around the modules in plain torch. Importing this registers them with
transformers' Auto classes:

    import hyena_ray.model.huggingface
    model = AutoModelForTokenClassification.from_pretrained("run/model")
"""

# No `from __future__ import annotations`: the type check of @strict passes over strings.
# `forward` takes Hugging Face's arguments in place of the plain module's: mypy finds an override
# that does not fit (`override`) and two incompatible bases (`misc`).

import copy
from dataclasses import fields
from pathlib import Path, PurePath
from typing import Any, ClassVar, Self

import torch
from huggingface_hub.dataclasses import strict
from huggingface_hub.errors import StrictDataclassError
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizer,
)
from transformers.modeling_outputs import (
    BaseModelOutputWithNoAttention,
    CausalLMOutput,
    SequenceClassifierOutput,
    TokenClassifierOutput,
)

from hyena_ray.dataset.tokens import IGNORED, TOKEN_IDS
from hyena_ray.errors import InputError
from hyena_ray.model.backbone import HyenaDNA, HyenaDNALanguageModel, initialise
from hyena_ray.model.baseline_models import BiLSTM, DilatedCNN, KmerLogisticRegression, RuleModel
from hyena_ray.model.boosted_trees import BoostedTrees
from hyena_ray.model.classifier import ClassifierOutput, HyenaDNAClassifier
from hyena_ray.model.configuration import (
    BiLSTMFields,
    BoostedTreesFields,
    DilatedCNNFields,
    HyenaFields,
    KmerLogisticFields,
    RuleFields,
    TransformersFields,
    ZHuntFields,
    kind_of,
)
from hyena_ray.model.convolution import ALL
from hyena_ray.model.pretrained import config_values, matching_weights, resolve_checkpoint
from hyena_ray.model.saved import LONGEST_INPUT
from hyena_ray.model.settings import Pooling
from hyena_ray.model.transformers_classifier import TransformersClassifier, quiet_transformers
from hyena_ray.model.zhunt import ZHuntModel

# Configurations.


class _CheckedConfig(PreTrainedConfig):
    """A configuration that refuses values without a meaning."""

    def __post_init__(self, **kwargs: Any) -> None:
        kwargs.pop("auto_map", None)  # points at code on the hub, which is never run
        super().__post_init__(**kwargs)
        self.check()


@strict
class HyenaDNAConfig(_CheckedConfig, HyenaFields):
    """Configuration of a HyenaDNA model; the defaults are those of tiny-1k.

    Raises:
        InputError: A size that no published model has and that the equations do not define.

    Example:
        >>> HyenaDNAConfig(n_layer=4).d_model
        128
    """

    model_type = HyenaFields.model_type


@strict
class DilatedCNNHubConfig(_CheckedConfig, DilatedCNNFields):
    """Configuration of the dilated CNN."""

    model_type = DilatedCNNFields.model_type


@strict
class BiLSTMHubConfig(_CheckedConfig, BiLSTMFields):
    """Configuration of the BiLSTM."""

    model_type = BiLSTMFields.model_type


@strict
class TransformersHubConfig(_CheckedConfig, TransformersFields):
    """Configuration of a classifier on a backbone of transformers."""

    model_type = TransformersFields.model_type


@strict
class KmerLogisticHubConfig(_CheckedConfig, KmerLogisticFields):
    """Configuration of the logistic regression on k-mers."""

    model_type = KmerLogisticFields.model_type


@strict
class RuleHubConfig(_CheckedConfig, RuleFields):
    """Configuration of a rule of thumb."""

    model_type = RuleFields.model_type


@strict
class ZHuntHubConfig(_CheckedConfig, ZHuntFields):
    """Configuration of Z-HUNT."""

    model_type = ZHuntFields.model_type


@strict
class BoostedTreesHubConfig(_CheckedConfig, BoostedTreesFields):
    """Configuration of the boosted trees."""

    model_type = BoostedTreesFields.model_type


# HyenaDNA.


class HyenaDNAPreTrainedModel(PreTrainedModel):
    """Loading and saving, common to HyenaDNA with any head."""

    config_class = HyenaDNAConfig
    base_model_prefix = "hyena"
    _no_split_modules = ("HyenaBlock",)
    supports_gradient_checkpointing = True
    # Rounded filters are other filters; see filters.py.
    _keep_in_fp32_modules_strict = ("filter_fn",)
    # For type checkers, which would take it for a submodule.
    save_pretrained: Any

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | PurePath,
        *arguments: Any,
        config: HyenaDNAConfig | None = None,
        revision: str | None = None,
        **options: Any,
    ) -> Self:
        """Load a checkpoint of any published layout; see pretrained.py.

        The weights of a head that it lacks are drawn, and a line of the log says so.

        Args:
            pretrained_model_name_or_path: A folder, or a hub id with `revision`.
            arguments: Arguments of the class, as transformers passes them.
            config: Configuration that overrides the checkpoint's own.
            revision: Commit of the hub id.
            options: Values of the configuration (`num_labels=3`), and what transformers'
                `from_pretrained` takes (`dtype`).

        Raises:
            InputError: The checkpoint cannot be used.
        """
        folder = resolve_checkpoint(pretrained_model_name_or_path, revision)
        if config is None:
            values = {key: options.pop(key) for key in [*options] if key in _CONFIG_KEYS}
            config = _read_config(folder, **values)
        with torch.device("meta"):
            empty = cls(config, *arguments).state_dict()
        shapes = {name.removeprefix("hyena."): tensor.shape for name, tensor in empty.items()}
        weights = matching_weights(folder, shapes, pretrained_model_name_or_path)
        named = {name: weights.get(name.removeprefix("hyena.")) for name in empty}
        with quiet_transformers():
            loaded: Self = super().from_pretrained(
                None,
                *arguments,
                config=config,
                state_dict={name: value for name, value in named.items() if value is not None},
                **options,
            )
        return loaded

    def enable_input_require_grads(self) -> None:
        """Do nothing: checkpointing is not reentrant here, so it needs no gradient at the
        embeddings, which would send the backward pass through a frozen backbone."""

    def init_weights(self) -> None:
        """Do nothing: the modules have drawn their weights when they were built."""

    def _init_weights(self, module: nn.Module) -> None:
        initialise(module, self.config)


class HyenaDNAModel(HyenaDNA, HyenaDNAPreTrainedModel):
    """HyenaDNA without a head, as a Hugging Face model.

    Args:
        config: Sizes of the model.

    Example:
        >>> model = HyenaDNAModel(HyenaDNAConfig(d_model=8, d_inner=16, n_layer=1, max_seq_len=64))
        >>> model(torch.full((1, 20), 7)).last_hidden_state.shape
        torch.Size([1, 20, 8])
    """

    def __init__(self, config: HyenaDNAConfig) -> None:
        PreTrainedModel.__init__(self, config)
        self.build(config)
        PreTrainedModel.post_init(self)

    def forward(  # type: ignore[override]
        self,
        input_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
        positions: slice = ALL,
    ) -> BaseModelOutputWithNoAttention | tuple[Any, ...]:
        """Compute the last hidden state.

        Args:
            input_ids: Token ids, shape (B, L), int64.
            inputs_embeds: Embeddings instead of ids, shape (B, L, d_model).
            output_hidden_states: Whether to return the n_layer + 2 intermediate states too; None
                follows the configuration.
            return_dict: False returns a tuple; None follows the configuration.
            positions: Positions whose last hidden state, and the one below its norm, is wanted.

        Raises:
            InputError: Both or neither input is given, or L exceeds `max_seq_len`.
        """
        plain = super().forward(input_ids, inputs_embeds, positions)
        output = BaseModelOutputWithNoAttention(
            last_hidden_state=plain.last_hidden_state,
            hidden_states=_if_wanted(plain.hidden_states, output_hidden_states, self.config),
        )
        return output if _wants_dict(self.config, return_dict) else output.to_tuple()


class HyenaDNAForCausalLM(HyenaDNALanguageModel, HyenaDNAPreTrainedModel):
    """HyenaDNA that predicts the next token, as a Hugging Face model.

    Args:
        config: Sizes of the model.

    Example:
        >>> config = HyenaDNAConfig(d_model=8, d_inner=16, n_layer=1, max_seq_len=64)
        >>> HyenaDNAForCausalLM(config)(torch.full((1, 20), 7)).logits.shape
        torch.Size([1, 20, 16])
    """

    def __init__(self, config: HyenaDNAConfig) -> None:
        PreTrainedModel.__init__(self, config)
        self.build(config)
        PreTrainedModel.post_init(self)

    def get_output_embeddings(self) -> nn.Module:
        """Return the language-model head."""
        return self.lm_head

    def set_output_embeddings(self, value: nn.Linear) -> None:
        """Replace the language-model head.

        Args:
            value: The new head.
        """
        self.lm_head = value

    def forward(  # type: ignore[override]
        self,
        input_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> CausalLMOutput | tuple[Any, ...]:
        """Compute `logits` of the next token, shape (B, L, padded vocabulary), float32.

        Args:
            input_ids: Token ids, shape (B, L), int64.
            inputs_embeds: Embeddings instead of ids, shape (B, L, d_model).
            labels: Token ids, shape (B, L); position i is compared with labels[i + 1], and -100 is
                ignored.
            output_hidden_states: Whether to return the n_layer + 2 intermediate states too; None
                follows the configuration.
            return_dict: False returns a tuple; None follows the configuration.

        Raises:
            InputError: Both or neither input is given, or L exceeds `max_seq_len`.
        """
        plain = super().forward(input_ids, inputs_embeds)
        loss = None
        if labels is not None:
            logits = plain.logits[:, :-1].flatten(0, 1)
            loss = F.cross_entropy(logits, labels[:, 1:].flatten().long())
        output = CausalLMOutput(
            loss=loss,
            logits=plain.logits,
            hidden_states=_if_wanted(plain.hidden_states, output_hidden_states, self.config),
        )
        return output if _wants_dict(self.config, return_dict) else output.to_tuple()


class _ClassifierInterface:
    """Arguments and output of Hugging Face classifiers, around those of a plain classifier."""

    config: Any
    output_class: ClassVar[type] = TokenClassifierOutput

    def forward(
        self,
        input_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
        attention_mask: Tensor | None = None,
        output_attentions: bool | None = None,
        positions: slice = ALL,
        tracks: Tensor | None = None,
    ) -> TokenClassifierOutput | SequenceClassifierOutput | tuple[Any, ...]:
        """Compute `logits` float32: (B, L, num_labels) per base, or (B, num_labels) per sequence.

        Args:
            input_ids: Token ids, shape (B, L), int64.
            inputs_embeds: Result of `embed` instead of ids, shape (B, L, channels). They are taken
                to have no padding, since it cannot be seen.
            labels: Labels of any integer dtype; see `label_loss`.
            output_hidden_states: Whether to return the input of every layer and the output of the
                last too; None follows the configuration.
            return_dict: False returns a tuple; None follows the configuration.
            attention_mask: Not used, as published; peft and Trainer pass it on.
            output_attentions: Not used: there is no attention.
            positions: Bases whose logits are wanted, and are returned alone.
            tracks: Tracks of the ids, shape (B, L, C), for a classifier whose configuration has
                `tracks`, and for no other; see input_tracks.py.

        Raises:
            InputError: Both or neither input is given, L exceeds `max_seq_len`, or `tracks` are
                missing or have no use.
        """
        plain: ClassifierOutput = super().forward(  # type: ignore[misc]
            input_ids, inputs_embeds, positions, tracks
        )
        output = self.output_class(
            loss=None if labels is None else label_loss(self.config, plain.logits, labels),
            logits=plain.logits,
            hidden_states=_if_wanted(plain.hidden_states, output_hidden_states, self.config),
        )
        return output if _wants_dict(self.config, return_dict) else output.to_tuple()


class _HyenaDNAHubClassifier(  # type: ignore[misc]
    _ClassifierInterface, HyenaDNAClassifier, HyenaDNAPreTrainedModel
):
    """What the two classifiers have in common."""

    default_pooling: ClassVar[Pooling | None]
    """Pooling where the configuration has none."""

    def __init__(self, config: HyenaDNAConfig, num_labels: int | None = None) -> None:
        config = copy.deepcopy(config)  # the caller may use theirs again
        config.num_labels = config.num_labels if num_labels is None else num_labels
        if self.default_pooling is None:
            config.pooling = None
        else:
            config.pooling = config.pooling or self.default_pooling
        PreTrainedModel.__init__(self, config)
        self.num_labels = config.num_labels
        self.build(config)
        PreTrainedModel.post_init(self)


class HyenaDNAForTokenClassification(_HyenaDNAHubClassifier):
    """HyenaDNA with one label per position, from the hidden state of that position.

    Example:
        >>> config = HyenaDNAConfig(d_model=8, d_inner=16, n_layer=1, max_seq_len=64)
        >>> model = HyenaDNAForTokenClassification(config, num_labels=3)
        >>> model(torch.full((1, 20), 7)).logits.shape
        torch.Size([1, 20, 3])

    Reference: Bokhyan 2025, Algorithm 1.
    """

    default_pooling = None


class HyenaDNAForSequenceClassification(_HyenaDNAHubClassifier):
    """HyenaDNA with one label per sequence; as published from its last token that is no padding.

    Example:
        >>> config = HyenaDNAConfig(d_model=8, d_inner=16, n_layer=1, max_seq_len=64)
        >>> HyenaDNAForSequenceClassification(config)(torch.full((1, 20), 7)).logits.shape
        torch.Size([1, 2])
    """

    default_pooling = "last"
    output_class = SequenceClassifierOutput


# Baselines.


class _HubBaseline(_ClassifierInterface):
    """Construction of a baseline as a Hugging Face model."""

    # Methods of the baseline that it is combined with.
    build: Any
    initialise_module: Any

    def __init__(self, config: PreTrainedConfig) -> None:
        PreTrainedModel.__init__(self, config)
        self.build(config)
        PreTrainedModel.post_init(self)

    def init_weights(self) -> None:
        """Do nothing: the modules have drawn their weights when they were built."""

    def _init_weights(self, module: nn.Module) -> None:
        self.initialise_module(module)


class DilatedCNNClassifier(_HubBaseline, DilatedCNN, PreTrainedModel):  # type: ignore[misc]
    """The dilated CNN, with labels of bases or of sequences."""

    config_class = DilatedCNNHubConfig


class BiLSTMClassifier(_HubBaseline, BiLSTM, PreTrainedModel):  # type: ignore[misc]
    """The BiLSTM, with labels of bases or of sequences."""

    config_class = BiLSTMHubConfig


class TransformersBackboneClassifier(_HubBaseline, TransformersClassifier, PreTrainedModel):  # type: ignore[misc]
    """A backbone of transformers with our head, with labels of bases or of sequences."""

    config_class = TransformersHubConfig


class KmerLogisticClassifier(_HubBaseline, KmerLogisticRegression, PreTrainedModel):  # type: ignore[misc]
    """The logistic regression on k-mers, with labels of bases or of sequences."""

    config_class = KmerLogisticHubConfig


class RuleClassifier(_HubBaseline, RuleModel, PreTrainedModel):  # type: ignore[misc]
    """A rule of thumb, with labels of bases or of sequences."""

    config_class = RuleHubConfig


class ZHuntClassifier(_HubBaseline, ZHuntModel, PreTrainedModel):  # type: ignore[misc]
    """Z-HUNT, with labels of bases."""

    config_class = ZHuntHubConfig


class BoostedTreesClassifier(_HubBaseline, BoostedTrees, PreTrainedModel):  # type: ignore[misc]
    """The boosted trees, with labels of bases."""

    config_class = BoostedTreesHubConfig


# The tokenizer.

_LETTERS = {token_id: token for token, token_id in TOKEN_IDS.items()}


class HyenaDNATokenizer(PreTrainedTokenizer):
    """The published tokenizer: one token per letter; appends [SEP] and pads on the left.

    Anything but A C G T N, lower case included, becomes [UNK]. Windows do not pass through it:
    dataset/tokens.py encodes them, with the same ids and without special tokens. Arguments are
    those of transformers' tokenizers.

    Example:
        >>> HyenaDNATokenizer()("ACGTN")["input_ids"]
        [7, 8, 9, 10, 11, 1]
    """

    model_input_names = ("input_ids",)

    def __init__(
        self,
        model_max_length: int = LONGEST_INPUT,
        bos_token: str = "[BOS]",
        eos_token: str = "[SEP]",
        sep_token: str = "[SEP]",
        cls_token: str = "[CLS]",
        pad_token: str = "[PAD]",
        mask_token: str = "[MASK]",
        unk_token: str = "[UNK]",
        padding_side: str = "left",
        **options: Any,
    ) -> None:
        options["special_tokens_pattern"] = "eos"  # transformers' name for a last token alone
        super().__init__(
            model_max_length=model_max_length,
            bos_token=bos_token,
            eos_token=eos_token,
            sep_token=sep_token,
            cls_token=cls_token,
            pad_token=pad_token,
            mask_token=mask_token,
            unk_token=unk_token,
            padding_side=padding_side,
            **options,
        )

    @property
    def vocab_size(self) -> int:
        """Number of tokens."""
        return len(TOKEN_IDS)

    def get_vocab(self) -> dict[str, int]:
        """Return the ids by token."""
        return dict(TOKEN_IDS)

    def save_vocabulary(
        self, save_directory: str, filename_prefix: str | None = None
    ) -> tuple[str, ...]:
        """Write nothing: the vocabulary is fixed.

        Args:
            save_directory: Not used.
            filename_prefix: Not used.
        """
        return ()

    def _tokenize(self, text: str, **options: Any) -> list[str]:
        return list(text)

    def _convert_token_to_id(self, token: str) -> int:
        return TOKEN_IDS.get(token, TOKEN_IDS["[UNK]"])

    def _convert_id_to_token(self, index: int) -> str:
        return _LETTERS[index]

    def convert_tokens_to_string(self, tokens: list[str]) -> str:
        """Join tokens.

        Args:
            tokens: Letters and special tokens.
        """
        return "".join(tokens)


def label_loss(config: Any, logits: Tensor, labels: Tensor) -> Tensor:
    """Compute the loss that a Hugging Face classifier computes by itself.

    Args:
        config: Configuration with `num_labels`, `class_weights` and `pooling`.
        logits: Shape (B, L, C) or (B, C).
        labels: Classes of bases, shape (B, L), where -100 is ignored. For sequences classes, shape
            (B,); numbers when there is one label (mean squared error); or float of shape (B, C),
            several classes at once (binary cross-entropy).
    """
    if kind_of(config) == "sequence" and config.num_labels == 1:
        return F.mse_loss(logits[:, 0], labels.flatten().float())
    if kind_of(config) == "sequence" and labels.is_floating_point():
        return F.binary_cross_entropy_with_logits(logits, labels.float())
    weights = config.class_weights
    return F.cross_entropy(
        logits.flatten(0, -2),
        labels.flatten().long(),
        weight=None if weights is None else logits.new_tensor(weights),
        ignore_index=IGNORED,
    )


def _read_config(folder: Path, **changes: Any) -> HyenaDNAConfig:
    """Read config.json as a Hugging Face configuration, which keeps keys that it does not know."""
    try:
        return HyenaDNAConfig(**(config_values(folder) | changes))
    except (StrictDataclassError, TypeError, ValueError) as error:
        if isinstance(error, InputError):
            if not str(error).startswith("config: "):
                raise
            raise error.within(folder / "config.json") from None
        reason = " ".join(str(error).split())
        path = folder / "config.json"
        raise InputError(path, None, f"unfit value ({reason})", "correct the file") from None


def _if_wanted(
    states: tuple[Tensor, ...], output_hidden_states: bool | None, config: PreTrainedConfig
) -> tuple[Tensor, ...] | None:
    wanted = config.output_hidden_states if output_hidden_states is None else output_hidden_states
    return states if wanted else None


def _wants_dict(config: PreTrainedConfig, return_dict: bool | None) -> bool:
    """Return whether `forward` returns a named output; the caller's wish overrides the config."""
    return bool(config.return_dict if return_dict is None else return_dict)


_CONFIG_KEYS = {field.name for field in fields(HyenaDNAConfig)} - {"dtype"} | {"num_labels"}

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
for _baseline in (
    DilatedCNNClassifier,
    BiLSTMClassifier,
    TransformersBackboneClassifier,
    KmerLogisticClassifier,
    RuleClassifier,
    ZHuntClassifier,
    BoostedTreesClassifier,
):
    AutoConfig.register(_baseline.config_class.model_type, _baseline.config_class, exist_ok=True)
    # They have no backbone without a head: AutoModel gives the whole model.
    for _auto in (AutoModel, AutoModelForTokenClassification, AutoModelForSequenceClassification):
        _auto.register(_baseline.config_class, _baseline, exist_ok=True)

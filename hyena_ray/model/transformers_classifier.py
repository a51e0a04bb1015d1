"""Labels of bases or sequences from a backbone that transformers implements.

transformers is imported when such a classifier is built: processes of our own models do not load
it. Code from a checkpoint's repository is never run.

Tokens of several bases are cut side by side from the first base of an input, as Nucleotide
Transformer's tokenizer cuts them; the bases that fill no token at its end have one each. A token
that would hold an unknown base is the mask, which stands for unknown bases in pretraining.
Embeddings have a row for every base, and a token's embedding is the mean of its rows: so an
attribution to embeddings is one to bases, in which those of one token share alike.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path, PurePath
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn import init

from hyena_ray.dataset.tokens import FIRST_BASE, TOKEN_IDS
from hyena_ray.errors import InputError
from hyena_ray.files import read_json
from hyena_ray.model.backbone_table import (
    BACKBONES,
    SPECIAL,
    Backbone,
    backbone_of,
    check_values,
    refuse_remote_code,
)
from hyena_ray.model.classifier import Classifier, ClassifierOutput
from hyena_ray.model.configuration import TransformersConfig, TransformersFields
from hyena_ray.model.heads import PositionPool, make_head, make_pool, make_track_embedding
from hyena_ray.model.input_tracks import ZeroInitLinear
from hyena_ray.model.pretrained import (
    WEIGHT_FILES,
    complete_weights,
    read_tensors,
    resolve_checkpoint,
    weight_shapes,
)
from hyena_ray.model.settings import Targets

VOCABULARIES = ("vocab.txt", "tokenizer.json")
"""Files that a checkpoint names its tokens in, in order of preference."""
NETWORK, TABLE = "network.", "token_table"
"""Prefix of the backbone's weights in ours, and the name of its tokens' ids."""
MASK_SHARE = 0.15 * 0.8
"""Share of the tokens that ESM masks in pretraining; see `TransformersClassifier.embed`."""


class TransformersClassifier(Classifier):
    """A backbone of transformers with a head; the backbone is `network`.

    Example:
        >>> from hyena_ray.model.configuration import TransformersConfig
        >>> TransformersClassifier(TransformersConfig())(torch.full((2, 30), 7)).logits.shape
        torch.Size([2, 30, 2])
    """

    base_model_prefix = "network"
    """Name of the backbone, as peft and transformers ask for it."""
    token_table: Tensor
    """The backbone's ids of the tokens of dataset/tokens.py, then those of the k-mers of bases in
    lexicographic order where tokens hold several bases; int64."""

    def build(self, config: Any) -> None:
        self.config = config
        self.backbone = backbone_of(config.network)
        self.network = make_network(config.network)
        width = config.network["hidden_size"]
        self.score = make_head(config, width, bias=True)
        self.pool = make_pool(config, width)
        self.tracks = make_track_embedding(config, width)
        for part in (self.score, self.pool, self.tracks):
            if part is not None:
                part.apply(self.initialise_module)
        self.register_buffer(TABLE, _own_table(self.backbone))

    @torch.no_grad()
    def initialise_module(self, module: nn.Module) -> None:
        """Draw the weights of a part of the head; transformers has drawn those of the backbone.

        Args:
            module: Any module of this classifier.
        """
        if isinstance(module, ZeroInitLinear):
            init.zeros_(module.weight)
            init.zeros_(module.bias)
        elif isinstance(module, PositionPool):
            init.ones_(module.weight)
        elif isinstance(module, nn.Linear | nn.Conv1d | nn.LayerNorm):
            module.reset_parameters()

    def get_input_embeddings(self) -> nn.Embedding:
        return cast(nn.Embedding, self.network.get_input_embeddings())

    def set_input_embeddings(self, value: nn.Embedding) -> None:
        """Replace the table of token embeddings.

        Args:
            value: The new table.
        """
        self.network.set_input_embeddings(value)

    def lora_modules(self, targets: Targets) -> list[str]:
        wanted = self.backbone.targets.get(targets)
        if wanted is None:
            raise InputError(
                "lora.targets",
                targets,
                f"{self.backbone.model_type} has none of them",
                f"use {' or '.join(self.backbone.targets)}",
            )
        within = rf"{re.escape(self.backbone.layers)}\d+\."
        return [
            f"{NETWORK}{name}"
            for name, _ in self.network.named_modules()
            if re.sub(f"^{within}", "", name) in wanted
        ]

    def checkpoint_activations(self) -> None:
        self.network.gradient_checkpointing_enable(
            gradient_checkpointing_kwargs={"use_reentrant": False}
        )

    def tokens(self, input_ids: Tensor) -> Tensor:
        """Return the backbone's tokens of bases, without one for the whole input.

        Args:
            input_ids: Token ids of dataset/tokens.py, shape (B, L), int64.

        Returns:
            Shape (B, L // k + L % k), int64, where k is the bases of a token.
        """
        size = self.backbone.bases_per_token
        if size == 1:
            return self.token_table[input_ids]
        whole = input_ids.shape[1] // size * size
        groups = input_ids[:, :whole].unflatten(1, (-1, size)) - FIRST_BASE
        powers = 4 ** torch.arange(size - 1, -1, -1, device=groups.device)
        known = ((groups >= 0) & (groups < 4)).all(-1)
        padding = (groups + FIRST_BASE == self.config.pad_token_id).all(-1)
        other = torch.where(padding, TOKEN_IDS["[PAD]"], TOKEN_IDS["[MASK]"])
        rows = torch.where(known, (groups * powers).sum(-1) + len(TOKEN_IDS), other)
        return self.token_table[torch.cat([rows, input_ids[:, whole:]], dim=1)]

    def embed(self, input_ids: Tensor, tracks: Tensor | None) -> Tensor:
        """Return what the layers read: for every base the embedding of its token.

        ESM, where its configuration says so (`token_dropout`), does without the embedding of the
        mask, and scales the others by the share of tokens that pretraining left unmasked.

        Args:
            input_ids: Token ids, shape (B, L), int64.
            tracks: Tracks of the same positions, shape (B, L, C), for a classifier that reads them.

        Returns:
            Shape (B, L, channels).
        """
        tokens = self.tokens(input_ids)
        embeddings = self._scaled(self.get_input_embeddings()(tokens))
        if self.config.network.get("token_dropout"):
            masked = tokens == self.config.network.get("mask_token_id")
            embeddings = embeddings.masked_fill(masked[..., None], 0.0)
        embeddings = self._to_bases(embeddings, input_ids.shape[1])
        return embeddings if self.tracks is None else embeddings + self.tracks(tracks)

    def embeddings_of_bases(self) -> Tensor:
        single = self.backbone.bases_per_token == 1
        known = slice(FIRST_BASE, FIRST_BASE + 4) if single else slice(len(TOKEN_IDS), None)
        return self._scaled(self.get_input_embeddings()(self.token_table[known]))

    def _scaled(self, embeddings: Tensor) -> Tensor:
        dropped = self.config.network.get("token_dropout")
        return embeddings * (1 - MASK_SHARE) if dropped else embeddings

    def _to_bases(self, of_tokens: Tensor, length: int) -> Tensor:
        """Give each of `length` bases what its token has: (B, tokens, D) to (B, length, D)."""
        size = self.backbone.bases_per_token
        if size == 1:
            return of_tokens
        whole = length // size
        spread = of_tokens[:, :whole].repeat_interleave(size, dim=1)
        return torch.cat([spread, of_tokens[:, whole:]], dim=1)

    def _to_tokens(self, of_bases: Tensor) -> Tensor:
        """Return the mean of the bases of each token: (B, L, D) to (B, tokens, D)."""
        size = self.backbone.bases_per_token
        if size == 1:
            return of_bases
        whole = of_bases.shape[1] // size * size
        means = of_bases[:, :whole].unflatten(1, (-1, size)).mean(2)
        return torch.cat([means, of_bases[:, whole:]], dim=1)

    def _label(
        self, input_ids: Tensor | None, inputs_embeds: Tensor | None, positions: slice
    ) -> ClassifierOutput:
        mask = None
        # Windows of a genome have no padding, and attention is faster without a mask.
        if input_ids is not None and self.pool is not None and self.config.pad_token_id is not None:
            mask = (self.tokens(input_ids) != self.token_table[self.config.pad_token_id]).long()
        if inputs_embeds is None:
            inputs_embeds = self.embed(cast(Tensor, input_ids), None)
        length, longest = inputs_embeds.shape[1], self.config.max_seq_len
        if longest is not None and length > longest:
            raise InputError(
                "input length", length, f"above max_seq_len {longest}", "give shorter windows"
            )
        hidden = self._to_bases(self._run(self._to_tokens(inputs_embeds), mask), length)
        read = positions
        if self.config.head == "lookahead" and positions.stop is not None:
            read = slice(positions.start, positions.stop + self.config.lookahead)
        logits = self._label_hidden(hidden[:, read], input_ids)
        if read != positions:
            logits = logits[:, : positions.stop - (positions.start or 0)]
        return ClassifierOutput(logits, (hidden,))

    def _run(self, embeddings: Tensor, mask: Tensor | None) -> Tensor:
        """Run the backbone on embeddings of tokens (B, T, D), of which `mask` (B, T) is 0 for
        padding."""
        first = int(self.backbone.class_token)
        if first:
            token = self.token_table[TOKEN_IDS["[CLS]"]].expand(len(embeddings), 1)
            token = self._scaled(self.get_input_embeddings()(token))
            embeddings = torch.cat([token.to(embeddings.dtype), embeddings], dim=1)
            mask = None if mask is None else F.pad(mask, (1, 0), value=1)
        if self.backbone.model_type == "esm":  # reads embeddings as they are above its lowest layer
            positions = None
            if mask is not None:
                padding = int(self.config.network.get("pad_token_id") or 0)
                positions = mask.cumsum(1) * mask + padding
            embeddings = self.network.embeddings(
                inputs_embeds=embeddings, attention_mask=mask, position_ids=positions
            )
        attention: Any = mask
        if mask is None and set(self.config.network.get("layer_types") or ()) == {"full_attention"}:
            # Else ModernBERT makes a mask of all pairs of positions for local layers that it lacks.
            attention = {"full_attention": None}
        output = self.network(
            inputs_embeds=embeddings, attention_mask=attention, **self.backbone.options
        )
        hidden: Tensor = output.last_hidden_state
        return hidden[:, first:]


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Silence transformers within the block: progress bars, tables of weights, missing kernels.

    What does not fit is refused here, and what transformers would draw is not used.
    """
    from transformers.utils import logging

    shown, level = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if shown:
            logging.enable_progress_bar()


def make_network(values: Mapping[str, Any]) -> Any:
    """Build a backbone of transformers with new weights, drawn from torch's global generator.

    Args:
        values: Values of transformers' configuration, with `model_type`.

    Raises:
        InputError: transformers refuses the configuration.
    """
    import transformers

    backbone = backbone_of(values)
    options = {"add_pooling_layer": False} if backbone.model_type == "esm" else {}
    try:
        config = _transformers_config(values)
        with quiet_transformers():
            network = getattr(transformers, backbone.model_class)(config, **options)
    except InputError:
        raise
    except Exception as error:  # of every kind, from checks of its own and from torch
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            "config: network", None, f"transformers refuses it ({reason})", "correct the file"
        ) from None
    if hasattr(network, "contact_head"):
        network.contact_head = None  # of proteins: weights that would never be trained
    return network


def _transformers_config(values: Mapping[str, Any]) -> Any:
    """Return transformers' configuration; what it does not declare is left out."""
    from transformers import AutoConfig

    backbone = backbone_of(values)
    check_values(values)
    known = {name: values[name] for name in _declared(backbone) if name in values}
    old = {name: values[name] for name in backbone.legacy if name in values}
    # No code is downloaded for attention, whatever the file says.
    attention = {"attn_implementation": "sdpa"} if "num_attention_heads" in known else {}
    return AutoConfig.for_model(backbone.model_type, **attention, **known, **old)


def _declared(backbone: Backbone) -> list[str]:
    """Return the values that a model's own configuration declares, beside those of every one."""
    from transformers import CONFIG_MAPPING, PreTrainedConfig

    common = {item.name for item in fields(PreTrainedConfig)}
    config_class = CONFIG_MAPPING[backbone.model_type]
    return [item.name for item in fields(config_class) if item.name not in common]


def _own_table(backbone: Backbone) -> Tensor:
    """Return the ids of new weights: as dataset/tokens.py has them, or as 6-mers are published."""
    own = torch.arange(len(TOKEN_IDS))
    if backbone.bases_per_token == 1:
        return own
    kmers = map("".join, itertools.product("ATCG", repeat=backbone.bases_per_token))
    return _table_from(backbone, [*SPECIAL, *kmers, *"ATCGN"], PurePath("new weights"))


def _table_from(backbone: Backbone, vocabulary: list[str], place: PurePath) -> Tensor:
    """Return `token_table` for a vocabulary, whose tokens are in the order of their ids.

    Raises:
        InputError: It lacks bases or k-mers.
    """
    ids = {token: number for number, token in enumerate(vocabulary)}
    size = backbone.bases_per_token
    needed = (
        [*"ACGT"] if size == 1 else ["".join(k) for k in itertools.product("ACGT", repeat=size)]
    )
    missing = [token for token in needed if token not in ids]
    if missing:
        raise InputError(
            place,
            missing[0],
            f"no token of it, and {len(missing) - 1:,} more are missing; tokens must hold "
            f"{size} base{'s' * (size > 1)} each",
            "use a checkpoint with such tokens",
        )

    def find(name: str, otherwise: int) -> int:
        return ids.get(f"<{name.strip('[]').lower()}>", ids.get(name, otherwise))

    unknown = find("[UNK]", find("[MASK]", 0))
    own = [find(token, unknown) for token in TOKEN_IDS]
    return torch.tensor(own + ([] if size == 1 else [ids[token] for token in needed]))


def load_transformers(
    architecture: str,
    source: str | PurePath,
    revision: str | None,
    dropout: float,
    **labels: Any,
) -> TransformersClassifier:
    """Build a classifier with the backbone of a checkpoint of transformers, and a new head.

    Args:
        architecture: Name of the backbone in the table.
        source: A folder, its URI, or a hub id with `revision`.
        revision: Commit of the hub id.
        dropout: Rate inside the layers.
        labels: Values of our configuration: what is labelled, by which head.

    Raises:
        InputError: The checkpoint needs code of its own, is of another architecture, is damaged, or
            has no token for every base.
    """
    backbone = BACKBONES[architecture]
    folder = resolve_checkpoint(source, revision, more=VOCABULARIES)
    path = folder / "config.json"
    values = read_json(path)
    if not isinstance(values, dict):
        raise InputError(path, None, "holds no configuration", "give a checkpoint's folder")
    refuse_remote_code(values, path)
    ours = values.get("model_type") == TransformersFields.model_type
    if ours:
        values = values.get("network")
    if not isinstance(values, dict) or values.get("model_type") != backbone.model_type:
        kind = values.get("model_type") if isinstance(values, dict) else None
        raise InputError(
            f"{path}: model_type",
            kind,
            f"is no {architecture}, whose model_type is {backbone.model_type}",
            "give another folder, or set model.architecture",
        )
    try:
        config = _transformers_config(values)
    except InputError as error:
        raise error.within(path) from None
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(path, None, f"unfit value ({reason})", "correct the file") from None
    declared = {name: getattr(config, name) for name in _declared(backbone)}
    network = json.loads(json.dumps(declared)) | dict.fromkeys(backbone.dropout, dropout)
    try:
        chosen = TransformersConfig(network={"model_type": backbone.model_type} | network, **labels)
        shapes = weight_shapes(TransformersClassifier, chosen)
    except InputError as error:
        raise error.within(path) from None
    expected = {name: shape for name, shape in shapes.items() if name.startswith(NETWORK)}
    stored = _stored_weights(folder, backbone)
    if TABLE not in stored:
        stored[TABLE] = _table_from(backbone, *_vocabulary(folder))
    expected[TABLE] = shapes[TABLE]
    weights = complete_weights(stored, expected, folder)
    _check_table(weights[TABLE], chosen, folder)
    classifier = TransformersClassifier(chosen)
    classifier.load_state_dict(weights, strict=False)  # the head is new
    return classifier.eval()


def _stored_weights(folder: Path, backbone: Backbone) -> dict[str, Tensor]:
    """Read the weights of a checkpoint under our names; those of its head are left as they are."""
    path = next((folder / name for name in WEIGHT_FILES if (folder / name).is_file()), None)
    if path is None:
        raise InputError(
            folder, None, f"holds none of {', '.join(WEIGHT_FILES)}", "give a checkpoint's folder"
        )
    weights = read_tensors(path)
    if TABLE in weights:  # a classifier of ours
        return weights
    renamed = {}
    for name, value in weights.items():
        ours = name.removeprefix(backbone.prefix)
        for pattern, replacement in backbone.renamed:
            ours = re.sub(pattern, replacement, ours)
        renamed[NETWORK + ours] = value
    return renamed


def _vocabulary(folder: Path) -> tuple[list[str], Path]:
    """Read the tokens of a checkpoint in the order of their ids, and where they are from."""
    path = next((folder / name for name in VOCABULARIES if (folder / name).is_file()), None)
    if path is None:
        raise InputError(
            folder, None, f"holds none of {', '.join(VOCABULARIES)}", "add the tokenizer's file"
        )
    if path.suffix == ".txt":
        return path.read_text(encoding="utf-8").split(), path
    values = read_json(path)
    try:
        ids = {**values["model"]["vocab"]}
        ids |= {token["content"]: token["id"] for token in values.get("added_tokens", ())}
        order = sorted(ids, key=ids.__getitem__)
        if [ids[token] for token in order] != list(range(len(order))):
            raise ValueError
    except (KeyError, TypeError, ValueError, AttributeError):
        raise InputError(path, None, "holds no table of tokens", "give vocab.txt") from None
    return order, path


def _check_table(table: Tensor, config: TransformersConfig, place: PurePath) -> None:
    rows = int(config.network["vocab_size"])
    if int(table.min()) < 0 or int(table.max()) >= rows:
        raise InputError(
            place, TABLE, f"a token is not within the {rows} of vocab_size", "correct the files"
        )

"""The baselines that HyenaDNA has to beat: two networks, a regression on k-mers, rules of thumb.

All take what HyenaDNA's classifiers take and give what they give; `config.pooling` says whether
they label bases or sequences. All see both sides of a base.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple, NoReturn

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn import init

from hyena_ray.dataset.tokens import FIRST_BASE
from hyena_ray.errors import InputError
from hyena_ray.model.classifier import Classifier, ClassifierOutput
from hyena_ray.model.configuration import DilatedCNNFields
from hyena_ray.model.heads import PositionPool, make_head, make_pool, make_track_embedding
from hyena_ray.model.input_tracks import ZeroInitLinear

# Networks: embeddings below and a head above what a subclass computes between them.


class NetworkBaseline(Classifier):
    """Embeddings, the layers of a subclass, and a head."""

    def build(self, config: Any) -> None:
        self.config = config
        self.embedding = nn.Embedding(config.vocab_size, config.channels)
        width = self.build_layers(config)
        self.score = make_head(config, width, bias=True)
        self.pool = make_pool(config, width)
        self.tracks = make_track_embedding(config, config.channels)
        self.apply(self.initialise_module)

    @abstractmethod
    def build_layers(self, config: Any) -> int:
        """Make the layers between embeddings and head.

        Args:
            config: Sizes of the network.

        Returns:
            Channels of the last hidden state.
        """

    @abstractmethod
    def _states(self, embedded: Tensor) -> tuple[Tensor, ...]:
        """Map (B, L, channels) embeddings to hidden states (B, L, ...); the last is labelled."""

    @torch.no_grad()
    def initialise_module(self, module: nn.Module) -> None:
        if isinstance(module, ZeroInitLinear):
            init.zeros_(module.weight)
            init.zeros_(module.bias)
        elif isinstance(module, nn.Conv1d):
            init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                init.zeros_(module.bias)
        elif isinstance(module, nn.Embedding):
            init.normal_(module.weight)
        elif isinstance(module, PositionPool):
            init.ones_(module.weight)
        elif isinstance(module, nn.LSTM):
            for name, parameter in module.named_parameters():
                if "weight" in name:
                    init.xavier_uniform_(parameter)
                else:
                    init.zeros_(parameter)
        elif isinstance(module, nn.Linear):
            init.normal_(module.weight, std=0.02)  # a loss near log 2 at the start
            if module.bias is not None:
                init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm1d):
            module.reset_parameters()

    def get_input_embeddings(self) -> nn.Embedding:
        return self.embedding

    def set_input_embeddings(self, value: nn.Embedding) -> None:
        """Replace the table of token embeddings.

        Args:
            value: The new table.
        """
        self.embedding = value

    def _label(
        self, input_ids: Tensor | None, inputs_embeds: Tensor | None, positions: slice
    ) -> ClassifierOutput:
        states = self._states(self.embedding(input_ids) if inputs_embeds is None else inputs_embeds)
        return ClassifierOutput(self._label_hidden(states[-1][:, positions], input_ids), states)


class DilatedLayer(nn.Module):
    """x + conv1(gelu(dilated(gelu(norm(x))))), (B, C, L) in and out.

    Args:
        config: Sizes of the network.
        dilation: Distance of the taps in bases.
    """

    def __init__(self, config: DilatedCNNFields, dilation: int) -> None:
        super().__init__()
        channels, kernel = config.channels, config.kernel_size
        self.norm = nn.BatchNorm1d(channels)
        self.dilated = nn.Conv1d(channels, channels, kernel, padding="same", dilation=dilation)
        self.mix = nn.Conv1d(channels, channels, 1)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor) -> Tensor:
        added = self.mix(F.gelu(self.dilated(F.gelu(self.norm(x)))))
        result: Tensor = x + self.dropout(added)
        return result


class DilatedCNN(NetworkBaseline):
    """A small convolutional network: a stem, dilated layers with residuals, a last norm."""

    def build_layers(self, config: Any) -> int:
        self.stem = nn.Conv1d(config.channels, config.channels, config.kernel_size, padding="same")
        self.layers = nn.ModuleList(DilatedLayer(config, d) for d in config.dilations)
        self.norm = nn.BatchNorm1d(config.channels)
        return int(config.channels)

    def _states(self, embedded: Tensor) -> tuple[Tensor, ...]:
        states = [self.stem(embedded.transpose(1, 2))]
        for layer in self.layers:
            states.append(layer(states[-1]))
        states.append(F.gelu(self.norm(states[-1])))
        return tuple(state.transpose(1, 2) for state in states)


class BiLSTM(NetworkBaseline):
    """A bidirectional LSTM on sequence alone, as DeepZ is without its omics."""

    def build_layers(self, config: Any) -> int:
        self.lstm = nn.LSTM(
            config.channels,
            config.channels,
            num_layers=config.n_layer,
            batch_first=True,
            dropout=config.dropout if config.n_layer > 1 else 0.0,  # between layers
            bidirectional=True,
        )
        return 2 * int(config.channels)

    def _states(self, embedded: Tensor) -> tuple[Tensor, ...]:
        if self.training or not embedded.requires_grad:
            return (self.lstm(embedded)[0],)
        # cuDNN's LSTM has no backward pass in evaluation mode, and attribution needs one.
        with torch.backends.cudnn.flags(enabled=False):
            return (self.lstm(embedded)[0],)


# Baselines that compute from the bases themselves, without embeddings.


class LetterBaseline(Classifier):
    """A score of the bases themselves, without embeddings or hidden states."""

    tracks = None

    def initialise_module(self, module: nn.Module) -> None:
        """Do nothing: all weights are as they were made.

        Args:
            module: Any module of this classifier.
        """

    def get_input_embeddings(self) -> NoReturn:
        raise InputError(
            "model.architecture",
            self.config.model_type,
            "reads letters and has no embeddings",
            "use a model that has: hyenadna, dilated_cnn or bilstm",
        )

    @abstractmethod
    def _logits(self, input_ids: Tensor) -> Tensor:
        """Map (B, L) ids to logits, (B, L, C) or (B, C) float32."""

    def _label(
        self, input_ids: Tensor | None, inputs_embeds: Tensor | None, positions: slice
    ) -> ClassifierOutput:
        if input_ids is None:
            self.get_input_embeddings()
        logits = self._logits(input_ids)
        return ClassifierOutput(logits[:, positions] if logits.ndim == 3 else logits, ())


class KmerWeights(nn.Module):
    """Weights of the counts, shape (4**k, C), and biases; 0 at the start, as in any regression.

    Args:
        k: Bases of a k-mer.
        num_labels: Classes.
    """

    def __init__(self, k: int, num_labels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(4**k, num_labels))
        self.bias = nn.Parameter(torch.zeros(num_labels))


class KmerLogisticRegression(LetterBaseline):
    """Logistic regression on counts of k-mers, around each base or over the sequence.

    logits = bias + sum over k-mers of count * weight. The counts are never written out: adding up
    the weights of the k-mers around a base is the same. K-mers with anything but A C G T count
    nowhere.
    """

    score: KmerWeights

    def build(self, config: Any) -> None:
        self.config = config
        self.score = KmerWeights(config.k, config.num_labels)

    @property
    def reach(self) -> int | None:
        """Bases on each side of a base whose k-mers count; None for sequences."""
        return self.config.radius if self.config.pooling is None else None

    def _logits(self, input_ids: Tensor) -> Tensor:
        # k-mers that extend past an end of the input are none either.
        k, radius = self.config.k, self.config.radius
        margin = k - 1 if self.config.pooling else radius
        ranks = kmer_ranks(F.pad(input_ids, (margin, margin), value=FIRST_BASE - 1), k)
        # A last row of zeros, for what is no k-mer.
        weights = F.embedding(ranks, F.pad(self.score.weight, (0, 0, 0, 1)))
        if self.config.pooling:
            return (weights.sum(1) + self.score.bias).float()
        return (weights.unfold(1, 2 * radius + 2 - k, 1).sum(-1) + self.score.bias).float()


def kmer_ranks(input_ids: Tensor, k: int) -> Tensor:
    """Rank every k-mer among the 4**k in lexicographic order.

    Args:
        input_ids: Token ids, shape (B, L).
        k: Bases of a k-mer.

    Returns:
        Ranks by first base, shape (B, L - k + 1), int64; 4**k where one of the tokens is no base.

    Example:
        >>> kmer_ranks(torch.tensor([[7, 8, 9, 11]]), 2)  # ACGN
        tensor([[ 1,  6, 16]])
    """
    codes = (input_ids.long() - FIRST_BASE).unfold(1, k, 1)
    powers = 4 ** torch.arange(k - 1, -1, -1, device=codes.device)
    bases = ((codes >= 0) & (codes < 4)).all(-1)
    return torch.where(bases, (codes * powers).sum(-1), 4**k)


# Rules of thumb from before there was learning: one score, of which a scale and an offset are
# fitted, so that it passes through the same training, threshold and metrics as every model.

OTHER = 4
"""Code of whatever is no base."""
WINDOW = 25
"""Bases that G4Hunter averages over, and that GC content is taken from."""

# Alternating purine and pyrimidine, CG before CA/TG before AT; everything else breaks the run.
# Chosen among two dozen by F1 on the training contigs of hg19 (chr13, chr14, chrX).
_STEPS = torch.full((5, 5), -6.0, dtype=torch.float64)
_STEPS[[1, 2], [2, 1]] = 3.0  # CG GC
_STEPS[[1, 0, 3, 2], [0, 1, 2, 3]] = 1.0  # CA AC TG GT
_STEPS[[0, 3], [3, 0]] = -2.0  # AT TA
_STEPS[OTHER, :] = _STEPS[:, OTHER] = -1e4


@cache
def _steps(device: torch.device) -> Tensor:
    """Return the step weights on a device, copied once: a copy in every pass would synchronise."""
    return _STEPS.to(device)


class Rule(NamedTuple):
    """A rule of thumb; larger scores speak for class 1."""

    score: Callable[[Tensor], Tensor]
    """Map from base codes (B, L), int64, `OTHER` for no base, to float32 scores of the bases."""
    whole: Callable[[Tensor], Tensor]
    """Map from the same codes to scores of sequences, shape (B,)."""
    centre: float
    """A score between the classes; only to start the fit close to its end, as is `unit`."""
    unit: float
    """A difference in score that matters."""


def alternation(codes: Tensor) -> Tensor:
    """Score alternating purine and pyrimidine.

    Args:
        codes: Base codes, shape (B, L), int64; `OTHER` for no base.

    Returns:
        For each base the best sum of step weights over the segments that hold it, at least 0;
        shape (B, L), float32.
    """
    sums = F.pad(_steps(codes.device)[codes[:, :-1], codes[:, 1:]].cumsum(1), (1, 0))
    # The difference is taken in float64, since runs of N make the sums large.
    return (sums.flip(1).cummax(1).values.flip(1) - sums.cummin(1).values).float()


def g4hunter(codes: Tensor) -> Tensor:
    """Score runs of G and C as G4Hunter does.

    Every G counts the length of its run, at most 4, every C the same below zero. Bases that reach
    a threshold are those in G4Hunter's windows at that threshold. Shorter inputs are one window.

    Args:
        codes: Base codes, shape (B, L), int64; `OTHER` for no base.

    Returns:
        For each base the largest absolute mean over the 25 bp windows that hold it; shape (B, L),
        float32.

    Example:
        >>> g4hunter(torch.tensor([[2, 2, 2, 2, 2, 2]]))
        tensor([[4., 4., 4., 4., 4., 4.]])

    Reference: Bedrat, Lacroix and Mergny 2016.
    """
    values = _run_lengths(codes == 2).clamp(max=4) - _run_lengths(codes == 1).clamp(max=4)
    size = min(WINDOW, codes.shape[1])
    means = F.avg_pool1d(values.float(), size, stride=1).abs()
    # Scores are not negative, so that zeros beyond the ends win nowhere.
    return F.max_pool1d(F.pad(means, (size - 1, size - 1)), size, stride=1)


def gc_content(codes: Tensor) -> Tensor:
    """Compute GC content around each base.

    Args:
        codes: Base codes, shape (B, L), int64; `OTHER` for no base.

    Returns:
        Fraction of G and C among the known bases within 12 of each base; shape (B, L), float32.
    """
    ones = torch.ones(1, 1, WINDOW, device=codes.device)
    strong, known = (
        F.conv1d(chosen.float()[:, None], ones, padding=WINDOW // 2)[:, 0]
        for chosen in ((codes == 1) | (codes == 2), codes != OTHER)
    )
    return strong / known.clamp_min(1)


def _gc_of_sequence(codes: Tensor) -> Tensor:
    known = (codes != OTHER).sum(1)
    return ((codes == 1) | (codes == 2)).sum(1) / known.clamp_min(1)


def _run_lengths(chosen: Tensor) -> Tensor:
    """Return the length of the run of True that holds each position of (B, L), else 0."""
    length = chosen.shape[1]
    positions = torch.arange(length, device=chosen.device)
    before = torch.where(chosen, -1, positions).cummax(1).values
    after = torch.where(chosen, length, positions).flip(1).cummin(1).values.flip(1)
    return torch.where(chosen, after - before - 1, 0)


RULES: dict[str, Rule] = {
    "alternation": Rule(alternation, lambda codes: alternation(codes).amax(1), 13.0, 4.0),
    "g4hunter": Rule(g4hunter, lambda codes: g4hunter(codes).amax(1), 1.4, 0.3),
    "gc_content": Rule(gc_content, _gc_of_sequence, 0.55, 0.1),
}
RULE_OF_TASK = {"zdna": "alternation", "g4": "g4hunter", "promoter": "gc_content"}
"""Rule that the models of a task have to beat."""


class RuleModel(LetterBaseline):
    """Probability of class 1 = sigmoid(scale * (score - centre) / unit + offset)."""

    score: nn.Linear

    def build(self, config: Any) -> None:
        self.config = config
        if config.rule not in RULES:
            raise InputError("config: rule", config.rule, "unknown", f"use {', '.join(RULES)}")
        if config.num_labels != 2:
            raise InputError("config: num_labels", config.num_labels, "a rule has two", "set 2")
        self.score = nn.Linear(1, 1)
        self.apply(self.initialise_module)

    @torch.no_grad()
    def initialise_module(self, module: nn.Module) -> None:
        if isinstance(module, nn.Linear):
            init.ones_(module.weight)
            init.zeros_(module.bias)

    def _logits(self, input_ids: Tensor) -> Tensor:
        codes = input_ids.long() - FIRST_BASE
        codes = torch.where((codes >= 0) & (codes < OTHER), codes, OTHER)
        rule = RULES[self.config.rule]
        scores = rule.whole(codes) if self.config.pooling else rule.score(codes)
        for_one = self.score(((scores - rule.centre) / rule.unit)[..., None]).float()
        return torch.cat([torch.zeros_like(for_one), for_one], dim=-1)


BASELINES: dict[str, type[Classifier]] = {
    "dilated_cnn": DilatedCNN,
    "bilstm": BiLSTM,
    "kmer_logistic": KmerLogisticRegression,
    "rule": RuleModel,
}
"""All baselines by the `model_type` of their configuration."""

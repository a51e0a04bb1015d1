"""Settings of a supervised run and of a pretraining, each in one validated object."""

from __future__ import annotations

import hashlib
from typing import Literal, NamedTuple, Self

from pydantic import Field, model_validator

from hyena_ray.model.settings import Filters, LoraSettings, ModelSettings, Readout, ReadoutSettings
from hyena_ray.settings import Settings
from hyena_ray.tasks import task_named


class DataSettings(Settings):
    """Which of the prepared windows are used."""

    length: int = Field(default=100, ge=1)
    """Window length in bases; must be among the prepared lengths."""
    limit: int | None = Field(default=None, ge=1)
    """Use only so many training windows, evenly over all of them; None uses all."""
    fold: int | None = Field(default=None, ge=0)
    """Of data that was split into folds: the one that is tested. The next one validates, and all
    others train."""


class TrainingSettings(Settings):
    """Optimisation of one run."""

    stages: Literal["single", "discriminative", "two_stage", "frozen"] = "single"
    """Train everything at one rate; at one rate for the backbone and one for the head; first the
    head on a frozen backbone, and then as `discriminative`; or the head alone."""
    epochs: int = Field(default=8, ge=1)
    """Epochs that train everything."""
    batch_size: int = Field(default=32, ge=1)
    """Windows of one pass through the model."""
    accumulation: int = Field(default=1, ge=1)
    """Passes of one optimiser step, which so sees batch_size times this many windows."""
    learning_rate: float = Field(default=1e-3, gt=0)
    """Peak rate of a single stage, and of the head alone on a frozen backbone."""
    head_stage_epochs: int = Field(default=3, ge=1)
    """Two stages: epochs with the backbone frozen."""
    head_stage_rate: float = Field(default=1e-3, gt=0)
    """Two stages: peak rate of the head while the backbone is frozen."""
    backbone_rate: float = Field(default=1e-5, gt=0)
    """Discriminative and two stages: peak rate of the backbone."""
    head_rate: float = Field(default=5e-4, gt=0)
    """Discriminative and two stages: peak rate of the head beside it."""
    filter_rate: float = Field(default=0.05, gt=0, le=1)
    """Rate of the networks that make HyenaDNA's filters, as a share of the backbone's: a small step
    there moves a filter at every position at once. The study used 1."""
    schedule: Literal["linear", "cosine", "constant", "plateau"] = "cosine"
    """After warm-up: falling on a line or a cosine, constant, or halved on a plateau."""
    warmup: float = Field(default=0.1, ge=0, lt=1)
    """Share of a stage's steps in which the rate rises from 0."""
    weight_decay: float = Field(default=0.1, ge=0)
    """AdamW's decoupled decay; norms, biases and HyenaDNA's filter networks have none."""
    clip_norm: float = Field(default=1.0, gt=0)
    """Gradients are scaled down to at most this norm."""
    ema_decay: float = Field(default=0.0, ge=0, lt=1)
    """Score and keep an exponential moving average of the weights, of which each step leaves this
    share; 0 keeps the last weights."""
    negative_weight: float = Field(default=0.7, gt=0)
    """Weight of an unlabelled base, or sequence, in the loss."""
    positive_weight: float = Field(default=2.0, gt=0)
    """Weight of a labelled base, or sequence, in the loss."""
    loss: Literal["cross_entropy", "focal"] = "cross_entropy"
    """Weighted cross-entropy, or the focal loss: the same times (1 - p)^gamma, p the probability
    of the true class."""
    focal_gamma: float = Field(default=2.0, ge=0)
    """How much the focal loss passes over what is easy."""
    reverse_complement: bool = True
    """Turn half of each batch to the other strand, drawn anew each time."""
    shortest_crop: int | None = Field(default=None, ge=1)
    """Cut each training batch to a random length from this to the window's, each window at a place
    of its own; None leaves windows whole."""
    permute_labels: bool = False
    """Give each window of a batch the labels of another, drawn anew each time, so that there is
    nothing to learn: what `sanity --random-labels` holds an attribution against."""
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    """Of activations while training (autocast); weights stay in float32. float16 needs a GPU."""
    checkpoint_activations: bool = False
    """Recompute each layer's activations in the backward pass: less memory, a third more work."""
    patience: int = Field(default=0, ge=0)
    """Stop after so many epochs without a better validation score; 0 never stops early."""
    seed: int = Field(default=0, ge=0)
    """Seeds initial weights, order of windows, strands and dropout."""

    @model_validator(mode="after")
    def _labels_can_be_dealt_out(self) -> Self:
        if self.permute_labels and self.batch_size * self.accumulation == 1:
            raise ValueError("permute_labels needs a batch_size above 1")
        return self

    @property
    def total_epochs(self) -> int:
        """Number of epochs over all stages."""
        return self.epochs + (self.head_stage_epochs if self.stages == "two_stage" else 0)


class RunSettings(Settings):
    """Everything that decides the result of one run, beside the data."""

    task: str = "zdna"
    data: DataSettings = DataSettings()
    model: ModelSettings = ModelSettings()
    readout: ReadoutSettings = ReadoutSettings()
    lora: LoraSettings = LoraSettings()
    training: TrainingSettings = TrainingSettings()

    @classmethod
    def of_task(cls, name: str) -> RunSettings:
        """The defaults, as far as the task's windows and strands allow them.

        Raises:
            InputError: there is no such task.
        """
        task, usual = task_named(name), ReadoutSettings()
        return cls(
            task=task.name,
            data=DataSettings(length=task.lengths[0]),
            readout=ReadoutSettings(
                flank=min(usual.flank, task.flank),
                lookahead=min(usual.lookahead, task.flank),
                strands="both" if task.both_strands else "forward",
            ),
            training=TrainingSettings(reverse_complement=task.both_strands),
        )

    def window_readout(self) -> Readout:
        """The readout of this run's windows."""
        return Readout(window=self.data.length, **self.readout.model_dump())

    def fingerprint(self) -> str:
        """Hex sha256 of all settings; a checkpoint belongs to exactly one."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()


Objective = Literal["next_base", "masked"]


class BackboneSettings(Settings):
    """Which backbone is trained."""

    backbone: str | None = None
    """Folder or hub id of HyenaDNA weights to go on from, which then decide the sizes below; None
    starts from random weights."""
    revision: str | None = None
    """Commit of the hub id; required with one."""
    d_model: int = Field(default=128, ge=8)
    """Channels."""
    n_layer: int = Field(default=2, ge=1)
    """Layers."""
    max_seq_len: int | None = Field(default=None, ge=2)
    """Longest input in tokens, and the time scale of the filters; None takes two more than the
    longest window, as the published models have it."""
    filters: Filters = "local"
    """As published, or from finer features with channels that decay within 5 bases and upward; see
    `ModelSettings.filters`."""
    initializer_range: float | None = Field(default=0.02, gt=0)
    """Standard deviation of the initial weights, as published; None takes torch's own."""


class StepSettings(Settings):
    """Optimisation. Rates and decay are HyenaDNA's by default (Nguyen et al. 2023, appendix A)."""

    steps: int = Field(default=10_000, ge=1)
    """Optimiser steps of the whole run."""
    lengths: tuple[int, ...] = (64, 256, 1024)
    """Window lengths in bases, from short to long; the last one takes most of the steps."""
    short_share: float = Field(default=0.3, ge=0, lt=1)
    """Share of the steps with the lengths before the last, the same number of each."""
    tokens_per_step: int = Field(default=32_768, ge=2)
    """Bases of one optimiser step, whatever the length of its windows."""
    tokens_per_pass: int = Field(default=32_768, ge=2)
    """Bases that pass through the model at once, which is a matter of memory."""
    learning_rate: float = Field(default=6e-4, gt=0)
    """Peak rate of AdamW."""
    filter_rate: float = Field(default=1.0, gt=0, le=1)
    """Rate of the networks that make the filters, as a share of the peak rate."""
    warmup: float = Field(default=0.01, ge=0, lt=1)
    """Share of the steps in which the rate rises from 0; then it falls on a cosine."""
    weight_decay: float = Field(default=0.1, ge=0)
    """AdamW's decoupled decay; norms, biases and filter networks have none."""
    clip_norm: float = Field(default=1.0, gt=0)
    """Gradients are scaled down to at most this norm."""
    reverse_complement: bool = True
    """Turn half of the windows of each step to the other strand, drawn anew each time."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Of activations while training (autocast); weights stay in float32."""
    checkpoint_every: int = Field(default=200, ge=1)
    """Steps from one saved state to the next: what an interrupted run loses at most."""
    evaluate_every: int = Field(default=1_000, ge=1)
    """Steps from one look at the held-out windows to the next; there is one at the end too."""
    seed: int = Field(default=0, ge=0)
    """Seeds initial weights, order of windows, strands and masks."""

    @model_validator(mode="after")
    def _lengths_rise_and_fit(self) -> Self:
        if not self.lengths or min(self.lengths) < 2:
            raise ValueError("lengths need two bases or more: one predicts the other")
        if sorted(set(self.lengths)) != list(self.lengths):
            raise ValueError("lengths rise from one to the next")
        if self.lengths[-1] > self.tokens_per_step:
            raise ValueError("a step of tokens_per_step bases holds no window of the last length")
        return self

    def remaining_evaluations(self, done: int) -> int:
        """Looks at the held-out windows that are to come once so many steps are done."""
        every = self.steps // self.evaluate_every - done // self.evaluate_every
        return every + (done < self.steps and self.steps % self.evaluate_every > 0)


class MaskSettings(Settings):
    """Of the masked objective. The defaults are BERT's (Devlin et al. 2019)."""

    share: float = Field(default=0.15, gt=0, lt=1)
    """Share of the bases that are to be predicted."""
    masked: float = Field(default=0.8, gt=0, le=1)
    """Of these, the share that the model sees as [MASK]."""
    random: float = Field(default=0.1, ge=0, le=1)
    """Of these, the share that it sees as a base drawn at random; it sees the rest as they are."""
    lookahead: int = Field(default=32, ge=1)
    """Bases right of a masked one that the head sees; see `objectives.MaskedBases`."""

    @model_validator(mode="after")
    def _shares_fit(self) -> Self:
        if self.masked + self.random > 1:
            raise ValueError("masked and random are shares of the same bases: at most 1 together")
        return self


class HeldOutSettings(Settings):
    """Which windows are held out of training and scored."""

    share: float = Field(default=0.05, ge=0, lt=1)
    """Of every contig its last bases, where no contig is held out as a whole; 0 holds out none."""
    windows: int = Field(default=256, ge=1)
    """Most windows of a contig that are scored, evenly over it."""


class LengthStage(NamedTuple):
    """Steps [first, last) with windows of one length."""

    length: int
    first: int
    last: int
    rows: int
    """Windows of a step."""


class PretrainSettings(Settings):
    """Everything that decides the result of a pretraining, beside the genome."""

    objective: Objective = "next_base"
    """Predict the next base, as HyenaDNA was trained; or masked bases, for a backbone whose states
    are read from both sides."""
    model: BackboneSettings = BackboneSettings()
    training: StepSettings = StepSettings()
    masking: MaskSettings = MaskSettings()
    held_out: HeldOutSettings = HeldOutSettings()

    @property
    def longest(self) -> int:
        """Bases of the longest window, which is that of the held-out ones too."""
        return self.training.lengths[-1]

    def stages(self) -> tuple[LengthStage, ...]:
        """The warm-up of lengths, then the longest one; without those that have no step."""
        recipe, short = self.training, len(self.training.lengths) - 1
        ends = [round(recipe.steps * recipe.short_share * (i + 1) / short) for i in range(short)]
        bounds = zip([0, *ends], [*ends, recipe.steps], recipe.lengths, strict=True)
        return tuple(
            LengthStage(length, first, last, recipe.tokens_per_step // length)
            for first, last, length in bounds
            if first < last
        )

    def fingerprint(self) -> str:
        """Hex sha256 of all settings; a checkpoint belongs to exactly one."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()

"""Settings of a supervised run and of a pretraining, each in one validated object.

Neither torch nor transformers is imported here: a command line is checked in less time than it
takes to load them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import PurePath
from typing import Annotated, Any, Literal, NamedTuple, Self

from pydantic import Field, model_validator

from hyena_ray.errors import InputError
from hyena_ray.genome.negatives import Shares
from hyena_ray.genome.signal_scale import SignalScale
from hyena_ray.model.settings import (
    FITTED,
    HYENADNA,
    SEQUENCES,
    WITH_BACKBONE,
    Filters,
    LoraSettings,
    ModelSettings,
    Precision,
    Readout,
    ReadoutSettings,
)
from hyena_ray.settings import Settings, UsedWhere
from hyena_ray.tasks import task_named

ONE_RATE: dict[str, tuple[Any, ...]] = {"training.stages": ("single", "frozen")}
TWO_RATES: dict[str, tuple[Any, ...]] = {"training.stages": ("discriminative", "two_stage")}
TWO_STAGES: dict[str, tuple[Any, ...]] = {"training.stages": ("two_stage",)}
FROZEN: dict[str, tuple[Any, ...]] = {"training.stages": ("frozen",)}
FOCAL: dict[str, tuple[Any, ...]] = {"training.loss": ("focal",)}
NO_BACKBONE: dict[str, tuple[Any, ...]] = {"model.backbone": (None,)}
LOOKAHEAD = "readout.lookahead"
"""Setting that only a causal model has a use for."""
MASKED: dict[str, tuple[Any, ...]] = {"objective": ("masked",)}

Feed = Literal["shared", "stream"]
"""How training windows reach the processes that train."""
AskedFeed = Literal["auto", "shared", "stream"]
"""A feed, or the choice by memory."""


class DataSettings(Settings):
    """Which of the prepared windows are used, and how they are fed."""

    length: int = Field(default=100, ge=1)
    """Window length in bases; must be among the prepared lengths."""
    limit: int | None = Field(default=None, ge=1)
    """Use at most this many training windows, sampled evenly across all of them; None uses all."""
    negatives: Shares | None = None
    """Training windows without a label in an epoch for each one with a label, by kind, such as
    `random:2,tract:1`, drawn anew in every epoch from those that are stored; None takes all that
    are stored. With a limit, as far as the windows that it leaves have them."""
    fold: int | None = Field(default=None, ge=0)
    """Fold that is tested, for data that was split into folds. The next one validates, and all
    others train."""
    feed: AskedFeed = "auto"
    """`shared` holds all training windows in memory and shuffles them exactly; `stream` reads them
    in every epoch ahead of the training, and shuffles row groups and then a buffer of windows;
    `auto` shares windows that take at most 30 % of the memory, and streams others."""


Metric = Literal[
    "average_precision",
    "roc_auc",
    "f1",
    "mcc",
    "tile_average_precision",
    "tile_roc_auc",
    "tile_f1",
    "tile_mcc",
]
"""Metrics that can choose an epoch and a trial. Those of bases are taken at the prevalence of the
genome, those that begin with `tile_` on tiles with and without a label at a fixed ratio."""
SHOWN_METRICS = ("average_precision", "precision", "recall", "f1", "mcc", "tile_f1")
"""Figures that a line of a log or a summary has, as far as there are; files have all of them."""


class TrainingSettings(Settings):
    """Optimisation of one supervised run.

    Example:
        >>> TrainingSettings(stages="two_stage", head_stage_epochs=3, epochs=6).total_epochs
        9
    """

    stages: Annotated[
        Literal["single", "discriminative", "two_stage", "frozen"], UsedWhere(unless=FITTED)
    ] = "single"
    """Which weights are trained, and at which rates. `single` trains everything at one rate,
    `discriminative` the backbone and the head at a rate each; `two_stage` first trains the head on
    a frozen backbone and then trains as `discriminative`; `frozen` trains the head alone."""
    epochs: Annotated[int, UsedWhere(unless=FITTED)] = Field(default=8, ge=1)
    """Epochs; of `two_stage` those that train everything."""
    batch_size: Annotated[int, UsedWhere(unless=FITTED)] = Field(default=32, ge=1)
    """Windows of one pass through the model."""
    accumulation: Annotated[int, UsedWhere(unless=FITTED)] = Field(default=1, ge=1)
    """Passes of one optimiser step, which sees batch_size times this many windows."""
    learning_rate: Annotated[float, UsedWhere(ONE_RATE, unless=FITTED)] = Field(default=1e-3, gt=0)
    """Peak rate of a single stage, and of the head alone on a frozen backbone."""
    head_stage_epochs: Annotated[int, UsedWhere(TWO_STAGES, unless=FITTED)] = Field(default=3, ge=1)
    """Epochs of `two_stage` with the backbone frozen."""
    head_stage_rate: Annotated[float, UsedWhere(TWO_STAGES, unless=FITTED)] = Field(
        default=1e-3, gt=0
    )
    """Peak rate of the head while `two_stage` keeps the backbone frozen."""
    backbone_rate: Annotated[float, UsedWhere(TWO_RATES, unless=FITTED)] = Field(default=1e-5, gt=0)
    """Peak rate of the backbone in `discriminative` and `two_stage`."""
    head_rate: Annotated[float, UsedWhere(TWO_RATES, unless=FITTED)] = Field(default=5e-4, gt=0)
    """Peak rate of the head in `discriminative` and `two_stage`."""
    filter_rate: Annotated[
        float,
        UsedWhere(HYENADNA | {"lora.enabled": (False,)}, unless=FROZEN),
        UsedWhere(HYENADNA | {"lora.biases": (True,)}, unless=FROZEN),
    ] = Field(default=0.05, gt=0, le=1)
    """Rate of the networks that generate HyenaDNA's filters, as a fraction of the backbone's: a
    small step there moves a filter at every position at once. The original work used 1."""
    schedule: Annotated[
        Literal["linear", "cosine", "constant", "plateau"], UsedWhere(unless=FITTED)
    ] = "cosine"
    """Learning rate after the warm-up: it falls on a line or a cosine, stays constant, or is halved
    on a plateau."""
    warmup: Annotated[float, UsedWhere(unless=FITTED)] = Field(default=0.1, ge=0, lt=1)
    """Fraction of a stage's steps in which the rate rises from 0."""
    weight_decay: Annotated[float, UsedWhere(unless=FITTED)] = Field(default=0.1, ge=0)
    """Decoupled weight decay of AdamW; norms, biases and HyenaDNA's filter networks have none."""
    clip_norm: Annotated[float, UsedWhere(unless=FITTED)] = Field(default=1.0, gt=0)
    """Gradients are scaled down to at most this norm."""
    ema_decay: Annotated[float, UsedWhere(unless=FITTED)] = Field(default=0.0, ge=0, lt=1)
    """Decay of the exponential moving average of the weights that is scored and kept; 0 keeps the
    last weights."""
    negative_weight: float = Field(default=0.7, gt=0)
    """Weight of an unlabelled base, or sequence, in the loss."""
    positive_weight: float = Field(default=2.0, gt=0)
    """Weight of a labelled base, or sequence, in the loss."""
    loss: Annotated[Literal["cross_entropy", "focal"], UsedWhere(unless=FITTED)] = "cross_entropy"
    """Weighted cross-entropy, or the focal loss: the same times (1 - p)^gamma, where p is the
    probability of the true class."""
    focal_gamma: Annotated[float, UsedWhere(FOCAL, unless=FITTED)] = Field(default=2.0, ge=0)
    """Exponent of the focal loss: the higher, the less easy bases count."""
    soft_edges: Annotated[int, UsedWhere(unless=SEQUENCES | FITTED)] = Field(default=0, ge=0)
    """Bases on each side of a region's edge over which the target of a base rises from 0 to 1 on a
    line; 0 trains towards the labels as they are. Figures, calibration and thresholds are always of
    the labels as they are."""
    teacher_share: Annotated[float | None, UsedWhere(unless=FITTED)] = Field(
        default=None, ge=0, le=1
    )
    """Fraction of the target that is the teacher's probability, where `train --teacher` names one;
    the rest is the label's. None takes 0.5 with a teacher, and has no other value without."""
    reverse_complement: Annotated[bool, UsedWhere(unless=FITTED)] = True
    """Reverse-complement a random half of each batch."""
    shortest_crop: Annotated[int | None, UsedWhere(unless=SEQUENCES | FITTED)] = Field(
        default=None, ge=1
    )
    """Shortest random crop: a training batch is cut to a random length from this to the window's,
    each window at a random position; None leaves windows whole."""
    permute_labels: Annotated[bool, UsedWhere(unless=FITTED)] = False
    """Give each window of a batch the labels of another, so that there is nothing to learn: the
    control that `sanity --random-labels` compares an attribution with."""
    precision: Annotated[Precision, UsedWhere(unless=FITTED)] = "float32"
    """Arithmetic while training; weights stay in float32. `tf32` rounds the factors of matrix
    products; `bfloat16` and `float16` round all activations (autocast). `tf32` and `float16` need a
    GPU."""
    checkpoint_activations: Annotated[bool, UsedWhere(WITH_BACKBONE)] = False
    """Recompute each layer's activations in the backward pass: less memory, a third more work."""
    metric: Metric | None = None
    """Metric on the validation data that chooses the epoch, and that a search maximises; None takes
    the task's. The threshold is chosen for F1, or for MCC if that is the metric."""
    patience: Annotated[int, UsedWhere(unless=FITTED)] = Field(default=0, ge=0)
    """Stop after this many epochs without a better validation score; 0 never stops early."""
    seed: int = Field(default=0, ge=0)
    """Seed of initial weights, order of windows, strands and dropout."""

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
    """Everything that decides the result of one supervised run, apart from the data.

    Example:
        >>> settings = RunSettings.for_task("zdna").updated({"training.epochs": 3}, "example")
        >>> settings.training.epochs, settings.data.length
        (3, 100)
    """

    task: str = "zdna"
    """Name of the task."""
    data: DataSettings = DataSettings()
    """Which of the prepared windows are used, and how they are fed."""
    model: ModelSettings = ModelSettings()
    """Which classifier is built."""
    readout: ReadoutSettings = ReadoutSettings()
    """How labels are read from the classifier's output."""
    lora: LoraSettings = LoraSettings()
    """Which matrices get adapters."""
    training: TrainingSettings = TrainingSettings()
    """How the classifier is trained."""

    @classmethod
    def for_task(cls, name: str) -> RunSettings:
        """Return the defaults of a task, within what its windows and strands allow.

        Args:
            name: Name of the task.

        Raises:
            InputError: There is no such task.
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

    @property
    def metric(self) -> str:
        """Name of the metric that chooses the epoch, and that a search maximises."""
        return self.training.metric or task_named(self.task).metric

    @property
    def threshold_metric(self) -> str:
        """Name of the metric for which the threshold is chosen."""
        name = self.metric.removeprefix("tile_")
        return name if name in ("f1", "mcc") else task_named(self.task).threshold_metric

    @property
    def total_epochs(self) -> int:
        """Number of epochs over all stages, or of fits where the model is fitted."""
        fits = self.model.fits
        return self.training.total_epochs if fits is None else fits

    def window_readout(self, scales: Sequence[SignalScale] = ()) -> Readout:
        """Return the readout of this run's windows.

        Args:
            scales: Scales of the tracks of the data; those that the readout names are kept. A
                model needs them, the sizes of its windows do not.
        """
        values = self.readout.model_dump()
        known, names = {scale.name: scale for scale in scales}, self.readout.signal_tracks
        values["scales"] = tuple(known[name] for name in names if name in known)
        if LOOKAHEAD in self.unused():
            values["lookahead"] = min(values["lookahead"], values["flank"])
        return Readout(window=self.data.length, **values)

    def check_lookahead(self, place: str | PurePath) -> None:
        """Refuse a lookahead past the flank, and a head that looks ahead by nothing.

        Args:
            place: Where the settings come from, for the message.

        Raises:
            InputError: Names the lookahead.
        """
        lookahead, flank = self.readout.lookahead, self.readout.flank
        if LOOKAHEAD in self.unused():
            return
        if lookahead > flank:
            problem = f"reaches past the flank of {flank} bases"
            remedy = "lower it or raise readout.flank"
        elif self.model.head == "lookahead" and not lookahead:
            problem = "leaves model.head lookahead nothing to see"
            remedy = "raise it, or choose another head"
        else:
            return
        raise InputError(f"{place}: readout.lookahead", lookahead, problem, remedy)

    def fingerprint(self) -> str:
        """Return the sha256 of all settings as hex digits; a checkpoint belongs to exactly one."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()


Objective = Literal["next_base", "masked"]
"""What a backbone is trained to predict."""


class BackboneSettings(Settings):
    """Which backbone is trained."""

    backbone: str | None = None
    """Folder or hub id of the HyenaDNA weights to start from, whose sizes override those below;
    None starts from random weights."""
    revision: Annotated[str | None, UsedWhere(unless=NO_BACKBONE)] = None
    """Commit of the hub id; required with one."""
    d_model: Annotated[int, UsedWhere(NO_BACKBONE)] = Field(default=128, ge=8)
    """Number of channels."""
    n_layer: Annotated[int, UsedWhere(NO_BACKBONE)] = Field(default=2, ge=1)
    """Number of layers."""
    max_seq_len: Annotated[int | None, UsedWhere(NO_BACKBONE)] = Field(default=None, ge=2)
    """Longest input in tokens, and the time scale of the filters; None takes two more than the
    longest window, as in the published models."""
    filters: Annotated[Filters, UsedWhere(NO_BACKBONE)] = "local"
    """Filters as published, or with finer features and channels that decay within 5 bases and
    upward; see `ModelSettings.filters`."""
    initializer_range: Annotated[float | None, UsedWhere(NO_BACKBONE)] = Field(default=0.02, gt=0)
    """Standard deviation of the initial weights, as published; None takes torch's own."""


class StepSettings(Settings):
    """Optimisation of a pretraining.

    Rates and decay are HyenaDNA's by default (Nguyen et al. 2023, appendix A).
    """

    steps: int = Field(default=10_000, ge=1)
    """Optimiser steps of the whole run."""
    lengths: tuple[int, ...] = (64, 256, 1024)
    """Window lengths in bases, from short to long; the last one takes most of the steps."""
    short_share: float = Field(default=0.3, ge=0, lt=1)
    """Fraction of the steps with the lengths before the last, the same number of each."""
    tokens_per_step: int = Field(default=32_768, ge=2)
    """Bases of one optimiser step, whatever the length of its windows."""
    tokens_per_pass: int = Field(default=32_768, ge=2)
    """Bases that pass through the model at once; it decides the memory that a step takes."""
    learning_rate: float = Field(default=6e-4, gt=0)
    """Peak rate of AdamW."""
    filter_rate: float = Field(default=1.0, gt=0, le=1)
    """Rate of the networks that generate the filters, as a fraction of the peak rate."""
    warmup: float = Field(default=0.01, ge=0, lt=1)
    """Fraction of the steps in which the rate rises from 0; then it falls on a cosine."""
    weight_decay: float = Field(default=0.1, ge=0)
    """Decoupled weight decay of AdamW; norms, biases and filter networks have none."""
    clip_norm: float = Field(default=1.0, gt=0)
    """Gradients are scaled down to at most this norm."""
    reverse_complement: bool = True
    """Reverse-complement a random half of the windows of each step."""
    precision: Literal["float32", "tf32", "bfloat16"] = "float32"
    """Arithmetic while training; weights stay in float32. `tf32` rounds the factors of matrix
    products, and needs a GPU; `bfloat16` rounds all activations (autocast)."""
    checkpoint_every: int = Field(default=200, ge=1)
    """Steps from one saved state to the next: the most that an interrupted run loses."""
    evaluate_every: int = Field(default=1_000, ge=1)
    """Steps from one evaluation of the held-out windows to the next; the last step has one too."""
    seed: int = Field(default=0, ge=0)
    """Seed of initial weights, order of windows, strands and masks."""

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
        """Return how many evaluations of the held-out windows are still to come.

        Args:
            done: Number of steps that are done.

        Example:
            >>> StepSettings(steps=25, evaluate_every=10).remaining_evaluations(12)
            2
        """
        every = self.steps // self.evaluate_every - done // self.evaluate_every
        return every + (done < self.steps and self.steps % self.evaluate_every > 0)


class MaskSettings(Settings):
    """The masked objective. The defaults are BERT's (Devlin et al. 2019)."""

    share: Annotated[float, UsedWhere(MASKED)] = Field(default=0.15, gt=0, lt=1)
    """Fraction of the bases that are to be predicted."""
    masked: Annotated[float, UsedWhere(MASKED)] = Field(default=0.8, gt=0, le=1)
    """Fraction of the predicted bases that the model sees as [MASK]."""
    random: Annotated[float, UsedWhere(MASKED)] = Field(default=0.1, ge=0, le=1)
    """Fraction of the predicted bases that it sees as a random base; the rest it sees unchanged."""
    lookahead: Annotated[int, UsedWhere(MASKED)] = Field(default=32, ge=1)
    """Bases right of a masked one that the head sees; see `pretraining.MaskedBases`."""

    @model_validator(mode="after")
    def _shares_fit(self) -> Self:
        if self.masked + self.random > 1:
            raise ValueError(
                "masked and random are fractions of the same bases, at most 1 together"
            )
        return self


class HeldOutSettings(Settings):
    """Which windows are held out of training and scored."""

    share: float = Field(default=0.05, ge=0, lt=1)
    """Fraction of every contig, its last bases, that is held out where no contig is held out as a
    whole; 0 holds out none."""
    windows: int = Field(default=256, ge=1)
    """Most windows of a contig that are scored, spread evenly over it."""


class LengthStage(NamedTuple):
    """Steps [first, last) with windows of one length."""

    length: int
    """Bases of a window."""
    first: int
    """First step of the stage, from 0."""
    last: int
    """First step after the stage."""
    rows: int
    """Windows of a step."""


class PretrainSettings(Settings):
    """Everything that decides the result of a pretraining, apart from the genome.

    Example:
        >>> settings = PretrainSettings().updated({"training.lengths": [64, 128]}, "example")
        >>> [(stage.length, stage.first, stage.last) for stage in settings.stages()]
        [(64, 0, 3000), (128, 3000, 10000)]
    """

    objective: Objective = "next_base"
    """What is predicted: the next base, as HyenaDNA was trained; or masked bases, for a backbone
    whose states are read from both sides."""
    model: BackboneSettings = BackboneSettings()
    """Which backbone is trained."""
    training: StepSettings = StepSettings()
    """How it is trained."""
    masking: MaskSettings = MaskSettings()
    """How bases are masked, for the masked objective."""
    held_out: HeldOutSettings = HeldOutSettings()
    """Which windows are held out of training and scored."""

    @property
    def longest(self) -> int:
        """Bases of the longest window, and of every held-out one."""
        return self.training.lengths[-1]

    def stages(self) -> tuple[LengthStage, ...]:
        """Return the stages of the warm-up of lengths and the longest one, without empty stages."""
        recipe, short = self.training, len(self.training.lengths) - 1
        ends = [round(recipe.steps * recipe.short_share * (i + 1) / short) for i in range(short)]
        bounds = zip([0, *ends], [*ends, recipe.steps], recipe.lengths, strict=True)
        return tuple(
            LengthStage(length, first, last, recipe.tokens_per_step // length)
            for first, last, length in bounds
            if first < last
        )

    def fingerprint(self) -> str:
        """Return the sha256 of all settings as hex digits; a checkpoint belongs to exactly one."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()

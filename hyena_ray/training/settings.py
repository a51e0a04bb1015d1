"""Settings of one run: data, model, reading, adapters and training in one validated object."""

from __future__ import annotations

import hashlib
from typing import Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from hyena_ray.model.settings import LoraSettings, ModelSettings, Readout, ReadoutSettings
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

    def class_weights(self) -> Tensor:
        """(2,) float32, for `weighted_cross_entropy`."""
        return torch.tensor([self.negative_weight, self.positive_weight])


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

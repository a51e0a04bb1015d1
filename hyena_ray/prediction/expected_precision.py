"""The precision to expect of called bases, and the threshold from which a precision is expected.

Both are read from the curves in the folder of the model. A threshold is chosen on the validation
split alone; the test split, where it was scored, then says what to expect of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from hyena_ray.errors import InputError
from hyena_ray.runs.record import EVALUATION
from hyena_ray.settings import Settings
from hyena_ray.storage import AnyPath
from hyena_ray.training.train_and_test import VALIDATION

if TYPE_CHECKING:
    from hyena_ray.training.evaluation import Evaluation

OPTION = "--precision"


class ExpectedPrecision(Settings):
    """Precision of a model's calls on the held-out contigs that it was scored on."""

    split: str
    """Name of the split that was scored: the test split, or validation where that was not."""
    contigs: tuple[str, ...]
    """Contigs of the split."""
    labels: str
    """Files that the labels there come from, see `Manifest.label_source`."""
    prevalence: float
    """Fraction of labelled bases of these contigs."""
    precision: float
    """Fraction of the called bases with a label there."""
    precision_interval: tuple[float, float]
    """95 % interval of the precision."""
    recall: float
    """Fraction of the labelled bases that are called there."""
    recall_interval: tuple[float, float]
    """95 % interval of the recall."""

    @property
    def figures(self) -> str:
        """Precision and recall with their intervals, for people."""
        return (
            f"about {_with_interval(self.precision, self.precision_interval)} at a recall of "
            f"{_with_interval(self.recall, self.recall_interval)}"
        )

    def __str__(self) -> str:
        chose = ", which chose the threshold" if self.split == "val" else ""
        return (
            f"{self.figures}, estimated on the {self.split} split{chose} "
            f"({', '.join(self.contigs)}; {self.prevalence:.3%} of the bases have a label of "
            f"{self.labels})"
        )


class ReachedPrecision(Settings):
    """The threshold that reaches a precision on the validation split, and what it costs."""

    wanted: float
    """Precision that was asked for."""
    threshold: float
    """Lowest threshold of the curve from which it is reached."""
    there: ExpectedPrecision
    """Precision and recall on the validation split at this threshold."""
    own_threshold: float
    """The model's own threshold."""
    own_recall: float
    """Recall on the validation split at the model's own threshold."""

    def __str__(self) -> str:
        return (
            f"{self.threshold:.4g} reaches a precision of {self.wanted:g} on the validation split: "
            f"{self.there.figures}; the model's own threshold {self.own_threshold:.4g} has a "
            f"recall of {self.own_recall:.2f} there"
        )


def expected_precision(model_folder: AnyPath, threshold: float) -> ExpectedPrecision | None:
    """Read the expected precision from the `evaluation.json` in the folder of a model.

    Args:
        model_folder: Folder of the model.
        threshold: Threshold at which bases are called.

    Returns:
        The precision, by interpolation between the points of the curve; None where the model was
        not scored, labels sequences, or scored no base as high as the threshold.

    Raises:
        InputError: The file is damaged.
    """
    evaluation = _read(model_folder / EVALUATION)
    return None if evaluation is None else _expected(evaluation, threshold)


def reach_precision(
    model_folder: AnyPath, precision: float, own_threshold: float
) -> ReachedPrecision:
    """Choose the lowest threshold from which the validation split has at least a precision.

    Args:
        model_folder: Folder of the model, with the figures of its validation split.
        precision: Precision to reach, 0 to 1.
        own_threshold: The model's own threshold.

    Raises:
        InputError: The model was not scored, its file is damaged, or no threshold has the
            precision; the highest that is reached is named with its recall.
    """
    evaluation = _read(model_folder / VALIDATION)
    if evaluation is None:
        raise InputError(
            f"{OPTION} {precision:g}",
            model_folder,
            f"holds no {VALIDATION}, and so no curve to choose a threshold by",
            "give --threshold, or the folder `model/` of a training run",
        )
    curve = evaluation.curve
    point = curve.reaching(precision)
    if point is None:
        best = curve.surest
        raise InputError(
            OPTION,
            f"{precision:g}",
            f"is never reached on {', '.join(evaluation.contigs)}: the highest is "
            f"{curve.precision[best]:.3g}, at a recall of {curve.recall[best]:.2g} "
            f"(threshold {curve.threshold[best]:.4g})",
            "ask for less, or train a better model",
        )
    there = _expected(evaluation, curve.threshold[point])
    own = _expected(evaluation, own_threshold)
    assert there is not None
    return ReachedPrecision(
        wanted=precision,
        threshold=curve.threshold[point],
        there=there,
        own_threshold=own_threshold,
        own_recall=0.0 if own is None else own.recall,
    )


def _read(path: AnyPath) -> Evaluation | None:
    """Read the figures of a model of bases, if they are there."""
    from hyena_ray.training.evaluation import Evaluation

    if not path.is_file():
        return None
    evaluation = Evaluation.read(path)
    return None if evaluation.regions is None else evaluation


class _Figure(NamedTuple):
    """Precision or recall at one threshold."""

    value: float
    interval: tuple[float, float]


def _expected(evaluation: Evaluation, threshold: float) -> ExpectedPrecision | None:
    curve, metrics, intervals = evaluation.curve, evaluation.metrics, evaluation.intervals
    if threshold > max(curve.threshold):
        return None

    def at_threshold(values: Sequence[float]) -> float:
        return float(np.interp(threshold, curve.threshold[::-1], values[::-1]))

    def figure(name: str) -> _Figure:
        if threshold == metrics.threshold:
            return _Figure(getattr(metrics, name), intervals[name])
        low, high = zip(*getattr(curve, f"{name}_intervals"), strict=True)
        value = at_threshold(getattr(curve, name))
        return _Figure(value, (at_threshold(low), at_threshold(high)))

    precision, recall = figure("precision"), figure("recall")
    return ExpectedPrecision(
        split=evaluation.split,
        contigs=evaluation.contigs,
        labels=evaluation.label_source,
        prevalence=evaluation.prevalence,
        precision=precision.value,
        precision_interval=precision.interval,
        recall=recall.value,
        recall_interval=recall.interval,
    )


def _with_interval(value: float, interval: tuple[float, float]) -> str:
    low, high = interval
    return f"{value:.2f} ({low:.2f} to {high:.2f})"

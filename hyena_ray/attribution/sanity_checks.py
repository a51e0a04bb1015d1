"""Sanity checks: do the scores depend on this model and on these sequences?

Deletion and insertion curves test whether the bases with the highest scores carry the target.
Random weights, and a model that was trained on permuted labels, test whether the scores would look
the same for a model that has learnt nothing. On a simulated genome, the planted k-mers must score
above all others. Rank correlation is scipy's, the area under the ROC curve scikit-learn's.

Reference: Adebayo et al. 2018, Sanity checks for saliency maps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from hyena_ray.attribution.engine import WindowAttribution, attribute_windows
from hyena_ray.attribution.kmers import KmerConfig, count_kmers, fold_kmers
from hyena_ray.attribution.methods import METHODS
from hyena_ray.attribution.path_baselines import CURVES, ORDER, draw_keys, shuffle_tokens
from hyena_ray.attribution.settings import AttributionSettings
from hyena_ray.attribution.targets import POSITIVE, Targets, pass_positions, trim_tokens
from hyena_ray.dataset.keyed_random import mixed
from hyena_ray.dataset.schema import Windows
from hyena_ray.dataset.tokens import ids_of, without_levels
from hyena_ray.errors import InputError
from hyena_ray.model.devices import model_device, upload
from hyena_ray.model.window import WindowModel

STEPS = 20
"""Points of a curve after its start."""


class Curves(NamedTuple):
    """The target that remains as bases are replaced, from the highest score to the lowest."""

    share: NDArray[np.float64]
    """Fraction of a window's bases that are replaced by the deletion, or restored by the insertion,
    from 0 to 1, shape (P,)."""
    deletion: NDArray[np.float64]
    """Mean target over windows, relative to that of all bases, shape (P,); from 1 to 0."""
    insertion: NDArray[np.float64]
    """The same under insertion, shape (P,); from 0 to 1."""

    @property
    def areas(self) -> tuple[float, float]:
        """Areas under deletion, where low is good, and insertion, where high is good; both are 0.5
        where all bases contribute alike."""
        deletion, insertion = (
            float(np.trapezoid(curve, self.share)) for curve in (self.deletion, self.insertion)
        )
        return deletion, insertion


class Check(NamedTuple):
    """Results of the checks of one method."""

    method: str
    """Name of the method."""
    windows: int
    """Number of windows with a true positive, which were attributed."""
    curves: Curves
    """Deletion and insertion in the order of the scores."""
    by_chance: Curves
    """Deletion and insertion in random order."""
    random_weights: float
    """Mean rank correlation with the scores of a model with random weights; near 0 is good."""
    random_labels: float | None
    """Mean rank correlation with the scores of a model trained on permuted labels; None without
    such a model."""
    planted_auroc: float | None
    """Result of `planted_auroc`; None on real data."""

    def as_json(self) -> dict[str, Any]:
        """Return plain values, with the curves and the areas under them."""
        values: dict[str, Any] = self._asdict()
        for name, curves in (("curves", self.curves), ("by_chance", self.by_chance)):
            values[name] = {key: part.tolist() for key, part in curves._asdict().items()}
            values[name]["deletion_area"], values[name]["insertion_area"] = curves.areas
        return values


def format_checks(checks: Sequence[Check]) -> str:
    """Return a text table of checks.

    Args:
        checks: Checks of the same windows, at least one.
    """
    chance = "{:>10.3f}{:>11.3f}".format(*checks[0].by_chance.areas)
    lines = [
        f"{checks[0].windows} windows with a true positive; deletion and insertion are areas",
        f"{'method':<28}{'deletion':>10}{'insertion':>11}{'random weights':>16}"
        f"{'random labels':>15}{'planted':>9}",
        f"{'bases in random order':<28}{chance}",
    ]
    for check in checks:
        areas = "{:>10.3f}{:>11.3f}".format(*check.curves.areas)
        labels, planted = (
            "-" if value is None else f"{value:.3f}"
            for value in (check.random_labels, check.planted_auroc)
        )
        title = METHODS[check.method].title
        lines.append(f"{title:<28}{areas}{check.random_weights:>16.3f}{labels:>15}{planted:>9}")
    return "\n".join(lines)


def check_attribution(
    model: WindowModel,
    windows: Windows,
    settings: AttributionSettings,
    *,
    planted: bool,
    permuted_label_model: WindowModel | None = None,
    on_progress: Callable[[str], None] = lambda step: None,
) -> list[Check]:
    """Check every method of the settings that scores bases.

    Args:
        model: Model that is attributed.
        windows: Windows with labels.
        settings: Methods and their settings.
        planted: Whether the labels are the regions that were planted in a simulated genome.
        permuted_label_model: Model that was trained on permuted labels and reads the same windows;
            None skips that check.
        on_progress: Function that is called before each of the `count_steps` steps, with a
            description of the step.

    Returns:
        One check for each method.

    Raises:
        InputError: The windows do not fit the model, or none has a true positive.
    """
    on_progress("attribution")
    attribution = attribute_windows(model, windows, settings)
    rows = np.flatnonzero(attribution.true_positive.any(axis=1))
    if not len(rows):
        raise InputError(
            "windows",
            f"{len(windows.window_id)} with a label",
            "the model finds none of them, so there is nothing to attribute",
            "train it longer, or give another split",
        )
    chosen, labels = windows.rows(rows), windows.labels.shape[1]
    true_positive = attribution.true_positive[rows][:, :labels]
    untrained = {
        "weights": randomise_weights(model, settings.seed),
        "labels": permuted_label_model,
    }
    untrained_scores = {}
    for random_part, other in untrained.items():
        if other is not None:
            on_progress(f"attribution under random {random_part}")
            untrained_scores[random_part] = attribute_windows(
                other, chosen, settings, true_positive
            ).scores
    model.eval()
    on_progress("faithfulness by chance")
    by_chance = faithfulness(
        model,
        chosen,
        true_positive,
        random_order(chosen, model.readout.window, settings.seed),
        settings,
    )
    checks = []
    for method, scores in attribution.scores.items():
        on_progress(f"faithfulness of {METHODS[method].title}")
        checks.append(
            Check(
                method=method,
                windows=len(rows),
                curves=faithfulness(model, chosen, true_positive, scores[rows], settings),
                by_chance=by_chance,
                random_weights=correlation(scores[rows], untrained_scores["weights"][method]),
                random_labels=correlation(scores[rows], untrained_scores["labels"][method])
                if permuted_label_model
                else None,
                planted_auroc=planted_auroc(attribution, method, windows.labels, settings)
                if planted
                else None,
            )
        )
    return checks


def count_steps(settings: AttributionSettings, *, random_labels: bool) -> int:
    """Return the number of steps of `check_attribution`.

    A step is the attribution under one model, or the curves by chance or of one method.

    Args:
        settings: Methods and their settings.
        random_labels: Whether there is a model that was trained on permuted labels.
    """
    methods = sum(METHODS[name].scores_bases for name in settings.methods)
    return 3 + random_labels + methods


def faithfulness(
    model: WindowModel,
    windows: Windows,
    true_positive: NDArray[np.bool_],
    scores: NDArray[np.floating],
    settings: AttributionSettings,
) -> Curves:
    """Replace the bases of windows by those of their dinucleotide shuffle, highest score first.

    Args:
        model: Model in evaluation mode.
        windows: N windows, each with a true positive.
        true_positive: True positives, shape (N, labels), bool.
        scores: Scores of the bases, shape (N, W).
        settings: `normalise`, `batch` and `seed` are read.

    Returns:
        Deletion and insertion curves.

    Reference: Petsiuk, Das & Saenko 2018.
    """
    tokens = trim_tokens(model, windows)
    length, flank = model.readout.window, model.readout.required_flank
    targets = Targets(model, tokens, true_positive, settings, pass_positions(model, settings))
    shuffled, inner = tokens.copy(), slice(flank, flank + length)
    shuffled[:, inner] = without_levels(shuffled[:, inner])
    keys = draw_keys(settings.seed, CURVES, windows.window_id.astype(np.uint64))
    ids_of(shuffled)[:, inner] = shuffle_tokens(ids_of(tokens)[:, inner], keys)
    rank = np.argsort(np.argsort(-scores, axis=1, kind="stable"), axis=1)
    shares = np.linspace(0, 1, STEPS + 1)
    replaced = [rank < round(share * length) for share in shares]
    deleted = [_replace(tokens, shuffled, chosen, flank) for chosen in replaced]
    inserted = [_replace(shuffled, tokens, chosen, flank) for chosen in replaced]
    values = np.array(
        [[_mean_target(targets, mixed) for mixed in curve] for curve in (deleted, inserted)]
    )
    whole, nothing = values[0, 0], values[0, -1]
    deletion, insertion = (values - nothing) / (whole - nothing)
    return Curves(shares, deletion, insertion)


def random_order(windows: Windows, length: int, seed: int) -> NDArray[np.float64]:
    """Return random scores, with which a method is compared.

    Args:
        windows: N windows.
        length: Bases W of a window.
        seed: Seed of the attribution.

    Returns:
        Scores, shape (N, W).
    """
    keys = draw_keys(seed, ORDER, windows.window_id.astype(np.uint64))
    words = mixed(np.arange(length, dtype=np.uint64), keys[:, None])
    return words / 2.0**64


def randomise_weights(model: WindowModel, seed: int) -> WindowModel:
    """Return the same classifier with weights as before training.

    Args:
        model: Trained model, which is left as it is.
        seed: Seed of the weights.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        classifier = type(model.classifier)(model.classifier.config)
    device = model_device(model)
    return WindowModel(classifier, model.readout).to(device).eval()


def correlation(first: NDArray[np.floating], second: NDArray[np.floating]) -> float:
    """Return the rank correlation of the scores of a window's bases, averaged over windows.

    Args:
        first: Scores, shape (N, W).
        second: Other scores of the same bases, shape (N, W).
    """
    from scipy.stats import spearmanr

    rows = [spearmanr(one, other).statistic for one, other in zip(first, second, strict=True)]
    return float(np.nanmean(rows))


def planted_auroc(
    attribution: WindowAttribution,
    method: str,
    labels: NDArray[np.int8],
    settings: AttributionSettings,
) -> float | None:
    """Measure how well the mean score of a k-mer separates planted k-mers from all others.

    Planted k-mers are those that occur inside labels. The mean is over all occurrences in
    attributed windows, inside and outside labels.

    Args:
        attribution: Attribution of windows of a simulated genome.
        method: Name of the method whose scores are used.
        labels: Labels of the windows, shape (N, W).
        settings: `k` and `min_count` are read; rarer k-mers are left out.

    Returns:
        Area under the ROC curve; None where all k-mers are planted, or none.
    """
    from sklearn.metrics import roc_auc_score

    config = KmerConfig(k=settings.k)
    planted = count_kmers(attribution.bases, labels == POSITIVE, config).tp_count > 0
    rows = attribution.true_positive.any(axis=1)
    sums = fold_kmers(attribution.bases[rows], attribution.scores[method][rows], config)
    frequent = np.flatnonzero(sums.count >= settings.min_count)
    if len(set(planted[frequent].tolist())) < 2:
        return None
    means = sums.total[frequent] / sums.count[frequent]
    return float(roc_auc_score(planted[frequent], means))


def _replace(
    tokens: NDArray[np.uint8], other: NDArray[np.uint8], chosen: NDArray[np.bool_], flank: int
) -> NDArray[np.uint8]:
    """Return tokens with those of `other` at the chosen bases of the windows, shape (N, W)."""
    mixed = tokens.copy()
    inner = slice(flank, flank + chosen.shape[1])
    chosen = chosen.reshape(*chosen.shape, *(1,) * (tokens.ndim - 2))
    mixed[:, inner] = np.where(chosen, other[:, inner], tokens[:, inner])
    return mixed


def _mean_target(targets: Targets, tokens: NDArray[np.uint8]) -> float:
    """Return the mean target, over windows and strands, with other tokens in the windows' place."""
    every = np.arange(len(targets))
    strands = targets.model.strands(upload(tokens, targets.device))
    values = [
        targets.token_values(strand, every, own.__getitem__) for strand, own in enumerate(strands)
    ]
    return float(torch.stack(values).mean())

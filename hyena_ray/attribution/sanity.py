"""Are the scores about this model and these sequences?

Deletion and insertion curves ask whether the bases with the highest scores carry the target; random
weights, and a model that was trained on permuted labels, whether the scores would look the same of
a model that has learnt nothing; a simulated genome whether the k-mers that were planted stand above
all others.

Source: Adebayo et al. 2018, Sanity checks for saliency maps.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

from hyena_ray.attribution.baselines import CURVES, ORDER, dinucleotide_shuffle, random_stream
from hyena_ray.attribution.engine import WindowAttribution, attribute_windows
from hyena_ray.attribution.kmers import KmerConfig, count_kmers, fold_kmers
from hyena_ray.attribution.methods import METHODS
from hyena_ray.attribution.settings import AttributionSettings
from hyena_ray.attribution.targets import POSITIVE, Targets, trim_tokens
from hyena_ray.dataset.schema import Windows
from hyena_ray.dataset.tokens import codes_to_tokens, tokens_to_codes
from hyena_ray.errors import InputError
from hyena_ray.model.window import WindowModel

STEPS = 20
"""Points of a curve beside its start."""


class Check(NamedTuple):
    """What was found of one method."""

    method: str
    windows: int
    """With a true positive, that were attributed."""
    curves: Curves
    by_chance: Curves
    """Of bases in random order."""
    random_weights: float
    """Mean rank correlation with the scores under random weights; near 0 is good."""
    random_labels: float | None
    """The same under a model that was trained on permuted labels; None without one."""
    planted_auroc: float | None
    """See `planted_auroc`; None on real data."""

    def as_json(self) -> dict[str, Any]:
        """Plain values, with the curves and the areas under them."""
        values: dict[str, Any] = self._asdict()
        for name, curves in (("curves", self.curves), ("by_chance", self.by_chance)):
            values[name] = {key: part.tolist() for key, part in curves._asdict().items()}
            values[name]["deletion_area"], values[name]["insertion_area"] = curves.areas
        return values


def format_checks(checks: list[Check]) -> str:
    """Checks of the same windows, for people."""
    chance = "{:>10.3f}{:>11.3f}".format(*checks[0].by_chance.areas)
    lines = [
        f"{checks[0].windows} windows with a true positive; of deletion and insertion the areas",
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
    on_progress: Callable[[str], None] = lambda what: None,
) -> list[Check]:
    """Check every method of the settings that scores bases.

    Args:
        model: that is attributed.
        windows: with labels.
        settings: of the attribution.
        planted: whether the labels are what was planted in a simulated genome.
        permuted_label_model: a model that was trained on permuted labels, of the same windows.
        on_progress: called before each of `count_steps`, with what is done in it.

    Raises:
        InputError: the windows do not fit the model, or none has a true positive.
    """
    on_progress("attribution")
    found = attribute_windows(model, windows, settings)
    rows = np.flatnonzero(found.true_positive.any(axis=1))
    if not len(rows):
        raise InputError(
            "windows",
            f"{len(windows.window_id)} with a label",
            "the model finds none of them, so there is nothing to attribute",
            "train it longer, or give another split",
        )
    chosen, labels = windows.rows(rows), windows.labels.shape[1]
    true_positive = found.true_positive[rows][:, :labels]
    others = {"weights": with_random_weights(model, settings.seed), "labels": permuted_label_model}
    unlearnt = {}
    for what, other in others.items():
        if other is not None:
            on_progress(f"attribution under random {what}")
            unlearnt[what] = attribute_windows(other, chosen, settings, true_positive).scores
    model.eval()
    on_progress("faithfulness by chance")
    chance = faithfulness(
        model,
        chosen,
        true_positive,
        random_order(chosen, model.readout.window, settings.seed),
        settings,
    )
    checks = []
    for method, scores in found.scores.items():
        on_progress(f"faithfulness of {METHODS[method].title}")
        checks.append(
            Check(
                method=method,
                windows=len(rows),
                curves=faithfulness(model, chosen, true_positive, scores[rows], settings),
                by_chance=chance,
                random_weights=correlation(scores[rows], unlearnt["weights"][method]),
                random_labels=correlation(scores[rows], unlearnt["labels"][method])
                if permuted_label_model
                else None,
                planted_auroc=planted_auroc(found, method, windows.labels, settings)
                if planted
                else None,
            )
        )
    return checks


def count_steps(settings: AttributionSettings, *, random_labels: bool) -> int:
    """Steps of `check_attribution`: an attribution by each model, and curves by chance and of each
    method that scores bases."""
    methods = sum(METHODS[name].scores_bases for name in settings.methods)
    return 3 + random_labels + methods


class Curves(NamedTuple):
    """What is left of the target as bases are replaced, from the highest score to the lowest."""

    share: NDArray[np.float64]
    """(P,) of a window's bases that are replaced, 0 to 1; for the insertion, that are put back."""
    deletion: NDArray[np.float64]
    """(P,) mean over windows, as a share of what all bases make: from 1 to 0."""
    insertion: NDArray[np.float64]
    """(P,) from 0 to 1."""

    @property
    def areas(self) -> tuple[float, float]:
        """Under deletion, where low is good, and insertion, where high is; 0.5 each where all bases
        carry alike."""
        deletion, insertion = (
            float(np.trapezoid(curve, self.share)) for curve in (self.deletion, self.insertion)
        )
        return deletion, insertion


def faithfulness(
    model: WindowModel,
    windows: Windows,
    true_positive: NDArray[np.bool_],
    scores: NDArray[np.floating],
    settings: AttributionSettings,
) -> Curves:
    """Replace the bases of windows by those of their dinucleotide shuffle, best first.

    Args:
        model: in evaluation mode.
        windows: N windows, each with a true positive.
        true_positive: (N, labels) bool.
        scores: (N, W) of bases.
        settings: `normalise`, `batch` and `seed` are read.

    Source: Petsiuk, Das & Saenko 2018 (deletion and insertion).
    """
    tokens = trim_tokens(model, windows)
    length, stored = model.readout.window, model.readout.required_flank
    targets = Targets(model, tokens, true_positive, settings)
    other = tokens.copy()
    for row, identity in zip(other, windows.window_id.tolist(), strict=True):
        generator = random_stream(settings.seed, CURVES, identity)
        inner = row[stored : stored + length]
        inner[:] = codes_to_tokens(dinucleotide_shuffle(tokens_to_codes(inner), generator))
    rank = np.argsort(np.argsort(-scores, axis=1, kind="stable"), axis=1)
    shares = np.linspace(0, 1, STEPS + 1)
    replaced = [rank < round(share * length) for share in shares]
    deleted = [_mixed(tokens, other, chosen, stored) for chosen in replaced]
    inserted = [_mixed(other, tokens, chosen, stored) for chosen in replaced]
    found = np.array(
        [[_mean_target(targets, mixed) for mixed in of_curve] for of_curve in (deleted, inserted)]
    )
    whole, nothing = found[0, 0], found[0, -1]
    deletion, insertion = (found - nothing) / (whole - nothing)
    return Curves(shares, deletion, insertion)


def random_order(windows: Windows, length: int, seed: int) -> NDArray[np.float64]:
    """(N, W) scores that say nothing, to hold a method against."""
    rows = [random_stream(seed, ORDER, i).random(length) for i in windows.window_id.tolist()]
    return np.stack(rows)


def with_random_weights(model: WindowModel, seed: int) -> WindowModel:
    """The same classifier as before it learnt anything."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        classifier = type(model.classifier)(model.classifier.config)
    device = next(model.parameters()).device
    return WindowModel(classifier, model.readout).to(device).eval()


def correlation(first: NDArray[np.floating], second: NDArray[np.floating]) -> float:
    """Mean over windows, (N, W) each, of the rank correlation of their bases' scores."""
    each = [spearmanr(one, other).statistic for one, other in zip(first, second, strict=True)]
    return float(np.nanmean(each))


def planted_auroc(
    attribution: WindowAttribution,
    method: str,
    labels: NDArray[np.int8],
    settings: AttributionSettings,
) -> float | None:
    """How well the mean score of a k-mer, wherever it stands in an attributed window, tells those
    that occur inside labels from all others; on a genome in which the labels are what was planted.

    Args:
        attribution: of windows in which whole tracts were planted.
        method: whose scores.
        labels: (N, W) of the windows.
        settings: `k` is read, and `min_count`: k-mers with fewer occurrences are left out.

    Returns:
        Area under the ROC curve; None where all k-mers are of one kind.
    """
    config = KmerConfig(k=settings.k)
    planted = count_kmers(attribution.bases, labels == POSITIVE, config).tp_count > 0
    rows = attribution.true_positive.any(axis=1)
    sums = fold_kmers(attribution.bases[rows], attribution.scores[method][rows], config)
    often = np.flatnonzero(sums.count >= settings.min_count)
    if len(set(planted[often].tolist())) < 2:
        return None
    return float(roc_auc_score(planted[often], sums.total[often] / sums.count[often]))


def _mixed(
    tokens: NDArray[np.uint8], other: NDArray[np.uint8], chosen: NDArray[np.bool_], stored: int
) -> NDArray[np.uint8]:
    """Tokens with those of `other` at the chosen bases (N, W) of the windows."""
    mixed = tokens.copy()
    inner = slice(stored, stored + chosen.shape[1])
    mixed[:, inner] = np.where(chosen, other[:, inner], tokens[:, inner])
    return mixed


@torch.no_grad()
def _mean_target(targets: Targets, tokens: NDArray[np.uint8]) -> float:
    """Mean over windows and strands of the target of other tokens in the windows' place."""
    total = 0.0
    given = targets.model.strand_tokens(torch.from_numpy(tokens).to(targets.weight.device))
    for strand, ids in enumerate(given):
        for some, length, labels in targets.passes(strand, np.arange(len(targets))):
            points = targets.model.embed(ids[some, :length])
            total += float(targets.values(strand, some, points, labels).double().sum())
    return total / (len(targets) * len(targets.inputs))

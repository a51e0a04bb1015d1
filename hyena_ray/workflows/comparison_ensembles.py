"""The row `ensemble` of a comparison: the mean of the runs of all presets with the same seed.

Each seed makes an ensemble of one run of every preset. A choice of the best seed would be a choice
by validation noise, and a mean over seeds would gain what any preset gains by more seeds: this way
the row has a mean and a spread over seeds like every other one, and differs from them only in that
unlike models are together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from statistics import fmean
from typing import TYPE_CHECKING

import numpy as np

from hyena_ray.dataset.reader import PreparedData
from hyena_ray.files import read_json, write_json
from hyena_ray.storage import AnyPath
from hyena_ray.training.settings import TrainingSettings
from hyena_ray.workflows.comparison_table import METRIC_TITLES, Row, table_row
from hyena_ray.workflows.presets import OriginalFigures

if TYPE_CHECKING:
    from hyena_ray.cluster.resources import Placement, Resources
    from hyena_ray.training.ensemble_figures import EnsembleFigures

ENSEMBLES = "ensembles"
"""Name of the folder of their figures."""
ENSEMBLE = "ensemble"
"""Name of the row."""


class Member:
    """A run that is a member of an ensemble.

    Args:
        preset: Name of its preset.
        folder: Folder of the run.
    """

    def __init__(self, preset: str, folder: AnyPath) -> None:
        self.preset, self.folder = preset, folder


def score_ensembles(
    groups: Mapping[str, Sequence[Member]],
    folds: Mapping[str, int | None],
    data_folder: AnyPath,
    folder: AnyPath,
    placement: Placement[Resources],
) -> list[EnsembleFigures]:
    """Score an ensemble for each group of runs that has two members, unless that is done already.

    Args:
        groups: Runs that did not diverge, by the name of their seed and fold.
        folds: Fold of each group; None where the data have none.
        data_folder: Folder of the prepared data.
        folder: Folder of the comparison.
        placement: Where the runs are placed.

    Raises:
        ShardError: An ensemble failed on every try.
    """
    from hyena_ray.cluster.pool import Shards, run_shards
    from hyena_ray.training.ensemble_figures import EnsembleFigures

    names = [name for name, members in groups.items() if len(members) > 1]
    paths = [folder / ENSEMBLES / f"{name}.json" for name in names]
    if not names:
        return []
    (folder / ENSEMBLES).mkdir(parents=True, exist_ok=True)

    def is_done(index: int) -> bool:
        if not paths[index].is_file():
            return False
        found = EnsembleFigures.parse(read_json(paths[index]), paths[index])
        return found.members.keys() == {member.preset for member in groups[names[index]]}

    def make() -> Callable[[int], object]:
        prepared = PreparedData.open(data_folder)
        return lambda index: work(prepared, index)

    def work(prepared: PreparedData, index: int) -> None:
        from hyena_ray.model.devices import default_device
        from hyena_ray.model.saved import load_window_model
        from hyena_ray.training.ensemble_figures import score_ensemble
        from hyena_ray.training.losses import class_weights

        name, device = names[index], default_device()
        models = {
            member.preset: load_window_model(member.folder / "model") for member in groups[name]
        }
        for model in models.values():
            model.to(device)
        fold = folds[name]
        view = prepared if fold is None else prepared.for_fold(fold)
        figures = score_ensemble(models, view, class_weights(TrainingSettings()))
        write_json(paths[index], figures.model_dump(mode="json"))

    run_shards(
        Shards(
            name="ensembles",
            numbers=[index for index in range(len(names)) if not is_done(index)],
            make=make,
            is_done=is_done,
            describe=lambda index: f"ensemble {names[index]}",
            label=lambda index: f"ensemble {names[index]}",
            unit="ensembles",
        ),
        actors=min(placement.concurrent, len(names)),
        resources=placement.resources,
    )
    return [EnsembleFigures.parse(read_json(path), path) for path in paths]


def ensemble_row(figures: Sequence[EnsembleFigures], labels: str) -> Row:
    """Summarise the ensembles of all seeds, as `preset_row` does the runs of a preset.

    Args:
        figures: Figures of each, at least one.
        labels: Files that the labels come from.
    """
    members = ", ".join(dict.fromkeys(name for each in figures for name in each.members))
    about = f"mean of the probabilities of {members}"
    found = [each.test for each in figures]
    return table_row(ENSEMBLE, about, OriginalFigures(), found, diverged=0, labels=labels)


def ensemble_markdown(figures: Sequence[EnsembleFigures]) -> str:
    """Return what the ensemble gains over each of its members, as Markdown.

    Args:
        figures: Figures of each seed.
    """
    from hyena_ray.training.bootstrap import interval_of
    from hyena_ray.training.ensemble_figures import PAIRED

    metrics = [name for name in PAIRED if any(name in g for f in figures for g in f.gains.values())]
    lines = [
        "",
        "## The ensemble against its members",
        "",
        "For each seed, the probabilities of one run of every preset are averaged. Each cell has",
        "the ensemble's figure less the member's on the same bases, the mean over seeds, and its",
        "95 % interval from paired draws of blocks.",
        "",
        f"| member | {' | '.join(METRIC_TITLES[name] for name in metrics)} |",
        "|---|" + "---|" * len(metrics),
    ]
    for member in dict.fromkeys(name for each in figures for name in each.members):
        cells = []
        for name in metrics:
            gains = [f.gains[member][name] for f in figures if name in f.gains.get(member, {})]
            draws = min((len(gain.draws) for gain in gains), default=0)
            if not draws:
                cells.append("")
                continue
            # Draw by draw: those of one fold are of the same blocks whatever the seed.
            mean = np.mean([gain.draws[:draws] for gain in gains], axis=0)
            low, high = interval_of(mean)
            value = fmean(gain.difference for gain in gains)
            cells.append(f"{value:+.3f} ({low:+.3f} to {high:+.3f})")
        lines.append(f"| {member} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"

"""The row `ensemble` of a comparison: the mean of the runs of all presets with the same seed.

Each seed makes an ensemble of one run of every preset. A choice of the best seed would be a choice
by validation noise, and a mean over seeds would gain what any preset gains by more seeds: this way
the row has a mean and a spread over seeds like every other one, and differs from them only in that
unlike models are together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from hyena_ray.dataset.reader import PreparedData
from hyena_ray.files import read_json, sha256_file, write_json
from hyena_ray.runs.record import EVALUATION, MANIFEST
from hyena_ray.storage import AnyPath
from hyena_ray.training.settings import TrainingSettings
from hyena_ray.workflows.comparison_table import Row, table_row
from hyena_ray.workflows.presets import OriginalFigures

if TYPE_CHECKING:
    from hyena_ray.cluster.resources import Placement, Resources

ENSEMBLES = "ensembles"
"""Name of the folder of their evaluations."""
ENSEMBLE = "ensemble"
"""Name of the row."""
MEMBERS = "members.json"
"""Name of the file, written last, with the sha256 of every member's manifest by its preset."""


def score_ensembles(
    groups: Mapping[str, Mapping[str, AnyPath]],
    folds: Mapping[str, int | None],
    data_folder: AnyPath,
    folder: AnyPath,
    placement: Placement[Resources],
) -> dict[str, AnyPath]:
    """Score an ensemble for each group of runs that has two members, unless that is done already.

    Args:
        groups: Folders of the runs that did not diverge, by preset, by the name of their seed and
            fold.
        folds: Fold of each group; None where the data have none.
        data_folder: Folder of the prepared data.
        folder: Folder of the comparison.
        placement: Where the runs are placed.

    Returns:
        Folder with the evaluation of each ensemble, by the name of the group.

    Raises:
        ShardError: An ensemble failed on every try.
    """
    from hyena_ray.cluster.pool import Shards, run_shards

    names = [name for name, members in groups.items() if len(members) > 1]
    folders = [folder / ENSEMBLES / name for name in names]
    if not names:
        return {}

    def members_of(index: int) -> dict[str, str]:
        runs = groups[names[index]]
        return {preset: sha256_file(run / MANIFEST) for preset, run in runs.items()}

    def is_done(index: int) -> bool:
        path = folders[index] / MEMBERS
        return path.is_file() and read_json(path) == members_of(index)

    def make() -> Callable[[int], object]:
        prepared = PreparedData.open(data_folder)
        return lambda index: work(prepared, index)

    def work(prepared: PreparedData, index: int) -> None:
        from hyena_ray.genome.splits import VALIDATION
        from hyena_ray.model.devices import default_device
        from hyena_ray.model.ensemble import Ensemble
        from hyena_ray.model.saved import load_window_model
        from hyena_ray.training.evaluation import choose_thresholds, evaluate_on_split
        from hyena_ray.training.held_out import HeldOut
        from hyena_ray.training.losses import class_weights

        device = default_device()
        models = [load_window_model(run / "model") for run in groups[names[index]].values()]
        for model in models:
            model.to(device)
        ensemble, fold = Ensemble(models), folds[names[index]]
        view = prepared if fold is None else prepared.for_fold(fold)
        weights = class_weights(TrainingSettings())
        choose_thresholds(ensemble, HeldOut.read(view, VALIDATION), weights)
        evaluation = evaluate_on_split(ensemble, view, "test", weights)
        folders[index].mkdir(parents=True, exist_ok=True)
        evaluation.write(folders[index])
        write_json(folders[index] / MEMBERS, members_of(index))

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
    return dict(zip(names, folders, strict=True))


def ensemble_row(scored: Mapping[str, AnyPath], labels: str) -> Row:
    """Summarise the ensembles of all seeds, as `preset_row` does the runs of a preset.

    Args:
        scored: Folder of each ensemble, at least one.
        labels: Files that the labels come from.
    """
    from hyena_ray.training.evaluation import Evaluation

    members = dict.fromkeys(
        name for folder in scored.values() for name in read_json(folder / MEMBERS)
    )
    about = f"mean of the probabilities of {', '.join(members)}"
    found = [Evaluation.read(folder / EVALUATION).figures() for folder in scored.values()]
    return table_row(ENSEMBLE, about, OriginalFigures(), found, diverged=0, labels=labels)

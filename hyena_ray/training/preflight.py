"""Checks before any work that a run, or a model, fits the prepared data and itself."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

from hyena_ray.dataset.negative_draws import check_shares
from hyena_ray.dataset.origin import NAME as DATA
from hyena_ray.dataset.origin import Origin
from hyena_ray.dataset.reader import PreparedData
from hyena_ray.errors import InputError, nearest_name, unknown_name
from hyena_ray.genome.signal_scale import TRACK_REACH, SignalScale
from hyena_ray.genome.splits import TRAIN, VALIDATION
from hyena_ray.model.backbone_table import BACKBONES
from hyena_ray.model.settings import (
    PRETRAINABLE,
    Precision,
    refuse_other_tasks,
    refuse_unused,
)
from hyena_ray.storage import AnyPath
from hyena_ray.tasks import Task, task_named
from hyena_ray.training.leaks import teacher_leak, warn_of_leak
from hyena_ray.training.settings import RunSettings

if TYPE_CHECKING:  # a command line is checked without torch
    from hyena_ray.model.window import WindowModel, WindowScorer
    from hyena_ray.training.distillation import TeacherRecord

logger = logging.getLogger(__name__)


def check_run_fits(
    settings: RunSettings,
    data: PreparedData,
    place: str,
    *,
    gpu: bool | None,
    teacher: bool = False,
) -> None:
    """Refuse settings that the prepared windows, the task, the model or the device cannot serve.

    A backbone that has seen test contigs in pretraining is warned of.

    Args:
        settings: Settings of the run.
        data: Prepared windows; not a fold's view of them.
        place: Where the settings come from, for the message.
        gpu: Whether the run will have a GPU; None if the cluster decides, in which case
            `check_arithmetic` must be called once that is known.
        teacher: Whether the run has a teacher.

    Raises:
        InputError: Names the first setting that does not fit.
    """
    task = task_named(settings.task, f"{place}: task")
    if task.name != data.manifest.task:
        raise InputError(
            f"{place}: task", task.name, f"the data is {data.manifest.task}", "give its own data"
        )
    refuse_other_tasks(settings.model, task.name, place)
    if task.kind == "sequence":
        _check_sequences(settings, task, place)
    _check_windows(settings, data, place)
    _check_tracks(settings, data, place)
    _check_splits(settings, data, place)
    _check_negatives(settings, data, place)
    _check_model(settings, place)
    if not teacher:
        refuse_teacher_share(settings, f"{place}: training.teacher_share")
    warn_of_leak(settings, data.manifest)
    check_arithmetic(settings.training.precision, place, gpu=gpu)


def refuse_teacher_share(settings: RunSettings, place: str) -> None:
    """Refuse a teacher's share in a run that has no teacher.

    Args:
        settings: Settings of the run.
        place: Where the share comes from, for the message.

    Raises:
        InputError: There is such a share.
    """
    share = settings.training.teacher_share
    if share is not None:
        problem = "there is no teacher"
        raise InputError(place, share, problem, "leave it out, or give `train --teacher MODEL`")


def check_arithmetic(precision: Precision, place: str, *, gpu: bool | None) -> None:
    """Refuse a precision that needs a GPU if there will be none.

    Whether a GPU supports the precision is known only in the process that trains; see
    `devices.check_precision`.

    Args:
        precision: Arithmetic while training.
        place: Where the settings come from, for the message.
        gpu: Whether each process will have a GPU; None if that is not known yet.

    Raises:
        InputError: The precision needs a GPU, and there will be none.
    """
    if gpu is not False or precision == "float32":
        return
    import torch

    from hyena_ray.model.devices import check_precision

    check_precision(precision, torch.device("cpu"), f"{place}: training.precision")


def build_untrained(settings: RunSettings, scales: Sequence[SignalScale] = ()) -> WindowModel:
    """Build the untrained model of a run on the CPU, to inspect it before the run.

    Args:
        settings: Settings of the run.
        scales: Scales of the tracks of the data.

    Raises:
        InputError: The settings or their backbone make no model.
    """
    from hyena_ray.model.build import build_model

    return build_model(
        settings.model,
        settings.window_readout(scales),
        settings.lora,
        task_named(settings.task),
        seed=settings.training.seed,
    )


def load_fitting_model(folder: AnyPath, data: PreparedData) -> WindowModel:
    """Load a trained model, and check that it reads windows such as the prepared ones.

    Args:
        folder: Folder of the model.
        data: Prepared windows.

    Returns:
        The model, in evaluation mode, on the CPU.

    Raises:
        InputError: The folder holds no model. Or the model labels bases and the windows have one
            label each, or the other way round. Or their length, flank or tracks are not those of
            the model.
    """
    from hyena_ray.model.saved import load_window_model

    model = load_window_model(folder)
    manifest, readout = data.manifest, model.readout
    _check_kind(model, folder, data)
    if manifest.stretch is not None and readout.window > manifest.stretch:
        raise InputError(
            folder,
            f"window of {readout.window} bases",
            f"the data in {data.folder} has stretches of {manifest.stretch} bases",
            f"prepare data with --stretch {readout.window}, or give another model",
        )
    if manifest.stretch is None and readout.window not in manifest.lengths:
        raise InputError(
            folder,
            f"window of {readout.window} bases",
            f"the data in {data.folder} has sequences of {manifest.lengths[0]} bases",
            "give data or a model of that length",
        )
    _check_flank(model, folder, data)
    _check_scales(model, folder, data)
    return model


def _check_kind(model: WindowModel, folder: AnyPath, data: PreparedData) -> None:
    kind = "base" if model.labels_bases else "sequence"
    if kind != task_named(data.manifest.task).kind:
        raise InputError(
            folder,
            f"labels {kind}s",
            f"the data in {data.folder} is {data.manifest.task}",
            "give a model of that task, or other data",
        )


def _check_flank(model: WindowModel, folder: AnyPath, data: PreparedData) -> None:
    needed, stored = model.readout.required_flank, data.manifest.flank
    if needed > stored:
        raise InputError(
            folder,
            f"flank of {needed} bases",
            f"the data in {data.folder} has {stored} bases on each side",
            f"prepare data with --flank {needed} or more, or give another model",
        )


def _check_scales(model: WindowModel, folder: AnyPath, data: PreparedData) -> None:
    given = {scale.name: scale for scale in data.manifest.scales}
    for scale in model.readout.scales:
        if given.get(scale.name) != scale:
            other = f"{scale.name} with another scale or number"
            raise InputError(
                folder,
                f"reads the track {scale.name}",
                f"the data in {data.folder} has "
                f"{other if scale.name in given else _tracks_text(list(given))}",
                "give data prepared with the same tracks and training contigs, or score a genome, "
                "with --track",
            )


def load_teacher(
    folders: Sequence[AnyPath], data: PreparedData, length: int
) -> tuple[WindowScorer, TeacherRecord]:
    """Load a teacher, or several as an ensemble, and check that it reads the training windows.

    What it, or a teacher of its own, has seen of the held-out contigs is warned of.

    Args:
        folders: Folders of the models.
        data: Prepared windows, as the run sees them.
        length: Window length of the run, in bases.

    Returns:
        The teacher, in evaluation mode, on the CPU, and what is kept of it.

    Raises:
        InputError: A folder holds no model, or one of another task, with longer windows or more
            flank than the data have; or they are no ensemble.
    """
    from hyena_ray.model.ensemble import scorer_of
    from hyena_ray.model.saved import load_window_model
    from hyena_ray.training.distillation import TeacherRecord

    # What is held out is what the view of a fold says.
    scored = Origin.from_data(data).model_copy(update={"manifest": data.manifest})
    models: list[WindowModel] = []
    origins: list[Origin] = []
    seen: dict[str, tuple[str, ...]] = {}
    for folder in folders:
        model = load_window_model(folder)
        origin = Origin.read(folder) if (folder / DATA).is_file() else None
        _check_teacher(model, folder, origin, data, length)
        models.append(model)
        origins += [] if origin is None else [origin]
        for trained_on in (None,) if origin is None else origin.lineage:
            contigs, problem = teacher_leak(trained_on, scored, length)
            seen = {
                split: tuple(dict.fromkeys((*seen.get(split, ()), *contigs[split])))
                for split in contigs
            }
            if problem:
                logger.warning("--teacher: %s: %s", folder, problem)
    teacher = scorer_of(models, folders, "--teacher")
    return teacher, TeacherRecord.of(teacher, seen, tuple(origins))


def _check_teacher(
    model: WindowModel, folder: AnyPath, origin: Origin | None, data: PreparedData, length: int
) -> None:
    task = data.manifest.task
    if origin is not None and origin.manifest.task != task:
        problem = f"was trained on {origin.manifest.task}, and the data is {task}"
        raise InputError("--teacher", folder, problem, "give a model of that task")
    _check_kind(model, folder, data)
    window = model.readout.window
    if window > length or (window < length and not model.labels_bases):
        shorter = " or shorter ones" if model.labels_bases else ""
        raise InputError(
            "--teacher",
            folder,
            f"reads windows of {window} bases, and those of the run have {length}",
            f"give a model with windows of that length{shorter}",
        )
    _check_flank(model, folder, data)
    _check_scales(model, folder, data)


def load_fitting_scorer(folders: Sequence[AnyPath], data: PreparedData) -> WindowScorer:
    """Load a trained model, or several as an ensemble, and check them as `load_fitting_model`.

    Args:
        folders: Folders of the models.
        data: Prepared windows.

    Raises:
        InputError: As `load_fitting_model`, or they are no ensemble.
    """
    from hyena_ray.model.ensemble import scorer_of

    return scorer_of([load_fitting_model(folder, data) for folder in folders], folders)


def _check_sequences(settings: RunSettings, task: Task, place: str) -> None:
    head, metric = settings.model.head, settings.metric
    for key, value, remedy in (
        ("readout.flank", settings.readout.flank, "set it to 0"),
        ("readout.lookahead", settings.readout.lookahead, "set it to 0"),
        ("readout.tracks", ",".join(settings.readout.tracks), "leave it out"),
        ("training.shortest_crop", settings.training.shortest_crop, "set it to null"),
        ("training.soft_edges", settings.training.soft_edges, "set it to 0"),
        ("training.metric", metric if metric.startswith("tile_") else None, "set it to mcc"),
        ("model.head", head if head == "lookahead" else None, "set it to linear or electra"),
    ):
        if value:
            raise InputError(
                f"{place}: {key}",
                value,
                f"{task.title} are whole sequences, with nothing around them and one label",
                remedy,
            )


def _check_windows(settings: RunSettings, data: PreparedData, place: str) -> None:
    manifest, length, flank = data.manifest, settings.data.length, settings.readout.flank
    if length not in manifest.lengths:
        prepared = ", ".join(map(str, manifest.lengths))
        raise InputError(
            f"{place}: data.length",
            length,
            f"the data in {data.folder} has windows of {prepared} bases",
            f"choose one of these or prepare with --lengths {length}",
        )
    tracks, required = ",".join(settings.readout.tracks), settings.readout.required_flank
    for key, value, bases in (("flank", flank, flank), ("tracks", tracks, required)):
        if bases > manifest.flank:
            raise InputError(
                f"{place}: readout.{key}",
                value,
                f"the data in {data.folder} has {manifest.flank} bases on each side",
                f"lower it or prepare with --flank {bases}",
            )
    settings.check_lookahead(place)
    shortest = settings.training.shortest_crop
    if shortest is not None and shortest > length:
        raise InputError(
            f"{place}: training.shortest_crop",
            shortest,
            f"is longer than the windows of {length} bases",
            "lower it",
        )


def _check_tracks(settings: RunSettings, data: PreparedData, place: str) -> None:
    given = [scale.name for scale in data.manifest.scales]
    for name in settings.readout.signal_tracks:
        if name in given:
            continue
        place_of, known = f"{place}: readout.tracks", [*TRACK_REACH, *given]
        if nearest_name(name, known):
            raise unknown_name(place_of, name, "track", known)
        raise InputError(
            place_of,
            name,
            f"the data in {data.folder} has {_tracks_text(given)}",
            f"prepare with --track {name}=FILE, or use {', '.join(known)}",
        )


def _tracks_text(names: Sequence[str]) -> str:
    return f"the tracks {', '.join(names)}" if names else "no tracks"


def _check_splits(settings: RunSettings, data: PreparedData, place: str) -> None:
    fold, folds = settings.data.fold, data.manifest.folds
    if fold is not None:
        data.manifest.for_fold(fold, f"{place}: data.fold")
    elif folds:
        raise InputError(
            f"{place}: data.fold",
            None,
            f"is missing, and the data in {data.folder} are split into {folds} folds",
            f"set the one that is tested, 0 to {folds - 1}",
        )
    elif missing := [name for name in (TRAIN, VALIDATION) if name not in data.manifest.splits]:
        raise InputError(
            data.folder,
            f"split {data.manifest.split}",
            f"has no {' and no '.join(missing)}, and a model needs both",
            "prepare data with a --split that names train and val",
        )


def _check_negatives(settings: RunSettings, data: PreparedData, place: str) -> None:
    shares, fold = settings.data.negatives, settings.data.fold
    if shares is not None:
        view = data if fold is None else data.for_fold(fold, f"{place}: data.fold")
        stored = view.manifest.stored_kinds(settings.data.length, TRAIN)
        splits = max(1, data.manifest.folds)
        check_shares(stored, shares, f"{place}: data.negatives", splits=splits)


def _check_model(settings: RunSettings, place: str) -> None:
    model, architecture = settings.model, settings.model.architecture
    refuse_unused(model, settings.readout.tracks, place)
    needs_backbone = {
        "lora.enabled": settings.lora.enabled,
        "training.checkpoint_activations": settings.training.checkpoint_activations,
    }
    for key, value in needs_backbone.items():
        if value and architecture not in PRETRAINABLE:
            raise InputError(
                f"{place}: {key}", value, f"{architecture} has nothing of the kind", "leave it out"
            )
    targets = settings.lora.targets
    if settings.lora.enabled and architecture in BACKBONES:
        allowed = BACKBONES[architecture].targets
        if targets not in allowed:
            raise InputError(
                f"{place}: lora.targets",
                targets,
                f"{architecture} has none of them",
                f"use {' or '.join(allowed)}",
            )
    longest = settings.data.length + 2 * settings.readout.flank + settings.readout.special_tokens
    # The sizes of pretrained weights are their own.
    sized = architecture == "hyenadna" and model.backbone is None
    if sized and model.max_seq_len is not None and longest > model.max_seq_len:
        raise InputError(
            f"{place}: model.max_seq_len",
            model.max_seq_len,
            f"a window with its flanks has {longest} tokens",
            "raise it, or shorten the window",
        )

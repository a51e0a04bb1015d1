"""Does a run fit the prepared data? Asked before any work is done."""

from __future__ import annotations

from hyena_ray.dataset.reader import PreparedData
from hyena_ray.errors import InputError
from hyena_ray.training.settings import RunSettings


def check_run_fits(settings: RunSettings, data: PreparedData, place: str) -> None:
    """Refuse settings that the prepared windows cannot serve.

    Args:
        settings: of the run.
        data: prepared windows.
        place: where the settings come from, for the message.

    Raises:
        InputError: task, window length or flank differ from what was prepared.
    """
    manifest, length, flank = data.manifest, settings.data.length, settings.readout.flank
    if settings.task != manifest.task:
        raise InputError(
            f"{place}: task", settings.task, f"the data is {manifest.task}", "give its own data"
        )
    if length not in manifest.lengths:
        prepared = ", ".join(map(str, manifest.lengths))
        raise InputError(
            f"{place}: data.length",
            length,
            f"the data in {data.folder} has windows of {prepared} bases",
            f"choose one of these or prepare with --lengths {length}",
        )
    if flank > manifest.flank:
        raise InputError(
            f"{place}: readout.flank",
            flank,
            f"the data in {data.folder} has {manifest.flank} bases on each side",
            f"lower it or prepare with --flank {flank}",
        )
    if settings.readout.lookahead > flank:
        raise InputError(
            f"{place}: readout.lookahead",
            settings.readout.lookahead,
            f"reaches past the flank of {flank} bases",
            "lower it or raise readout.flank",
        )
    longest = length + 2 * flank
    if settings.model.architecture == "hyenadna" and longest > settings.model.max_seq_len:
        raise InputError(
            f"{place}: model.max_seq_len",
            settings.model.max_seq_len,
            f"a window with its flanks has {longest} bases",
            "raise it, or shorten the window",
        )

"""The plan of an attribution: which windows, which shard, which settings, and its fingerprint."""

from __future__ import annotations

import hashlib
from typing import Annotated, ClassVar, Self

from pydantic import Field

from hyena_ray.attribution.settings import AttributionSettings
from hyena_ray.attribution.targets import tokens_read, true_positives
from hyena_ray.dataset.manifest import MANIFEST
from hyena_ray.dataset.reader import PreparedData
from hyena_ray.dataset.sharded import WorkPlan
from hyena_ray.errors import InputError
from hyena_ray.files import sha256_file
from hyena_ray.model.window import WindowModel
from hyena_ray.settings import Settings

SHARD_SIZE = 256
"""Windows of a shard: seconds of work, and less is lost with a worker than it costs to keep."""


class Shard(Settings):
    """Some windows in a row, in order of their ids."""

    first_row: int
    last_row: int
    """One past the last row."""
    first_id: int
    last_id: int
    """The last window's own id."""


class ShardPlan(WorkPlan):
    """What an attribution depends on."""

    work: ClassVar[str] = "attribution"

    length: int
    """Bases of a window."""
    split: str
    data: str
    """sha256 of the prepared data's manifest."""
    model: str
    """sha256 of weights, readout and threshold."""
    settings: AttributionSettings
    shards: Annotated[tuple[Shard, ...], Field(min_length=1)]

    @classmethod
    def make(
        cls,
        model: WindowModel,
        data: PreparedData,
        *,
        split: str,
        settings: AttributionSettings,
        limit: int | None = None,
        size: int = SHARD_SIZE,
    ) -> Self:
        """Cut the windows of a split, at the length that the model reads, into shards of `size`.

        Args:
            limit: of the windows: so many at most, in shards that lie evenly over the split.

        Raises:
            InputError: the data have no such split, windows of another length or too short a
                flank, or windows shorter than k; or a limit below one shard.
        """
        if limit is not None and limit < size:
            raise InputError("--limit", limit, f"below a shard of {size} windows", "raise it")
        length, flank = model.readout.window, model.readout.required_flank
        if settings.k > length:
            raise InputError("k", settings.k, f"longer than a window of {length} bases", "lower it")
        if data.manifest.flank < flank:
            raise InputError(
                data.folder,
                f"flank {data.manifest.flank}",
                f"the model needs a flank of {flank}",
                f"prepare the data with --flank {flank} or more",
            )
        ids = data.window_ids(length, split)
        if not len(ids):
            raise InputError(data.folder, split, "the split has no windows", "choose another split")
        shards = tuple(
            Shard(
                first_row=first,
                last_row=min(first + size, len(ids)),
                first_id=int(ids[first]),
                last_id=int(ids[min(first + size, len(ids)) - 1]),
            )
            for first in range(0, len(ids), size)
        )
        return cls(
            length=length,
            split=split,
            data=sha256_file(data.folder / MANIFEST),
            model=model_sha256(model),
            settings=settings,
            shards=shards if limit is None else shards[:: -(-len(shards) // (limit // size))],
        )

    def check_found(self, model: WindowModel, data: PreparedData) -> None:
        """Look for a true positive: where there is none, nothing has to be written to find it out.

        Raises:
            InputError: the model finds no labelled base.
        """
        for shard in self.shards:
            windows = data.read_rows(self.length, self.split, shard.first_row, shard.last_row)
            tokens = tokens_read(model, windows)
            if true_positives(model, tokens, windows.labels, self.settings.batch).any():
                return
        raise self.nothing_found()

    def nothing_found(self) -> InputError:
        """What is said where no window has a true positive."""
        windows = sum(shard.last_row - shard.first_row for shard in self.shards)
        return InputError(
            f"split {self.split}",
            f"{windows} windows",
            "the model finds no labelled base, so there is nothing to attribute",
            "train it longer, lower its threshold, or choose a split with labelled windows",
        )


def model_sha256(model: WindowModel) -> str:
    """sha256 of a model's weights, readout and threshold, whatever file it came from."""
    digest = hashlib.sha256(model.readout.model_dump_json().encode())
    digest.update(repr(float(model.threshold)).encode())
    for name, tensor in sorted(model.state_dict().items()):
        array = tensor.detach().cpu().contiguous()
        digest.update(f"{name} {array.dtype} {tuple(array.shape)}".encode())
        digest.update(array.numpy().tobytes())
    return digest.hexdigest()

"""Processes that train one model together, each on its part of every batch.

All draw the same windows and the same augmentation, and share them out by rank. Knows torch's
process groups, and not who began them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from itertools import chain, islice, zip_longest
from typing import NamedTuple, TypeVar, cast

import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

T = TypeVar("T")


class Workers(NamedTuple):
    """The place of this process among those of one run."""

    rank: int = 0
    """From 0; the first one alone writes files."""
    size: int = 1
    """Processes of the run. One is on its own, and needs no process group."""

    @classmethod
    def of_process_group(cls) -> Workers:
        """Those of torch's default process group."""
        return cls(dist.get_rank(), dist.get_world_size())

    @property
    def writes(self) -> bool:
        """Whether this process writes files."""
        return self.rank == 0

    def share(self, items: Iterable[T]) -> Iterator[T]:
        """This rank's items."""
        return islice(items, self.rank, None, self.size)

    def merge(self, own: list[T]) -> list[T]:
        """What all ranks have made of the items of `share`, one of each, in the items' order."""
        if self.size == 1:
            return own
        of_ranks: list[list[T]] = [[]] * self.size
        dist.all_gather_object(of_ranks, own)
        nothing = object()
        dealt = chain.from_iterable(zip_longest(*of_ranks, fillvalue=nothing))
        return [cast(T, item) for item in dealt if item is not nothing]

    def mean(self, value: Tensor) -> Tensor:
        """Over the ranks, elementwise; `value` itself is overwritten."""
        if self.size > 1:
            dist.all_reduce(value)
        return value / self.size

    def replica(self, model: nn.Module) -> nn.Module:
        """The model as one to train: passes through it leave the mean gradient of all ranks.

        Batch norms take their statistics from a rank's own rows.
        """
        if self.size == 1:
            return model
        return DistributedDataParallel(model, forward_sync_buffers=False)

    def agree(self, model: nn.Module) -> None:
        """Give the first rank's buffers to all: batch norms have gathered their own."""
        if self.size > 1:
            for buffer in model.buffers():
                dist.broadcast(buffer, 0)

    @staticmethod
    def passes(replica: nn.Module, *, last: bool) -> AbstractContextManager[None]:
        """One forward and backward pass of a step. Ranks wait for each other in the last alone."""
        if last or not isinstance(replica, DistributedDataParallel):
            return nullcontext()
        return cast(AbstractContextManager[None], replica.no_sync())


ALONE = Workers()
"""A run in one process."""

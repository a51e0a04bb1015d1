"""Processes that train one model together, each on its part of every batch.

All draw the same windows and the same augmentation, and share them out by rank. This module knows
torch's process groups, and not what starts them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from itertools import chain, islice, zip_longest
from typing import NamedTuple, TypeVar, cast

import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from hyena_ray.dataset.shuffled_windows import own_part

T = TypeVar("T")


class Workers(NamedTuple):
    """The position of this process among those of one run.

    Example:
        >>> list(Workers(rank=1, size=3).share("abcdefg"))
        ['b', 'e']
    """

    rank: int = 0
    """Number of this process, from 0; only the first writes files."""
    size: int = 1
    """Number of processes. A single one needs no process group."""

    @classmethod
    def of_process_group(cls) -> Workers:
        """Return the position of this process in torch's default process group."""
        return cls(dist.get_rank(), dist.get_world_size())

    @property
    def writes(self) -> bool:
        """Whether this process writes files."""
        return self.rank == 0

    def part(self, count: int) -> slice:
        """Return which windows of a batch this rank reads; see `own_part`.

        Args:
            count: Windows of the batch.
        """
        return own_part(count, self.rank, self.size)

    def share(self, items: Iterable[T]) -> Iterator[T]:
        """Yield this rank's items.

        Args:
            items: The same items on every rank.
        """
        return islice(items, self.rank, None, self.size)

    def merge(self, own: list[T]) -> list[T]:
        """Return what all ranks have made of the items of `share`, in the items' order.

        Args:
            own: What this rank has made, one for each of its items.
        """
        if self.size == 1:
            return own
        of_ranks: list[list[T]] = [[]] * self.size
        dist.all_gather_object(of_ranks, own)
        nothing = object()
        dealt = chain.from_iterable(zip_longest(*of_ranks, fillvalue=nothing))
        return [cast(T, item) for item in dealt if item is not nothing]

    def mean(self, value: Tensor) -> Tensor:
        """Return the elementwise mean over the ranks.

        Args:
            value: This rank's value, which is overwritten.
        """
        if self.size > 1:
            dist.all_reduce(value)
        return value / self.size

    def replica(self, model: nn.Module) -> nn.Module:
        """Return the model as one to train: passes through it leave the mean gradient of all ranks.

        Batch norms take their statistics from a rank's own rows.

        Args:
            model: Model with the same weights on every rank; which are frozen is settled here.
        """
        if self.size == 1:
            return model
        return DistributedDataParallel(model, forward_sync_buffers=False)

    def agree(self, model: nn.Module) -> None:
        """Give the first rank's buffers to all, since batch norms have gathered their own.

        Args:
            model: Model whose buffers are overwritten on all other ranks.
        """
        if self.size > 1:
            for buffer in model.buffers():
                dist.broadcast(buffer, 0)

    @staticmethod
    def passes(replica: nn.Module, *, last: bool) -> AbstractContextManager[None]:
        """Return the context of one forward and backward pass of a step.

        Args:
            replica: Value of `replica`.
            last: Whether it is the step's last pass, in which alone ranks wait for each other.
        """
        if last or not isinstance(replica, DistributedDataParallel):
            return nullcontext()
        return cast(AbstractContextManager[None], replica.no_sync())


ALONE = Workers()
"""A run in one process."""

"""The plan of a run: settings and inputs that determine its result, and their fingerprint."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any, ClassVar, Self

from hyena_ray.errors import InputError
from hyena_ray.settings import Settings
from hyena_ray.storage import AnyPath

SEAL = "sha256"
"""Key of the digest of all other values of a plan or manifest."""


class Plan(Settings):
    """Everything that the result of a run depends on.

    Where data lies is not part of a plan; what the data is (the sha256 of its manifest) is. Workers
    and their number are not part of it either, since results do not depend on them.
    """

    KIND: ClassVar[str]
    """Kind of the run, a key of `KINDS`."""
    RESUMABLE_CHANGES: ClassVar[frozenset[str]] = frozenset()
    """Fields in which a resumed run may differ from its first start."""
    STARTS_FROM: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    """Output, and what is removed where a file of it is lost or damaged, so that a resumed run
    makes it again: the folder itself, and the state of work that is past it. Other outputs are
    written anew, whatever is there."""

    @cached_property
    def fingerprint(self) -> str:
        """Hex sha256 of all fields but those that a resumed run may change."""
        return fingerprint(self.model_dump(mode="json", exclude=set(self.RESUMABLE_CHANGES)))

    def differences(self, other: Self) -> list[str]:
        """List the settings in which two plans differ, but for those that may change.

        Args:
            other: A plan of the same kind.

        Returns:
            Dotted keys, in the order in which the other plan has them.
        """
        excluded = set(self.RESUMABLE_CHANGES)
        ours, theirs = (plan.model_dump(mode="json", exclude=excluded) for plan in (self, other))
        return list(_differing_keys(ours, theirs))


def fingerprint(values: Any) -> str:
    """Return the hex sha256 of plain values; the order of keys does not matter.

    Args:
        values: Whatever JSON can hold.

    Example:
        >>> fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})
        True
    """
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def sealed(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values with their digest, by which a later change is noticed.

    Args:
        values: Whatever JSON can hold.

    Example:
        >>> from pathlib import Path
        >>> values = sealed({"kind": "train"})
        >>> check_seal({**values, "kind": "tune"}, Path("plan.json"))
        Traceback (most recent call last):
            ...
        hyena_ray.errors.InputError: plan.json: was changed after it was written ...
    """
    plain = json.loads(json.dumps(values))  # JSON makes every key a text
    return {**plain, SEAL: fingerprint(plain)}


def check_seal(values: Mapping[str, Any], path: AnyPath) -> dict[str, Any]:
    """Return what was sealed.

    Args:
        values: Content of the file, with its digest.
        path: The file, for the message.

    Raises:
        InputError: The values are not those that were sealed.
    """
    plain = {key: value for key, value in values.items() if key != SEAL}
    if values.get(SEAL) != fingerprint(plain):
        raise InputError(
            path,
            None,
            "was changed after it was written (its sha256 differs)",
            "put the file back, or make its folder again",
        )
    return plain


def _differing_keys(ours: Any, theirs: Any, prefix: str = "") -> Iterator[str]:
    if isinstance(ours, Mapping) and isinstance(theirs, Mapping):
        for key in dict.fromkeys((*theirs, *ours)):  # a stored plan has lost its order
            missing = object()
            pair = ours.get(key, missing), theirs.get(key, missing)
            yield from _differing_keys(*pair, f"{prefix}.{key}" if prefix else str(key))
    elif ours != theirs:
        yield prefix

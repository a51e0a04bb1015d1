"""Records of arrays on one screen: names, shapes and types in place of thousands of numbers."""

from __future__ import annotations

from dataclasses import fields
from typing import Any


def summary(record: Any) -> str:
    """Return a record for people, as its `__repr__`.

    Args:
        record: A named tuple or a dataclass, whose fields may be arrays or mappings of them.

    Example:
        >>> import numpy as np
        >>> from typing import NamedTuple
        >>> class Scores(NamedTuple):
        ...     values: object
        ...     positions: int
        ...     def __repr__(self):
        ...         return summary(self)
        >>> Scores(np.zeros((64, 100), np.float32), 4096)
        Scores(values=float32 (64, 100), positions=4096)
    """
    names = getattr(record, "_fields", None) or [field.name for field in fields(record)]
    shown = (f"{name}={_value(getattr(record, name))}" for name in names)
    return f"{type(record).__name__}({', '.join(shown)})"


def _value(value: Any) -> str:
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return f"{value.dtype} {tuple(value.shape)}"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key!r}: {_value(item)}" for key, item in value.items()) + "}"
    return repr(value)

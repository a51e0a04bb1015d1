"""The table of tasks: what is labelled, how it is cut and how it is judged."""

from __future__ import annotations

from dataclasses import dataclass

from hyena_ray.errors import InputError


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One thing to recognise in DNA."""

    name: str
    """Name on the command line; search_spaces/NAME.yaml holds its search space."""
    title: str
    """Name in text."""
    num_labels: int = 2
    """Classes of a base; class 1 is the positive one."""
    lengths: tuple[int, ...] = (100, 256)
    """Window lengths prepared by default, in bases."""
    flank: int = 64
    """Real bases stored on each side of a window."""
    negatives: float = 3.0
    """Windows without a labelled base for each one with."""
    metric: str = "f1"
    """What tuning maximises on the validation split."""


TASKS: dict[str, Task] = {
    "zdna": Task(name="zdna", title="Z-DNA"),
}


def task_named(name: str) -> Task:
    """Look a task up.

    Raises:
        InputError: there is no such task.
    """
    if name not in TASKS:
        raise InputError("task", name, "unknown task", f"give one of {', '.join(TASKS)}")
    return TASKS[name]

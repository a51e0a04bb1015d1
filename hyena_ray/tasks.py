"""The table of tasks: what is labelled, how it is cut and how it is judged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from hyena_ray.errors import unknown_name

Kind = Literal["base", "sequence"]
"""What has a label: every base of a window, or the window as a whole."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One thing to recognise in DNA."""

    name: str
    """Name on the command line; `search_spaces/NAME.yaml` holds its search space."""
    title: str
    """Name in text."""
    kind: Kind = "base"
    num_labels: int = 2
    """Number of classes of a base or sequence; class 1 is the positive one."""
    lengths: tuple[int, ...] = (100, 256, 512, 1024)
    """Lengths of training windows prepared by default, in bases; the first is that of the tiles on
    which the original work tested. Sequences have the length of their file."""
    flank: int = 1024
    """Real bases stored on each side of a window; sequences have none."""
    negatives: float = 3.0
    """Training windows without a labelled base for each one with a labelled base."""
    both_strands: bool = True
    """Whether a label holds for both strands alike, so that models learn and read both."""
    metric: str = "average_precision"
    """Metric on the validation data that chooses the epoch, and that a search maximises. That of
    bases is taken at the prevalence of the genome."""
    threshold_metric: str = "f1"
    """Metric for which the threshold is chosen."""
    min_length: int = 1
    """Bases of the shortest region that is called: half of the shortest one that is labelled. A run
    that is shorter finds none of them, since a region is found when half of it is called."""
    merge_gap: int = 0
    """Most uncalled bases between two runs that are one region: at most one in a hundred pairs of
    neighbouring labelled regions is as close."""


TASKS: dict[str, Task] = {
    # Lengths and gaps are those of Kouzine et al. 2017 on the training contigs (RESULTS.md): the
    # shortest Z-DNA has 12 bases without the last one, a turn of the helix, the shortest G4 14.
    "zdna": Task(name="zdna", title="Z-DNA", min_length=6, merge_gap=4),
    "g4": Task(name="g4", title="G-quadruplexes", min_length=7, merge_gap=1),
    "promoter": Task(
        name="promoter",
        title="promoters",
        kind="sequence",
        lengths=(70,),
        flank=0,
        both_strands=False,  # they are given in the direction of transcription
        metric="mcc",
        threshold_metric="mcc",
    ),
}


def task_named(name: str, place: str = "task") -> Task:
    """Look a task up.

    Args:
        name: Name of the task.
        place: Option or setting that names it, for the message.

    Raises:
        InputError: There is no such task.

    Example:
        >>> task_named("zdna").title
        'Z-DNA'
    """
    if name not in TASKS:
        raise unknown_name(place, name, "task", TASKS)
    return TASKS[name]

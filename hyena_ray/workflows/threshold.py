"""Copy a trained model with another threshold: the probability from which a base is called.

The model itself stays as it was trained. Training chooses the threshold on the validation windows;
another one suits another balance of false calls and missed bases. `predict --threshold` takes one
for a single prediction.
"""

from __future__ import annotations

from typing import Annotated, NamedTuple

from pydantic import Field

from hyena_ray.files import new_output
from hyena_ray.outcomes import Outcome
from hyena_ray.settings import WRITE, Location, Option
from hyena_ray.storage import AnyPath
from hyena_ray.workflows.workflow import ReadsModel, Workflow


class ThresholdSettings(ReadsModel):
    """Settings of a copy with another threshold."""

    threshold: Annotated[float, Option("X"), Field(ge=0, le=1)]
    """Probability from which a base, or a sequence, is called."""
    out: Annotated[Location, Option("DIR", WRITE)]
    """Folder to make."""


class Copy(NamedTuple):
    """A copy that passed every check."""

    model: AnyPath
    """Folder of the model."""
    threshold: float
    """Threshold of the copy."""
    folder: AnyPath
    """Absolute path of the folder to make."""


def validate(settings: ThresholdSettings) -> Copy:
    """Check the folder.

    Args:
        settings: Settings of the job.

    Raises:
        InputError: The folder exists.
    """
    return Copy(settings.model, settings.threshold, new_output(settings.out))


def execute(copy: Copy) -> float:
    """Write the copy, all of it or nothing.

    Args:
        copy: What is copied.

    Returns:
        The threshold of the model that was copied.

    Raises:
        InputError: A file of the model is missing, damaged or changed.
    """
    from hyena_ray.model.saved import copy_with_threshold

    return copy_with_threshold(copy.model, copy.folder, copy.threshold)


def present(copy: Copy, before: float) -> Outcome:
    """Say which threshold became which.

    Args:
        copy: What was copied.
        before: Threshold of the model that was copied.
    """
    text = f"threshold {copy.threshold:g} instead of {before:g}"
    values = {"threshold": copy.threshold, "before": before}
    return Outcome(text, values, {"model": copy.folder})


WORKFLOW = Workflow(
    name="threshold",
    about=__doc__,
    settings=lambda task: ThresholdSettings,
    validate=validate,
    execute=execute,
    present=present,
    found="threshold, before",
    examples=("threshold --model run/model --threshold 0.9 --out surer",),
)

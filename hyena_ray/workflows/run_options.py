"""The options that say how models are trained, of `train` and of `tune`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import field_validator

from hyena_ray.settings import READ, Option
from hyena_ray.training.settings import RunSettings
from hyena_ray.workflows.presets import load_preset
from hyena_ray.workflows.workflow import Job, assignments_to, changes_from

BACKBONE = "model.backbone"
"""Key of the setting that says where the initial weights are."""


def with_absolute_backbone(changes: dict[str, Any]) -> dict[str, Any]:
    """Return settings with the absolute path of a backbone's folder.

    The processes of a cluster, and the trials of a search, work in folders of their own.

    Args:
        changes: Values by dotted key, which may name a backbone.
    """
    backbone = changes.get(BACKBONE)
    if isinstance(backbone, str) and (folder := Path(backbone).expanduser()).is_dir():
        return changes | {BACKBONE: str(folder.absolute())}
    return changes


class TakesRunSettings(Job):
    """Settings of a job that trains models of one kind."""

    backbone: Annotated[str | None, Option("DIR|ID", READ, default="random weights")] = None
    """Pretrained HyenaDNA weights to start from: a folder, or the id of a repository on the hub."""
    preset: Annotated[str | None, Option("TASK/NAME", default="the task's settings")] = None
    """Named settings to start from; `hyena-ray compare --help` says where they are."""
    changes: Annotated[
        tuple[str, ...],
        assignments_to(RunSettings),
        Option("KEY=VALUE", flag="set", repeated=True),
    ] = ()
    """One setting, which overrides all of these; may be given again."""

    @field_validator("preset")
    @classmethod
    def _is_preset(cls, name: str | None) -> str | None:
        if name is not None:
            load_preset(name)
        return name

    def given(self) -> dict[str, Any]:
        """Return what `--backbone` and `--set` give, by dotted key.

        Raises:
            InputError: A text of `--set` is no assignment.
        """
        return with_absolute_backbone(changes_from({BACKBONE: self.backbone}, self.changes))

    def option_of(self, key: str) -> str:
        """Return the option that gave a setting, with its key.

        Args:
            key: Dotted key of a setting that `given` returns.
        """
        if key == BACKBONE and self.backbone is not None:
            return "--backbone"
        return f"--set: {key}"

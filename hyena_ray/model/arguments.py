"""What every model's `forward` does with its arguments."""

from __future__ import annotations

from torch import Tensor
from transformers import PreTrainedConfig

from hyena_ray.errors import InputError

ALL = slice(None)
"""Every position."""


def check_one_input(input_ids: Tensor | None, inputs_embeds: Tensor | None) -> None:
    """Refuse to compute from both inputs or from none."""
    if (input_ids is None) == (inputs_embeds is None):
        raise InputError(
            "forward", None, "needs input_ids or inputs_embeds, not both", "give one of them"
        )


def wants_dict(config: PreTrainedConfig, return_dict: bool | None) -> bool:
    """Whether `forward` returns a named output; the caller's wish goes before the configuration."""
    return bool(config.return_dict if return_dict is None else return_dict)

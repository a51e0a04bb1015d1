"""The record of a pretraining, as a file and in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from hyena_ray.model.provenance import Provenance
from hyena_ray.outcomes import SIMULATED
from hyena_ray.runs.record import Record
from hyena_ray.settings import Settings
from hyena_ray.training.settings import Objective, PretrainSettings

RECORD = "manifest.json"
"""Name of the record in the folder of a pretraining, which is written last."""
ALL = "all"
"""Name of all held-out windows together, among those of contigs."""
BACKBONE = "backbone"
"""Name of the trained backbone in the folder, as `model.backbone` takes it."""


class HeldOutEvaluation(Settings):
    """An evaluation of the held-out windows in the course of a run."""

    step: int
    """Number of steps that were done."""
    length: int
    """Length in bases of the windows trained on."""
    train_loss: float
    """Mean loss since the evaluation before, in nats per base."""
    perplexity: dict[str, float]
    """Perplexity of the held-out windows by contig, and of all together."""


class PretrainRecord(Record):
    """Results of a pretraining."""

    KIND: ClassVar[str] = "pretrain"

    settings: PretrainSettings
    """Settings of the run."""
    provenance: Provenance
    """What the weights have seen."""
    history: tuple[HeldOutEvaluation, ...]
    """Every evaluation in order; the last one is of the final weights."""
    markov: dict[str, dict[str, float]]
    """Perplexity of Markov models by order and contig, of the next base of the same windows."""
    bases_per_second: float | None
    """Bases trained on per second by all workers since the last start; None where that had nothing
    to do."""

    def text(self) -> str:
        """Return a table for people: held-out perplexity of the model and of Markov models."""
        lines = [SIMULATED] if self.provenance.simulated else []
        perplexity = self.history[-1].perplexity
        if perplexity:
            lines.append(perplexity_table(self.settings.objective, perplexity, self.markov))
        else:
            lines.append("nothing was held out: there is no perplexity")
        return "\n".join(lines)


def perplexity_table(
    objective: Objective, model: Mapping[str, float], markov: Mapping[str, Mapping[str, float]]
) -> str:
    """Return a table with a row for each contig.

    Args:
        objective: What the model predicts; where it is not the next base, the table says so.
        model: Perplexity of the model by contig.
        markov: Perplexity of Markov models by order and contig.
    """
    contigs = [name for name in model if name != ALL] + [ALL]
    head: list[Any] = ["perplexity", "model", *(f"order {order}" for order in markov)]
    rows = [head] + [
        [name, f"{model[name]:.3f}", *(f"{values[name]:.3f}" for values in markov.values())]
        for name in contigs
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    lines = [
        "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows
    ]
    if objective == "masked":
        lines.append("the model predicts masked bases from both sides, Markov models the next base")
    return "\n".join(lines)

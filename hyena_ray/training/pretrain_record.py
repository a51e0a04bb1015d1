"""What a pretraining leaves: its manifest, as a file and in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from hyena_ray.model.provenance import Provenance
from hyena_ray.outcomes import SIMULATED
from hyena_ray.runs.record import Record
from hyena_ray.settings import Settings
from hyena_ray.training.settings import Objective, PretrainSettings

RECORD = "manifest.json"
"""In the folder of a pretraining; written last, so that its presence means complete."""
ALL = "all"
"""Name of all held-out windows together, among those of contigs."""
BACKBONE = "backbone"
"""There: what `model.backbone` takes."""


class HeldOutEvaluation(Settings):
    """At the held-out windows, in the course of a run."""

    step: int
    length: int
    """Of the windows trained on, in bases."""
    train_loss: float
    """Mean since the look before, in nats a base."""
    perplexity: dict[str, float]
    """Of held-out windows, by contig."""


class PretrainRecord(Record):
    """What a pretraining found."""

    KIND: ClassVar[str] = "pretrain"

    settings: PretrainSettings
    provenance: Provenance
    history: tuple[HeldOutEvaluation, ...]
    markov: dict[str, dict[str, float]]
    """Perplexity by order and contig on the same held-out windows, of the next base."""
    bases_per_second: float | None
    """Trained on, over all workers, since the last start; None where that had nothing to do."""

    def text(self) -> str:
        """For people: held-out perplexity of model and Markov models, contig by contig."""
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
    """One row a contig; below them, where the two are not of the same bases, that they are not."""
    contigs = [name for name in model if name != ALL] + [ALL]
    head: list[Any] = ["perplexity", "model", *(f"order {order}" for order in markov)]
    rows = [head] + [
        [name, f"{model[name]:.3f}", *(f"{of[name]:.3f}" for of in markov.values())]
        for name in contigs
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    lines = [
        "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows
    ]
    if objective == "masked":
        lines.append("the model tells masked bases from both sides, Markov models the next base")
    return "\n".join(lines)

"""What a finished run found: its manifest.json, and the lines that people read."""

from __future__ import annotations

from typing import Any

from hyena_ray.dataset.manifest import MANIFEST
from hyena_ray.files import read_json, write_json
from hyena_ray.outcomes import SIMULATED
from hyena_ray.settings import Settings
from hyena_ray.storage import AnyPath

TOP = 10
"""k-mers of each table that the summary names."""
_SHOWN = ("f1", "mcc", "average_precision", "roc_auc", "precision", "recall")


class RunSummary(Settings):
    """The manifest of a run. It is written last: its presence means complete."""

    state: str = "complete"
    task: str
    simulated: bool
    """Made from a simulated genome."""
    data: str
    """sha256 of the prepared data's manifest."""
    trials: dict[str, int]
    """State to number of trials."""
    best_trial: int
    """Its number in the study, from 0, as everywhere."""
    settings: dict[str, Any]
    """Searched settings of the best trial."""
    validation: dict[str, float]
    """Metrics of the best trial; they chose it, and its epoch and threshold."""
    test: dict[str, float]
    """Metrics of the best model on the test windows, which chose nothing."""
    attribution: str
    """sha256 of the k-mer tables."""
    kmers: dict[str, tuple[str, ...]]
    """Table to its first k-mers."""
    seconds: dict[str, float]
    """Wall time of each step; of the last start where a run was resumed."""
    versions: dict[str, str]
    """Package to version."""

    def write(self, folder: AnyPath) -> None:
        """Write manifest.json."""
        write_json(folder / MANIFEST, self.model_dump(mode="json"))

    @classmethod
    def read(cls, folder: AnyPath) -> RunSummary:
        """Read manifest.json.

        Raises:
            InputError: missing or not of this form.
        """
        return cls.parse(read_json(folder / MANIFEST), folder / MANIFEST)

    def text(self) -> str:
        """For people."""
        lines = [SIMULATED] if self.simulated else []
        states = ", ".join(f"{number} {state}" for state, number in self.trials.items())
        lines += [f"trials      {states}", f"best        trial {self.best_trial}"]
        lines += [f"            {key} = {value}" for key, value in self.settings.items()]
        for name, metrics in (("validation", self.validation), ("test", self.test)):
            shown = "  ".join(f"{key} {metrics[key]:.3f}" for key in _SHOWN if key in metrics)
            lines.append(f"{name:<12}{shown}")
        lines.append(f"top {TOP} k-mers")
        lines += [f"{name:<12}{' '.join(kmers)}" for name, kmers in self.kmers.items()]
        took = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in self.seconds.items())
        return "\n".join([*lines, f"took        {took}"])

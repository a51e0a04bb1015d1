"""Named settings: the runs of the study's tables, the baselines and ours, from YAML.

`FOLDER/TASK.yaml` holds a task's presets; TASK/NAME is what people call one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, NamedTuple

from pydantic import Field

from hyena_ray.dataset.reader import PreparedData
from hyena_ray.errors import InputError
from hyena_ray.settings import Settings, load_yaml
from hyena_ray.tasks import TASKS
from hyena_ray.training.settings import RunSettings

ALL = "all"
"""TASK/all stands for every preset of the task that the data can serve."""


class StudyFigures(Settings):
    """What the study states of a run, on its own data and from published weights."""

    f1: float | None = None
    mcc: float | None = None
    precision: float | None = None
    recall: float | None = None
    accuracy: float | None = None
    balanced_accuracy: float | None = None
    """What the study calls ROC-AUC, since it was computed from argmax."""
    trainable_share: float | None = None
    """Of the weights."""


class PreparedAs(Settings):
    """Options that the data must have been prepared with."""

    lengths: tuple[int, ...] | None = None
    """Where they are not the task's own."""
    split: str | None = None
    """Where the run is about the split."""
    train_stride: int | None = None
    """Where training windows overlap."""
    flank: int | None = None
    """Least number of bases on each side, where they are more than the task's own."""

    def serves(self, data: PreparedData) -> bool:
        """Whether the data were prepared so."""
        manifest = data.manifest
        return (
            set(self.lengths or ()) <= set(manifest.lengths)
            and self.split in (None, manifest.split)
            and self.train_stride in (None, manifest.train_stride)
            and (self.flank or 0) <= manifest.flank
        )

    @property
    def options(self) -> str:
        """As the command line of prepare has them."""
        given = {
            "--lengths": None if self.lengths is None else ",".join(map(str, self.lengths)),
            "--split": self.split,
            "--train-stride": self.train_stride,
            "--flank": self.flank,
        }
        return " ".join(f"{option} {value}" for option, value in given.items() if value is not None)


class _Entry(Settings):
    """A preset as its file has it."""

    about: str
    """One line."""
    study: StudyFigures = StudyFigures()
    like: str | None = None
    """Another one, above, whose data and settings are taken over."""
    data: PreparedAs = PreparedAs()
    settings: dict[str, Any] = Field(default_factory=dict)
    """By dotted key."""
    on_gpu: dict[str, Any] = Field(default_factory=dict)
    """Settings that hold beside these where the run has a GPU."""


class _File(Settings):
    # A name becomes a folder of the comparison's runs.
    presets: dict[Annotated[str, Field(pattern=r"^\w+$")], _Entry]


class Preset(NamedTuple):
    """Settings with a name."""

    task: str
    name: str
    """TASK/NAME."""
    about: str
    study: StudyFigures
    data: PreparedAs
    settings: dict[str, Any]
    """By dotted key; the task's defaults fill the rest."""
    on_gpu: dict[str, Any]

    def run_settings(self, *, gpu: bool) -> RunSettings:
        """Complete settings of a run.

        Raises:
            InputError: unknown key or a value out of range.
        """
        changes = {**self.settings, **(self.on_gpu if gpu else {})}
        return RunSettings.for_task(self.task).updated(changes, f"preset {self.name}")

    def check_data(self, data: PreparedData) -> None:
        """Refuse data that had to be prepared otherwise.

        Raises:
            InputError: with the options of prepare.
        """
        if not self.data.serves(data):
            raise InputError(
                f"preset {self.name}",
                None,
                f"needs windows that {data.folder} does not have",
                f"prepare with {self.data.options}",
            )


def load_presets(task: str, folder: Path) -> dict[str, Preset]:
    """All presets of a task, by TASK/NAME.

    Raises:
        InputError: the task has no presets, or its file is not valid.
    """
    if task not in TASKS:
        raise InputError("preset", task, "unknown task", f"give one of {', '.join(TASKS)}")
    path = folder / f"{task}.yaml"
    presets: dict[str, Preset] = {}
    for name, entry in _File.parse({"presets": load_yaml(path)}, path).presets.items():
        settings, on_gpu, data = entry.settings, entry.on_gpu, entry.data
        if entry.like is not None:
            base = presets.get(f"{task}/{entry.like}")
            if base is None:
                raise InputError(
                    f"{path}: {name}.like",
                    entry.like,
                    "no preset above has this name",
                    f"give one of {', '.join(presets) or 'those you place above it'}",
                )
            settings, on_gpu = {**base.settings, **settings}, {**base.on_gpu, **on_gpu}
            data = base.data.model_copy(update=data.model_dump(exclude_none=True))
        full = f"{task}/{name}"
        presets[full] = Preset(task, full, entry.about, entry.study, data, settings, on_gpu)
    return presets


def load_preset(name: str, folder: Path) -> Preset:
    """The preset TASK/NAME.

    Raises:
        InputError: there is none; lists those there are.
    """
    presets = load_presets(name.partition("/")[0], folder)
    if name not in presets:
        raise InputError("preset", name, "there is none", f"give one of {', '.join(presets)}")
    return presets[name]


class Selection(NamedTuple):
    """Presets to run on some data."""

    presets: list[Preset]
    left_out: list[Preset]
    """Those of TASK/all that need other data."""


def select_presets(names: str, folder: Path, data: PreparedData) -> Selection:
    """The presets of a list such as `zdna/two_stage,zdna/lora_full` or `zdna/all`, each once.

    Raises:
        InputError: an unknown one, one that is named and needs other data, or none is left.
    """
    chosen: dict[str, Preset] = {}
    left_out: dict[str, Preset] = {}
    for name in names.split(","):
        task, _, rest = name.partition("/")
        if rest == ALL:
            for full, preset in load_presets(task, folder).items():
                (chosen if preset.data.serves(data) else left_out)[full] = preset
        else:
            preset = load_preset(name, folder)
            preset.check_data(data)
            chosen[name] = preset
    if not chosen:
        raise InputError("presets", names, "all need other data", "see their `data`")
    return Selection(list(chosen.values()), list(left_out.values()))

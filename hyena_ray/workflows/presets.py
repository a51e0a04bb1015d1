"""Named settings from YAML: the runs of the original work's tables, the baselines and ours.

`search_spaces/presets/TASK.yaml` holds a task's presets; TASK/NAME is what people call one.

Original work: Bokhyan, *Identification of biological interrelations in the human genome by methods
of language model interpretation*, HSE University, 2025.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from pydantic import Field

from hyena_ray.dataset.manifest import Manifest
from hyena_ray.dataset.reader import PreparedData
from hyena_ray.errors import InputError, Problems, unknown_name
from hyena_ray.genome.negatives import Shares, read_shares
from hyena_ray.settings import Settings, load_yaml
from hyena_ray.tasks import TASKS, task_named
from hyena_ray.training.settings import RunSettings

ALL = "all"
"""TASK/all stands for every preset of the task that the data can serve."""


def _search_spaces() -> Path:
    """Return the folder of search spaces: inside an installed package, next to it in a checkout."""
    package = Path(__file__).parents[1]
    installed = package / "search_spaces"
    return installed if installed.is_dir() else package.parent / "search_spaces"


SEARCH_SPACES = _search_spaces()
"""Folder of the search space of every task, of those of the demo, and of `presets/`."""


class OriginalFigures(Settings):
    """Figures of the original work for a run, on its own data and from published weights."""

    f1: float | None = None
    mcc: float | None = None
    precision: float | None = None
    recall: float | None = None
    accuracy: float | None = None
    balanced_accuracy: float | None = None
    """What the original work calls ROC-AUC, since it was computed from argmax."""
    trainable_share: float | None = None
    """Trained weights over all weights."""


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
    negatives: Shares | None = None
    """Least negatives by kind, where the run is about their kind."""

    def serves(self, data: PreparedData) -> bool:
        """Whether the data were prepared so."""
        manifest = data.manifest
        return (
            set(self.lengths or ()) <= set(manifest.lengths)
            and self.split in (None, manifest.split)
            and self.train_stride in (None, manifest.train_stride)
            and (self.flank or 0) <= manifest.flank
            and self._has_negatives(manifest)
        )

    def _has_negatives(self, manifest: Manifest) -> bool:
        if self.negatives is None or manifest.negatives is None:
            return self.negatives is None
        stored = read_shares(manifest.negatives)
        return all(
            stored.get(kind, 0) >= share for kind, share in read_shares(self.negatives).items()
        )

    @property
    def options(self) -> str:
        """As the command line of prepare has them."""
        given = {
            "--lengths": None if self.lengths is None else ",".join(map(str, self.lengths)),
            "--split": self.split,
            "--train-stride": self.train_stride,
            "--flank": self.flank,
            "--negatives": self.negatives,
        }
        return " ".join(f"{option} {value}" for option, value in given.items() if value is not None)


class _Entry(Settings):
    """A preset as its file has it."""

    about: str
    """One line."""
    original: OriginalFigures = OriginalFigures()
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
    original: OriginalFigures
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

    def serves(self, data: PreparedData) -> bool:
        """Tell whether the preset can run on prepared data.

        Args:
            data: Prepared data.
        """
        return self.task == data.manifest.task and self.data.serves(data)

    def check_data(self, data: PreparedData) -> None:
        """Refuse data of another task, or that had to be prepared otherwise.

        Args:
            data: Prepared data.

        Raises:
            InputError: They are; names the task, or the options of prepare.
        """
        if data.manifest.task != self.task:
            raise InputError(
                f"preset {self.name}",
                None,
                f"is for {self.task}, and {data.folder} is prepared for {data.manifest.task}",
                f"give a preset of {data.manifest.task}, or data of {self.task}",
            )
        if not self.data.serves(data):
            raise InputError(
                f"preset {self.name}",
                None,
                f"needs windows that {data.folder} does not have",
                f"prepare with {self.data.options}",
            )


@cache
def load_presets(task: str) -> dict[str, Preset]:
    """Load all presets of a task.

    Args:
        task: Name of the task.

    Returns:
        Presets by TASK/NAME.

    Raises:
        InputError: The task has no presets, or its file is not valid.
    """
    path = SEARCH_SPACES / "presets" / f"{task_named(task, 'preset').name}.yaml"
    if not path.is_file():
        raise InputError(path, None, "there is no such file", "install hyena-ray again")
    presets: dict[str, Preset] = {}
    for name, entry in _File.parse({"presets": load_yaml(path)}, path).presets.items():
        settings, on_gpu, data = entry.settings, entry.on_gpu, entry.data
        if entry.like is not None:
            base = presets.get(f"{task}/{entry.like}")
            if base is None:
                raise unknown_name(
                    f"{path}: {name}.like",
                    entry.like,
                    "preset above",
                    [full.partition("/")[2] for full in presets],
                )
            settings, on_gpu = {**base.settings, **settings}, {**base.on_gpu, **on_gpu}
            data = base.data.model_copy(update=data.model_dump(exclude_none=True))
        full = f"{task}/{name}"
        presets[full] = Preset(task, full, entry.about, entry.original, data, settings, on_gpu)
    return presets


def load_preset(name: str, option: str = "--preset") -> Preset:
    """Load one preset.

    Args:
        name: TASK/NAME.
        option: Option that named it, for the message.

    Raises:
        InputError: There is none of this name; names the nearest one.
    """
    task = name.partition("/")[0]
    if task not in TASKS:
        every = [known for one in TASKS for known in load_presets(one)]
        raise unknown_name(option, name, "preset", every)
    presets = load_presets(task)
    if name not in presets:
        raise unknown_name(option, name, "preset", presets)
    return presets[name]


def check_preset_names(names: tuple[str, ...], option: str) -> None:
    """Refuse unknown presets; TASK/all is none.

    Args:
        names: Names such as `zdna/two_stage`, or `zdna/all`.
        option: Option that named them, for the message.

    Raises:
        InputError: Names all that are unknown, each with the nearest right name.
    """
    with Problems() as problems:
        for name in names:
            task, _, rest = name.partition("/")
            if rest == ALL:
                problems.collect(task_named, task, option)
            else:
                problems.collect(load_preset, name, option)


class Selection(NamedTuple):
    """Presets to run on prepared data."""

    presets: list[Preset]
    left_out: list[Preset]
    """Presets of TASK/all that need other data."""


def select_presets(names: tuple[str, ...], data: PreparedData) -> Selection:
    """Select the presets of a list, each once.

    Args:
        names: Names such as `zdna/two_stage`, or `zdna/all`.
        data: Prepared data that they are run on.

    Raises:
        InputError: One is unknown, or named and needs other data, or none is left.
    """
    chosen: dict[str, Preset] = {}
    left_out: dict[str, Preset] = {}
    with Problems() as problems:
        for name in names:
            task, _, rest = name.partition("/")
            if rest == ALL:
                for full, preset in (problems.collect(load_presets, task) or {}).items():
                    (chosen if preset.serves(data) else left_out)[full] = preset
            elif (named := problems.collect(load_preset, name, "--presets")) is not None:
                problems.collect(named.check_data, data)
                chosen[name] = named
    if not chosen:
        raise InputError("--presets", ",".join(names), "all need other data", "see their `data`")
    return Selection(list(chosen.values()), list(left_out.values()))

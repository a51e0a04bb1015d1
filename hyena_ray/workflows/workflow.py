"""What a job is: settings, validate, dry run, execute; and the options that jobs share."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Generic, Self, TypeVar

from pydantic import AfterValidator, Field, ValidationInfo, field_validator, model_validator

from hyena_ray.cluster.resources import CpuCount, GpuCount, Resources
from hyena_ray.dataset.manifest import Manifest
from hyena_ray.dataset.reader import PreparedData
from hyena_ray.errors import InputError, Problems, unknown_name
from hyena_ray.genome.assemblies import check_genome
from hyena_ray.genome.splits import SPLITS
from hyena_ray.genome.track_files import parse_tracks
from hyena_ray.model.settings import READOUT
from hyena_ray.outcomes import DryRun, Outcome
from hyena_ray.runs.record import read_manifest
from hyena_ray.runs.run import Output, check_output, run_folder
from hyena_ray.settings import (
    READ,
    WHERE,
    WRITE,
    Location,
    Option,
    Settings,
    load_yaml,
    parse_assignments,
)
from hyena_ray.storage import AnyPath, location

TIMED = "dry run: timing one batch"
"""Name of the task that times a batch for a dry run."""


def _option(info: ValidationInfo) -> str:
    """Return the option of the field that is validated."""
    return f"--{str(info.field_name).replace('_', '-')}"


def _model_folder(folder: AnyPath, info: ValidationInfo) -> AnyPath:
    """Refuse a folder that holds no trained model, before its weights are read."""
    remedy = "give the folder model/ of a training run or a search"
    if not folder.is_dir() and "," in folder.name:
        # Scores of an ensemble's bases belong to no network; those of its members are joined.
        remedy = "give one model; `hyena-ray combine` joins attributions of several"
        problem = "there is no such folder, and this job reads one model, not several"
        raise InputError(_option(info), folder, problem, remedy)
    if not folder.is_dir():
        problem = "is a file, not a folder" if folder.exists() else "there is no such folder"
        raise InputError(_option(info), folder, problem, remedy)
    if not (folder / READOUT).is_file():
        if (folder / "model" / READOUT).is_file():
            remedy = f"give {folder / 'model'}"
        problem = f"holds no trained model: it has no {READOUT}"
        raise InputError(_option(info), folder, problem, remedy)
    return folder


def _data_folder(folder: AnyPath, info: ValidationInfo) -> AnyPath:
    read_manifest(folder, (Manifest.KIND,), _option(info))
    return folder


def _genome_file(path: AnyPath) -> AnyPath:
    check_genome(path)
    return path


def _yaml_file(path: Path, info: ValidationInfo) -> Path:
    if not path.exists():
        raise InputError(_option(info), path, "there is no such file", "give a YAML file")
    if path.is_dir():
        raise InputError(_option(info), path, "is a folder, not a file", "give a YAML file")
    load_yaml(path)
    return path


ModelFolder = Annotated[Location, AfterValidator(_model_folder)]
"""A field that takes the folder of a trained model."""
DataFolder = Annotated[Location, AfterValidator(_data_folder)]
"""A field that takes the folder of complete prepared data."""
GenomeFile = Annotated[Location, AfterValidator(_genome_file)]
"""A field that takes the file of a genome, or the name of an assembly; nothing is downloaded."""
YamlFile = Annotated[Path, AfterValidator(_yaml_file)]
"""A field that takes a YAML file of settings."""


def assignments_to(settings: type[Settings]) -> AfterValidator:
    """Return a validator of `--set` that checks each assignment by itself.

    Args:
        settings: Class of the settings that are changed.
    """

    def check(assignments: tuple[str, ...]) -> tuple[str, ...]:
        changes = parse_assignments(assignments, "--set")
        settings.check_each(changes, lambda key: f"--set: {key}")
        return assignments

    return AfterValidator(check)


class Job(Settings):
    """Base of the settings of every job."""


class ReadsModel(Job):
    """Settings of a job that reads a trained model."""

    model: Annotated[ModelFolder, Option("DIR", READ)]
    """Trained model: the folder model/ of a run."""


class ReadsModels(Job):
    """Settings of a job that scores with a trained model, or with the mean of several."""

    model: Annotated[tuple[ModelFolder, ...], Option("DIR[,DIR]", READ), Field(min_length=1)]
    """Trained model: the folder model/ of a run. Of several, with commas between them, the mean of
    the probabilities is taken; they may have different architectures, windows and flanks."""

    @property
    def models(self) -> tuple[AnyPath, ...]:
        """Absolute paths of the models."""
        return tuple(folder.absolute() for folder in self.model)


def model_inputs(models: Sequence[AnyPath], name: str = "model") -> dict[str, AnyPath]:
    """Return the models of a job as inputs of its run.

    Args:
        models: Folders of the models.
        name: What they are for the run.
    """
    if len(models) == 1:
        return {name: models[0]}
    return {f"{name} {number}": folder for number, folder in enumerate(models, start=1)}


class ReadsTracks(Job):
    """Settings of a job that gives models signals of experiments beside a genome."""

    track: Annotated[tuple[str, ...], Option("NAME=FILE", READ, repeated=True)] = ()
    """Signal that the model reads beside the letters, such as dnase=signal.bw: the name that it had
    in training and a bigWig file of the genome's assembly; may be given again. The file may be of
    another cell line or assembly than that of training, in the same unit."""

    @field_validator("track")
    @classmethod
    def _are_tracks(cls, texts: tuple[str, ...]) -> tuple[str, ...]:
        parse_tracks(texts)
        return texts


class ReadsData(Job):
    """Settings of a job that reads prepared data."""

    data: Annotated[DataFolder, Option("DIR", READ)]
    """Prepared data: the folder that `hyena-ray prepare` wrote."""


class ReadsSplit(ReadsData):
    """Settings of a job that reads one split of prepared data."""

    split: Annotated[str, Option("SPLIT", READ)] = "test"
    """Split that is read: train, val or test."""

    @field_validator("split")
    @classmethod
    def _is_split(cls, split: str) -> str:
        if split not in SPLITS and not re.fullmatch(r"fold\d+", split):
            raise unknown_name("--split", split, "split", SPLITS)
        return split

    def open_data(self, problems: Problems, fold: int | None = None) -> PreparedData | None:
        """Open the prepared data, and check that they have the split.

        Args:
            problems: Collects what is wrong.
            fold: Fold whose view of the data is returned; None returns the whole data.

        Returns:
            The data, or None where they cannot be used.
        """
        data = problems.collect(PreparedData.open, self.data)
        if data is not None and fold is not None:
            data = problems.collect(data.for_fold, fold, "--fold")
        if data is not None:
            problems.collect(data.check_split, self.split, "--split")
        return data


class WritesRun(Job):
    """Settings of a job that writes the folder of a run."""

    overwrite: Annotated[bool, Option(group=WRITE)] = False
    """Replace the run that is in --out."""
    out: Annotated[Location, Option("DIR", WRITE)]
    """Output folder of the run."""

    @field_validator("out")
    @classmethod
    def _is_free(cls, out: AnyPath | None, info: ValidationInfo) -> AnyPath | None:
        # The fields above are validated before this one, and so is `resume` if the job has it.
        if out is not None:
            run_folder(
                out, resume=info.data.get("resume"), overwrite=bool(info.data.get("overwrite"))
            )
        return out

    def output(self, kind: str, inputs: Iterable[AnyPath | str | None] = ()) -> Output:
        """Check the folder that is to be written; see `check_output`.

        Args:
            kind: Kind of the run.
            inputs: Everything that the job reads; None stands for what was not given.

        Raises:
            InputError: The folder may not be written.
        """
        read = [location(str(path)) for path in inputs if path is not None]
        resume: bool | None = getattr(self, "resume", None)
        return check_output(self.out, kind, inputs=read, resume=resume, overwrite=self.overwrite)


class Resumable(Job):
    """The setting of a job that can continue an interrupted run."""

    resume: Annotated[bool, Option(group=WRITE)] = False
    """Continue the run that is in --out."""


class Resumes(WritesRun, Resumable):
    """Settings of a job that writes the folder of a run and can continue the run."""

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if self.resume and self.overwrite:
            raise ValueError("--resume and --overwrite cannot be used together: drop one")
        return self


class ComputesHere(Job):
    """Settings of a job that computes in its own process."""

    threads: Annotated[int, Option("N", WHERE), Field(ge=1, le=1024)] = 1
    """torch threads, on which the last bits of a result depend. More are faster on CPUs that have
    nothing else to do, and many times slower on those that have. A run that is resumed keeps those
    of its first start."""


class Joins(Job):
    """Settings of a job that works on a Ray cluster."""

    address: Annotated[
        str | None, Option("ADDRESS", WHERE, default="RAY_ADDRESS, else this machine alone")
    ] = None
    """Ray cluster to join, such as auto."""


class RunsOnActors(Joins):
    """Settings of a job whose processes on the cluster all take the same resources."""

    cpu: Annotated[CpuCount, Option("X", WHERE)] = 1.0
    """CPUs of each process."""
    gpu: Annotated[
        GpuCount | None, Option("X", WHERE, default="1 if the cluster has GPUs, or a share of one")
    ] = None
    """GPUs of each process: a whole number, or a fraction of one; 0 hides all GPUs."""

    @property
    def resources(self) -> Resources:
        """CPUs and GPUs of one process."""
        return Resources(cpu=self.cpu, gpu=self.gpu)


SettingsType = TypeVar("SettingsType", bound=Job)
Validated = TypeVar("Validated")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True, kw_only=True)
class Workflow(Generic[SettingsType, Validated, Result]):
    """A job, from its settings to its outcome."""

    name: str
    """Name on the command line."""
    about: str
    """What the job does, for its help; the first line stands by itself."""
    settings: Callable[[str], type[SettingsType]]
    """Class of the settings, by the task; the same one for all where the job has no tasks."""
    validate: Callable[[SettingsType], Validated]
    """Check everything that can be checked before anything is written."""
    execute: Callable[[Validated], Result]
    """Do the work."""
    present: Callable[[Validated, Result], Outcome]
    """Say what was found."""
    found: str
    """What `found` of the JSON object holds, for the help."""
    examples: tuple[str, ...]
    """Command lines without the name of the program, for the help; a test reads them."""
    dry_run: Callable[[Validated], DryRun] | None = None
    """Count the work and time one batch, where the job takes long."""
    tasks: tuple[str, ...] = ()
    """Tasks that the job has a command for; none where the data says what its task is."""

    def run(self, settings: SettingsType, *, dry_run: bool = False) -> Outcome:
        """Do the job, or say what it would do.

        Args:
            settings: What it is asked for.
            dry_run: Whether it only says what it would do.

        Raises:
            InputError: The settings or the inputs cannot be used; nothing was written.
            JobError: The job cannot continue; what was finished is kept.
        """
        validated = self.validate(settings)
        if dry_run:
            assert self.dry_run is not None, f"{self.name} has no dry run"
            return self.dry_run(validated).outcome()
        return self.present(validated, self.execute(validated))


def outputs_in(folder: AnyPath, outputs: dict[str, str]) -> dict[str, AnyPath]:
    """Return where the outputs of a run are.

    Args:
        folder: Folder of the run.
        outputs: Name of every output, and its path relative to the folder.
    """
    return {name: folder / path for name, path in outputs.items()}


def changes_from(
    flags: dict[str, Any], assignments: Iterable[str], option: str = "--set"
) -> dict[str, Any]:
    """Join settings that have an option of their own with those of `--set`.

    Args:
        flags: Values by dotted key; None stands for what was not given.
        assignments: Texts such as `training.epochs=3`.
        option: Option of the assignments, for the message.

    Returns:
        Values by dotted key.

    Raises:
        InputError: A text is no assignment.
    """
    given = {key: value for key, value in flags.items() if value is not None}
    return parse_assignments(list(assignments), option) | given

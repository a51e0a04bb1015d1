"""The manifest of a complete run, and what kind of run any folder holds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple, Self

from hyena_ray.errors import InputError
from hyena_ray.files import read_json, write_json
from hyena_ray.runs.plan import SEAL, check_seal, sealed
from hyena_ray.runs.stored_files import MANIFEST, StoredFile
from hyena_ray.settings import Settings
from hyena_ray.storage import AnyPath

PLAN = "plan.json"
"""Name of the file that is written first: what the run is made of."""
EVALUATION = "evaluation.json"
"""Name of the file with all figures of a model on held-out data."""
BOOTSTRAP = "bootstrap.parquet"
"""Name of the file with some of these figures for every draw of blocks, a column for each."""
EVALUATED = {"evaluation": EVALUATION, "bootstrap": BOOTSTRAP}
"""Both files by the names of the outputs."""


class Kind(NamedTuple):
    """One kind of run."""

    article: str
    """Indefinite article of the noun, or nothing for a plural."""
    noun: str
    """Noun for a folder of this kind."""
    schema_version: int
    """Version of its files; others are refused."""
    writes: tuple[str, ...]
    """Patterns of the names in its folder, besides those of `EVERY_KIND`; a folder that holds
    anything else is not replaced."""
    parts: tuple[str, ...] = ()
    """Folders among these that hold runs of their own."""

    @property
    def title(self) -> str:
        """The noun with its article."""
        return f"{self.article} {self.noun}".strip()


EVERY_KIND = (
    *(PLAN, MANIFEST, "provenance.json", "data.json", "report.html"),
    *(".lock", ".replaced", ".*.tmp", "*.replaced-????????"),
)
"""Patterns of the names in the folder of any run."""
KINDS: dict[str, Kind] = {
    "prepare": Kind("", "prepared data", 6, ("length=*", "stretches")),
    "train": Kind(
        "a",
        "training run",
        4,
        ("model", "checkpoint.pt", "history.json", *EVALUATED.values(), "tensorboard"),
    ),
    "tune": Kind(
        "a",
        "search of settings",
        4,
        (
            *("study.db*", "trials", "trials.parquet", "tune", "tensorboard"),
            *("model", *EVALUATED.values(), "data", "attribution"),
        ),
        parts=("data", "attribution"),
    ),
    "compare": Kind(
        "a",
        "comparison of presets",
        6,
        ("runs", "ensembles", "comparison.*", "differences.csv"),
        parts=("runs",),
    ),
    "evaluate": Kind("an", "evaluation", 5, tuple(EVALUATED.values())),
    "attribute": Kind("an", "attribution", 3, ("shards", "kmers", "tracks")),
    "combine": Kind("a", "combination of attributions", 2, ("kmers",)),
    "sanity": Kind("", "sanity checks of an attribution", 2, ("sanity.json",)),
    "predict": Kind(
        "a",
        "prediction",
        5,
        ("shards", "sequences", "probabilities.bw", "regions.bed", "regions.csv", "contigs.csv"),
    ),
    "variants": Kind(
        "",
        "effects of variants",
        1,
        ("shards", "sequences", "variants.*", "skipped.csv", "strongest.parquet"),
    ),
    "embed": Kind("", "embeddings of sequences", 1, ("embeddings", "sequences")),
    "pretrain": Kind("a", "pretraining", 2, ("backbone", "checkpoint.pt", "train")),
}
"""Every kind of run, by the name of the job that makes it."""


class Record(Settings):
    """The manifest of a complete run; each kind adds its own results."""

    KIND: ClassVar[str]
    """Kind of the run, a key of `KINDS`."""

    kind: str
    """Name of the job that made the folder."""
    schema_version: int
    """Version of the folder's files."""
    fingerprint: str
    """Fingerprint of the plan."""
    simulated: bool
    """Whether the run was made from simulated DNA: then no figure says anything about real DNA."""
    outputs: dict[str, str]
    """Name of every output, and its path relative to the folder."""
    versions: dict[str, str]
    """Versions of Python and of the packages that a result depends on."""
    contents: tuple[StoredFile, ...]
    """Files of the outputs, and those that say what they were made of; of a run inside the folder
    its manifest alone."""

    @classmethod
    def make(
        cls, *, fingerprint: str, simulated: bool, outputs: Mapping[str, str], **values: Any
    ) -> Self:
        """Make the record of a run of this kind, whose files `Run.finish` lists.

        Args:
            fingerprint: Fingerprint of the plan.
            simulated: Whether the run was made from simulated DNA.
            outputs: Name of every output, and its path relative to the folder.
            values: Fields of the kind's own.
        """
        return cls(
            kind=cls.KIND,
            schema_version=KINDS[cls.KIND].schema_version,
            fingerprint=fingerprint,
            simulated=simulated,
            outputs=dict(outputs),
            **{"versions": {}, "contents": (), **values},
        )

    @classmethod
    def read(cls, folder: AnyPath, place: str | None = None) -> Self:
        """Read the manifest of a complete run of this kind.

        Args:
            folder: Folder of the run.
            place: Option that named the folder, for the message; None names the folder alone.

        Raises:
            InputError: The folder is no run, an incomplete one, of another kind or version, or its
                manifest is damaged or was changed.
        """
        values, path = read_manifest(folder, (cls.KIND,), place), folder / MANIFEST
        record = cls.parse({key: value for key, value in values.items() if key != SEAL}, path)
        check_seal(values, path)
        return record

    def write(self, folder: AnyPath) -> None:
        """Write `manifest.json`, atomically.

        Args:
            folder: Folder of the run.
        """
        write_json(folder / MANIFEST, sealed(self.model_dump(mode="json")))


def read_kind(folder: AnyPath, place: str | None = None) -> str:
    """Return the kind of a complete run.

    Args:
        folder: Folder of the run.
        place: Option that named the folder, for the message.

    Raises:
        InputError: The folder is no run, an incomplete one, or of an unknown kind or version.
    """
    return str(read_manifest(folder, tuple(KINDS), place)["kind"])


def read_manifest(
    folder: AnyPath, kinds: tuple[str, ...], place: str | None = None
) -> dict[str, Any]:
    """Read the plain values of a complete run's manifest, with kind and version checked.

    Args:
        folder: Folder of the run.
        kinds: Kinds that are wanted.
        place: Option that named the folder, for the message.

    Raises:
        InputError: The folder is no run, an incomplete one, or of another kind or version.
    """
    where = folder if place is None else f"{place}: {folder}"
    jobs = kinds if len(kinds) < len(KINDS) else ("JOB",)
    remedy = f"give the folder that {' or '.join(f'`hyena-ray {job}`' for job in jobs)} wrote"
    if not folder.is_dir():
        problem = "is a file, not a folder" if folder.exists() else "there is no such folder"
        raise InputError(where, None, problem, remedy)
    path = folder / MANIFEST
    if not path.is_file():
        raise _without_manifest(folder, where, kinds, remedy)
    values = read_json(path)
    kind = checked_kind(values, path)
    if kind not in kinds:
        titles = " or ".join(KINDS[name].title for name in kinds)
        raise InputError(where, None, f"is {KINDS[kind].title}, not {titles}", remedy)
    return dict(values)


def checked_kind(values: object, path: AnyPath) -> str:
    """Return the kind that a plan or manifest names.

    Args:
        values: Content of the file.
        path: The file, for the message.

    Raises:
        InputError: The file names no kind, an unknown one, or another version than this one reads.
    """
    kind = values.get("kind") if isinstance(values, dict) else None
    if not isinstance(values, dict) or not isinstance(kind, str):
        raise InputError(
            path,
            None,
            "has no kind of run: a folder of an earlier version, or of another program",
            "make it again with this version",
        )
    if kind not in KINDS:
        raise InputError(
            f"{path}: kind",
            kind,
            f"unknown; known are {', '.join(KINDS)}",
            "give another folder, or update hyena-ray if a later version wrote this one",
        )
    version, read = values.get("schema_version"), KINDS[kind].schema_version
    if version != read:
        raise InputError(
            f"{path}: schema_version",
            version,
            f"this version reads {read} for {KINDS[kind].title}",
            "make it again with this version",
        )
    return str(kind)


def _without_manifest(
    folder: AnyPath, where: str | AnyPath, kinds: tuple[str, ...], remedy: str
) -> InputError:
    plan = folder / PLAN
    if not plan.is_file():
        return InputError(where, None, f"holds no run: it has no {MANIFEST}", remedy)
    kind = checked_kind(read_json(plan), plan)
    problem = f"{KINDS[kind].title} that is not complete: it has no {MANIFEST} yet"
    if kind not in kinds:
        return InputError(where, None, problem, remedy)
    return InputError(where, None, problem, "finish it with --resume")

"""Publish a trained model in a repository of the Hugging Face Hub, with its card.

Every file of the model is held against its checksum first, and all of them become one commit. The
line at the end says how to read the model from there: by its commit, which nobody can change. The
token is that of `hf auth login` or of HF_TOKEN.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

from pydantic import field_validator

from hyena_ray.errors import InputError, JobError
from hyena_ray.model.provenance import is_hub_id
from hyena_ray.model.settings import CARD, READOUT
from hyena_ray.outcomes import DryRun, Outcome
from hyena_ray.progress import count_noun
from hyena_ray.settings import READ, WRITE, Option
from hyena_ray.storage import AnyPath, local_copy
from hyena_ray.workflows.workflow import Job, ModelFolder, Workflow

if TYPE_CHECKING:
    from hyena_ray.runs.stored_files import StoredFile

UNWRITTEN = (".gitattributes", CARD)
"""Files that a repository has before a model is in it."""


class PushSettings(Job):
    """Settings of a publication."""

    model: Annotated[ModelFolder, Option("MODEL", READ, positional=True)]
    """Trained model: the folder model/ of a run."""
    repository: Annotated[str, Option("OWNER/NAME", WRITE, positional=True)]
    """Repository of the hub, which is made if need be."""
    branch: Annotated[str, Option("NAME", WRITE)] = "main"
    """Branch that gets the commit, which is made if need be."""
    private: Annotated[bool, Option(group=WRITE)] = False
    """Make a new repository private."""
    overwrite: Annotated[bool, Option(group=WRITE)] = False
    """Replace the other model that is in the branch; its commits stay."""

    @field_validator("repository")
    @classmethod
    def _is_name(cls, repository: str) -> str:
        if not is_hub_id(repository) or "--" in repository or ".." in repository:
            problem = "is no name of a repository"
            raise InputError("OWNER/NAME", repository, problem, "give one such as owner/zdna-best")
        return repository


class Publication(NamedTuple):
    """A publication that passed every check; nothing was sent."""

    model: AnyPath
    """Absolute path of the model's folder."""
    files: tuple[StoredFile, ...]
    """Files that are sent, with size and sha256; of the card and the readout too."""
    repository: str
    branch: str
    private: bool
    exists: bool
    """Whether the repository is there."""
    replaced: tuple[str, ...]
    """Files of the branch that are no part of the model, and are removed."""


@contextmanager
def _hub_errors(repository: str) -> Iterator[None]:
    """Turn what the hub's client raises into one line, which names no token."""
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled
    from huggingface_hub.utils import httpx  # type: ignore[attr-defined]

    try:
        yield
    except HFValidationError as error:
        raise InputError("OWNER/NAME", repository, str(error), "give another name") from None
    except HfHubHTTPError as error:
        status = error.response.status_code
        reasons = {401: "the token is not valid", 403: "the token may not write there"}
        reason = reasons.get(status, str(error).splitlines()[0])
        remedy = "check the token (`hf auth whoami`) and the owner's name"
        raise InputError("OWNER/NAME", repository, f"{reason} (status {status})", remedy) from None
    except (httpx.TransportError, OfflineModeIsEnabled, OSError) as error:
        raise JobError(
            f"{repository}: the hub cannot be reached ({type(error).__name__}); check the network, "
            "HF_ENDPOINT and HF_HUB_OFFLINE"
        ) from None


def validate(settings: PushSettings) -> Publication:
    """Check the model's files, the token and what is in the repository. Sends nothing.

    Args:
        settings: Settings of the job.

    Raises:
        InputError: A file of the model is missing, damaged or changed; there is no token, or it may
            not write; or the branch holds another model.
        JobError: The hub cannot be reached.
    """
    from hyena_ray.model.saved import checked_readout
    from hyena_ray.runs.stored_files import list_files

    model = settings.model.absolute()
    with local_copy(model) as folder:
        names = [file.path for file in checked_readout(folder).contents]
        names += [name for name in (CARD, READOUT) if (folder / name).is_file()]
        files = list_files(folder, names)
        readout = (folder / READOUT).read_bytes()
    from huggingface_hub import HfApi, get_token
    from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

    if get_token() is None:
        remedy = "run `hf auth login`, or set HF_TOKEN to a token that may write"
        raise InputError("token", None, "is missing", remedy)
    api, exists, there = HfApi(), True, []
    repository, branch = settings.repository, settings.branch
    with _hub_errors(repository):
        try:
            found = api.model_info(repository, revision=branch)
            there = [file.rfilename for file in found.siblings or ()]
        except RevisionNotFoundError:
            pass
        except RepositoryNotFoundError as error:
            if error.response.status_code == 401:
                raise
            exists = False
        others = [name for name in there if name not in UNWRITTEN]
        same = False
        if READOUT in others:
            stored = api.hf_hub_download(repository, READOUT, revision=branch)
            same = Path(stored).read_bytes() == readout
    if others and not same and not settings.overwrite:
        what = "another model" if READOUT in others else f"other files, such as {others[0]}"
        raise InputError(
            "OWNER/NAME",
            f"{repository} at {branch}",
            f"holds {what}",
            "give another repository or --branch, or --overwrite to replace it",
        )
    kept = {file.path for file in files} | {".gitattributes"}
    replaced = tuple(name for name in there if name not in kept)
    return Publication(model, files, repository, branch, settings.private, exists, replaced)


def dry_run(publication: Publication) -> DryRun:
    """List the files and their sizes.

    Args:
        publication: The publication.
    """
    files, size = publication.files, sum(file.bytes for file in publication.files)
    return DryRun(
        plan={
            "repository": f"{publication.repository}, branch {publication.branch}; "
            + ("is there" if publication.exists else "is made"),
            "private": "yes" if publication.private and not publication.exists else "",
            "sends": f"{count_noun(len(files), 'file')}, {size:,} bytes",
            **{f"  {file.path}": f"{file.bytes:,}" for file in files},
            "removes": ", ".join(publication.replaced),
        },
        values={
            "repository": publication.repository,
            "branch": publication.branch,
            "exists": publication.exists,
            "files": {file.path: file.bytes for file in files},
            "bytes": size,
            "replaced": publication.replaced,
        },
        outputs={},
        seconds=None,
        timed="",
    )


def execute(publication: Publication) -> str:
    """Send all files as one commit.

    Args:
        publication: The publication.

    Returns:
        The commit.

    Raises:
        InputError: The hub refuses it, or a file was changed since it was checked.
        JobError: The hub cannot be reached.
    """
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi

    from hyena_ray.model.saved import checked_readout

    api, repository, branch = HfApi(), publication.repository, publication.branch
    with local_copy(publication.model) as folder, _hub_errors(repository):
        checked_readout(folder)
        api.create_repo(repository, private=publication.private or None, exist_ok=True)
        if branch != "main":
            api.create_branch(repository, branch=branch, exist_ok=True)
        operations: list[CommitOperationAdd | CommitOperationDelete] = [
            *(CommitOperationDelete(name) for name in publication.replaced),
            *(CommitOperationAdd(file.path, folder / file.path) for file in publication.files),
        ]
        done = api.create_commit(
            repository,
            operations,
            commit_message="A model of hyena-ray",
            revision=branch,
        )
    return done.oid


def present(publication: Publication, commit: str) -> Outcome:
    """Say where the model is, and how it is read.

    Args:
        publication: The publication.
        commit: The commit.
    """
    size = sum(file.bytes for file in publication.files)
    text = (
        f"published   {count_noun(len(publication.files), 'file')}, {size:,} bytes, in "
        f"{publication.repository}, branch {publication.branch}\n"
        f"commit      {commit}\n"
        f'read it     hyena_ray.load("{publication.repository}", revision="{commit}")'
    )
    found = {
        "repository": publication.repository,
        "branch": publication.branch,
        "commit": commit,
        "files": {file.path: file.bytes for file in publication.files},
    }
    return Outcome(text, found)


WORKFLOW = Workflow(
    name="push",
    about=__doc__,
    settings=lambda task: PushSettings,
    validate=validate,
    dry_run=dry_run,
    execute=execute,
    present=present,
    found="repository, branch, commit, files (their sizes)",
    examples=(
        "push run/model owner/zdna-best --private",
        "push run/model owner/zdna-best --dry-run",
        "push run/model owner/zdna-best --branch v2 --overwrite",
    ),
)

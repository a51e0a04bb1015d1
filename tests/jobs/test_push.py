"""A published model is read back to the bit, and nothing is sent that is refused."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants

import hyena_ray
from hyena_ray.errors import InputError, JobError
from hyena_ray.model.saved import copy_with_threshold, load_window_model, model_sha256
from tests.command_line import run_command, run_job
from tests.jobs.bad_inputs import User
from tests.local_hub import TOKEN, Hub, local_hub

REPOSITORY = "owner/zdna-test"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with local_hub() as hub:
        # As HF_ENDPOINT has it, which is read when the client is imported.
        monkeypatch.setattr(constants, "ENDPOINT", hub.address)
        template = hub.address + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield hub


@pytest.fixture
def model(begun: User, hub: Hub) -> Path:
    """The folder of a model that was trained, with its card."""
    return begun.folder / "run" / "model"


def test_a_published_model_is_read_back_by_its_commit(hub: Hub, model: Path) -> None:
    outcome = run_job("push", model, REPOSITORY, "--private")
    commit = outcome.found["commit"]
    assert hub.repositories[REPOSITORY].private
    sent = hub.repositories[REPOSITORY].commits[commit]
    files = {str(path.relative_to(model)): path for path in model.rglob("*") if path.is_file()}
    assert {name: sent[name] for name in files} == {n: p.read_bytes() for n, p in files.items()}
    assert set(sent) - set(files) == {".gitattributes"}
    loaded = hyena_ray.load(REPOSITORY, revision=commit).model
    assert model_sha256(loaded) == model_sha256(load_window_model(model))
    assert commit in outcome.text
    assert run_job("push", model, REPOSITORY).found["files"] == outcome.found["files"]


def test_another_model_is_replaced_only_where_that_is_asked_for(hub: Hub, model: Path) -> None:
    first = run_job("push", model, REPOSITORY).found["commit"]
    other = model.parent / "other"
    copy_with_threshold(model, other, 0.25)
    before = dict(hub.repositories[REPOSITORY].commits)
    with pytest.raises(InputError, match=r"zdna-test at main: holds another model; .*--overwrite"):
        run_job("push", other, REPOSITORY)
    assert hub.repositories[REPOSITORY].commits == before
    beside = run_job("push", other, REPOSITORY, "--branch", "v2", "--overwrite").found["commit"]
    replaced = run_job("push", other, REPOSITORY, "--overwrite").found["commit"]
    for commit in (beside, replaced):
        assert hyena_ray.load(REPOSITORY, revision=commit).threshold == 0.25
    assert hyena_ray.load(REPOSITORY, revision=first).threshold != 0.25


def test_a_dry_run_lists_files_and_sizes_and_sends_nothing(hub: Hub, model: Path) -> None:
    outcome = run_job("push", model, REPOSITORY, "--dry-run")
    assert outcome.found["files"]["model.safetensors"] == (
        (model / "model.safetensors").stat().st_size
    )
    assert "model.safetensors" in outcome.text
    assert not hub.repositories


def test_what_cannot_be_published_is_refused_in_one_line(
    hub: Hub, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match="there is no such folder"):
        run_job("push", "nowhere", REPOSITORY)
    with pytest.raises(InputError, match=r"OWNER/NAME: zdna: is no name of a repository"):
        run_job("push", model, "zdna")
    damaged = model.parent / "damaged"
    shutil.copytree(model, damaged)
    with (damaged / "model.safetensors").open("ab") as stream:
        stream.write(b"more")
    with pytest.raises(InputError, match=r"model\.safetensors: .*"):
        run_job("push", damaged, REPOSITORY)
    monkeypatch.setenv("HF_TOKEN", "hf_of_somebody_else")
    done = run_command(f"push {model} {REPOSITORY}")
    assert done.code == 2, done.stderr
    assert "the token" in done.stderr
    assert "hf_of_somebody_else" not in done.stderr
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(InputError, match="token: is missing; run `hf auth login`"):
        run_job("push", model, REPOSITORY)
    assert not hub.repositories


def test_without_a_network_it_says_so(
    hub: Hub, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(JobError, match="the hub cannot be reached"):
        run_job("push", model, REPOSITORY)

"""docs/cluster.md names commands, options and files that there are."""

from __future__ import annotations

import re
import shlex
from typing import Any

import click
import pytest
from ray.autoscaler._private.util import prepare_config, validate_config
from ray.scripts.scripts import cli

from hyena_ray.cli.commands import JobCommand
from hyena_ray.settings import load_yaml, parse_yaml
from hyena_ray.workflows import tune
from tests.jobs.pages import ROOT, blocks, lines

PAGE = (ROOT / "docs" / "cluster.md").read_text()
README = (ROOT / "README.md").read_text()


def commands(program: str) -> list[list[str]]:
    """Words of every line of both pages in a code block, or on cluster.yaml in the text, that runs
    a program."""
    found = [re.sub(r"^\(umask 077; (.*)\)$", r"\1", line) for line in lines(PAGE + README)]
    found += re.findall(rf"`({program} \S+ cluster.yaml[^`]*)`", PAGE)
    return [shlex.split(line, comments=True) for line in found if line.startswith(f"{program} ")]


def refused(words: list[str]) -> str | None:
    """Why Ray would not take a command, from its own definition of it; runs nothing."""
    words = words[: words.index(">")] if ">" in words else words
    command: click.Command = cli
    while isinstance(command, click.Group):
        name, *words = words
        if name not in command.commands:
            return f"no command {name}"
        command = command.commands[name]
    try:
        command.make_context(command.name, words)
    except click.UsageError as error:
        return str(error)
    return None


RAY = commands("ray")


@pytest.mark.parametrize("words", RAY, ids=" ".join)
def test_ray_knows_every_command_and_its_options(words: list[str]) -> None:
    assert refused(words[1:]) is None


def test_the_page_shows_a_job_from_its_start_to_its_resumption() -> None:
    shown = {" ".join(words[1:3]) for words in RAY}
    assert {"up cluster.yaml", "down cluster.yaml", "dashboard cluster.yaml"} <= shown
    assert {"job submit", "job logs", "job status", "job stop"} <= shown
    entries = [words[words.index("--") + 1 :] for words in RAY if "--" in words]
    command = JobCommand("zdna", tune.WORKFLOW, "zdna")
    options = [command.make_context("zdna", words[2:]).params for words in entries]
    assert all((ROOT / words[1]).is_file() for words in entries)
    to_shared = [given for given in options if given["out"] == "/shared/run"]
    assert {bool(given["resume"]) for given in to_shared} == {True, False}


@pytest.mark.parametrize("words", [["job", "submitt"], ["job", "stop", "--now", "x"], ["up"]])
def test_the_check_catches_what_ray_does_not_know(words: list[str]) -> None:
    assert refused(words)


def test_a_cluster_that_stays_gets_its_token_before_it_starts() -> None:
    for text in (PAGE, README):
        token = text.index("ray get-auth-token --generate")
        assert token < text.index("ray start --head")
        # Ray would let all users read the file, and shows the token.
        assert "(umask 077; ray get-auth-token --generate > /dev/null)" in text


def test_what_kubectl_is_told_is_what_the_manifest_has() -> None:
    manifest = load_yaml(ROOT / "kubernetes" / "rayjob.yaml")
    name = manifest["metadata"]["name"]
    lines = [" ".join(words) for words in commands("kubectl")]
    assert len(lines) >= 6
    for line in lines:
        for file in re.findall(r"-f (\S+)", line):
            assert (ROOT / file).is_file()
        for shown in re.findall(r"(?:rayjob |job/)(\S+)", line):
            assert shown == name
        for patch in re.findall(r"--patch (.*)$", line):
            (key,) = parse_yaml(patch, "page")["spec"]
            assert key == "suspend"


def test_the_lines_for_a_shared_folder_fit_into_cluster_yaml() -> None:
    (text,) = blocks(PAGE, "yaml")
    added, config = parse_yaml(text, "page"), load_yaml(ROOT / "cluster.yaml")
    whole: dict[str, Any] = config | added | {"docker": config["docker"] | added["docker"]}
    validate_config(prepare_config(whole))
    assert any("/shared" in command for command in added["initialization_commands"])
    assert added["docker"]["run_options"] == ["--volume=/shared:/shared"]

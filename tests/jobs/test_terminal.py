"""What all jobs have in common at the terminal: help, version, examples, results, dry runs."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from hyena_ray.cli.commands import JOBS as MODULES
from hyena_ray.cluster.resources import Cluster
from hyena_ray.dataset.reader import PreparedData
from tests.command_line import JOBS, Done
from tests.jobs.bad_inputs import (
    ATTRIBUTE,
    COMBINE,
    COMPARE,
    EVALUATE,
    PREPARE,
    PRETRAIN,
    SANITY,
    SEQUENCES,
    SPACE,
    TRAIN,
    TUNE,
    User,
    contents,
)

NAMES = sorted(path.stem for path in JOBS.glob("*.py"))
SMALL = "--presets zdna/kmer_logistic --seeds 0 --set training.epochs=1 --set readout.flank=4"


class Way(NamedTuple):
    """A small piece of work for a job."""

    command: str
    simulated: bool | None = False
    plans: bool = True
    """Whether the job has a dry run."""


WAYS: dict[str, Way] = {
    "prepare": Way(PREPARE),
    "prepare sequences": Way(SEQUENCES),
    "train": Way(f"{TRAIN} --test"),
    "evaluate": Way(EVALUATE, plans=False),
    "sanity": Way(f"{SANITY} --methods input_x_gradient --limit 3", plans=False),
    "combine": Way(COMBINE, plans=False),
    "attribute": Way(f"{ATTRIBUTE} --methods tp --k 3"),
    "compare": Way(f"{COMPARE.replace('--presets zdna/two_stage', SMALL)}"),
    "tune": Way(f"{TUNE.replace('space.yaml', 'few.yaml')}"),
    "predict": Way("predict --model model --genome genome.fa --out out"),
    "variants": Way("variants --model model --genome genome.fa --vcf variants.tsv --out out"),
    "embed": Way("embed --model model --genome genome.fa --regions regions.bed --out out"),
    "pretrain": Way(PRETRAIN),
    "simulate": Way("simulate zdna --out out", simulated=True, plans=False),
    "threshold": Way(
        "threshold --model model --threshold 0.5 --out out", simulated=None, plans=False
    ),
}
"""Of every job at least one, but for those that leave no folder."""
ON_RAY = ("attribute", "compare", "tune", "predict", "variants", "embed", "pretrain")
"""Wait for a worker that imports torch."""
EACH = [
    pytest.param(name, marks=pytest.mark.slow) if name in ON_RAY else pytest.param(name)
    for name in WAYS
]
PLANS = [name for name, way in WAYS.items() if way.plans]


@pytest.fixture(autouse=True)
def few(good: Path) -> None:
    """A space whose models are attributed to k-mers as few windows have them."""
    few = "attribution: {methods: [tp], k: 2, min_count: 1}\n"
    (good / "few.yaml").write_text(SPACE + "  training.epochs: {choices: [1]}\n" + few)


def test_every_job_has_a_row() -> None:
    assert {name.split()[0] for name in WAYS} | {"report", "verify", "push"} == set(MODULES)


def test_help_and_version_need_neither_torch_nor_ray() -> None:
    code = (
        "import runpy, sys\n"
        f"for name in {NAMES!r}:\n"
        "    for option in ('--help', '--version'):\n"
        "        sys.argv = [f'jobs/{name}.py', option]\n"
        "        try: runpy.run_path(sys.argv[0], run_name='__main__')\n"
        "        except SystemExit as end: assert end.code == 0, end.code\n"
        "slow = {'torch', 'ray', 'transformers', 'sklearn', 'optuna'} & set(sys.modules)\n"
        "sys.exit(f'imported: {slow}' if slow else 0)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=JOBS.parent, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    versions = r"hyena-ray \d+\.\d+\.\d+\npython 3\.\d+\.\d+\ntorch \S+\nray \S+\n"
    assert len(re.findall(versions, done.stdout)) == len(NAMES)


def the_object(done: Done) -> dict[str, Any]:
    """What was printed, which is one JSON object and nothing else."""
    assert done.code == 0, done.stderr
    assert done.stdout.count("\n") == 1
    found: dict[str, Any] = json.loads(done.stdout, parse_constant=_refuse)
    assert list(found) == ["job", "found", "written", "simulated", "seconds"]
    return found


def _refuse(word: str) -> None:
    raise AssertionError(f"{word} is not JSON")


@pytest.mark.parametrize("name", EACH)
def test_json_is_one_object_and_what_it_says_was_written_is_there(
    user: User, cluster: Cluster, name: str
) -> None:
    way = WAYS[name]
    found = the_object(user.runs(f"{way.command} --json"))
    job = name.split()[0]
    assert (found["job"], found["simulated"]) == (job, way.simulated)
    assert found["seconds"] > 0
    assert found["written"]
    for path in found["written"].values():
        assert Path(path).is_relative_to(user.folder / "out")
        assert Path(path).exists()
    if job != "evaluate":  # whose help names the file that holds the same
        told = import_module(MODULES[job]).WORKFLOW.found
        assert all(re.search(rf"\b{key}\b", told) for key in found["found"]), found["found"].keys()


def test_what_was_written_closes_the_text_as_a_table(user: User) -> None:
    done = user.runs(f"{TRAIN} --test")
    text, table = done.stdout.split("\n\n")
    assert text.startswith("validation train_loss ")
    title, *rows = table.splitlines()
    assert re.fullmatch(r"written in \d+ s", title)
    out = user.folder / "out"
    assert rows == [
        f"  model       {out}/model",
        f"  history     {out}/history.json",
        f"  summary     {out}/manifest.json",
        f"  evaluation  {out}/evaluation.json",
        f"  bootstrap   {out}/bootstrap.parquet",
        f"  report      {out}/report.html",
    ]


@pytest.mark.parametrize("name", [each for each in EACH if each.values[0] in PLANS])
def test_a_dry_run_says_the_plan_and_writes_nothing(
    user: User, cluster: Cluster, name: str
) -> None:
    before = contents(user.folder)
    found = the_object(user.runs(f"{WAYS[name].command} --dry-run --json"))
    assert contents(user.folder) == before
    assert found["written"] == {}
    plan = found["found"]
    assert plan["dry_run"] is True
    assert plan["estimated_seconds"] >= 0
    assert plan["based_on"]
    assert plan["would_write"]
    assert all(path.startswith(f"{user.folder}/out") for path in plan["would_write"].values())


@pytest.mark.parametrize("name", PLANS)
def test_a_dry_run_refuses_what_the_job_refuses(user: User, name: str) -> None:
    command = re.sub(r"--(data|genome|test) \w\S*", r"--\1 nowhere", WAYS[name].command)
    before = contents(user.folder)
    done, dry = user.runs(command), user.runs(f"{command} --dry-run --json")
    assert dry.code == done.code == 2
    assert re.match(r"error: \S*( |/)?nowhere: ", dry.stderr)
    assert dry.stderr == done.stderr
    assert [f"error: {line}" for line in json.loads(dry.stdout)["errors"]] == (
        done.stderr.splitlines()
    )
    assert contents(user.folder) == before


def test_a_dry_run_plans_the_windows_that_the_job_prepares(user: User) -> None:
    planned = the_object(user.runs(f"{PREPARE} --dry-run --json"))["found"]
    assert user.runs(PREPARE).code == 0
    data = PreparedData.open(user.folder / "out")
    held_out = {split: data.count(40, split) for split in ("val", "test")}
    assert planned["windows"] == {"20 bases": {"train": data.count(20, "train")}}
    assert planned["stretches"] == {"40 bases": held_out}


@pytest.mark.slow
def test_the_demo_is_planned_without_a_trace(user: User, cluster: Cluster) -> None:
    done = user.runs("tune zdna --dry-run")
    assert done.code == 0, done.stderr
    assert not (user.folder / "ray_results").exists()
    assert re.search(r"^ *data +simulated: no --data is given", done.stdout, re.MULTILINE)
    assert "would write" in done.stdout

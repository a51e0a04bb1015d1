"""The README's commands run as they stand."""

from __future__ import annotations

import gzip
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from hyena_ray.genome.promoters import simulate_promoters
from hyena_ray.genome.simulate import simulate_genome

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
CONTIGS = ("chr13", "chr14", "chrX", "chr7", "chr20")


def commands() -> list[str]:
    """The lines of all code blocks that run a job, continued lines joined."""
    blocks = re.findall(r"```\n(.*?)```", README, flags=re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [line for line in lines if line.startswith("python jobs/")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the README takes for given: a genome with these contigs, regions, a blacklist, and
    labelled sequences."""
    folder = tmp_path_factory.mktemp("readme")
    made = simulate_genome(folder, contigs=5, contig_length=20_000, tracts=120, decoys=60)
    text, regions = made.genome.read_text(), made.regions.read_text()
    for number, contig in enumerate(CONTIGS, start=1):
        text = text.replace(f">sim{number} ", f">{contig} ")
        regions = regions.replace(f"sim{number}\t", f"{contig}\t")
    (folder / "genome.fa.gz").write_bytes(gzip.compress(text.encode()))
    (folder / "zdna.bed").write_text(regions)
    (folder / "blacklist.bed").write_text("chr20\t600\t800\n")
    simulate_promoters(folder, 0).val.rename(folder / "dev.csv")
    for name in ("jobs", "search_spaces"):
        (folder / name).symlink_to(ROOT / name)
    return folder


def run(folder: Path, line: str) -> subprocess.CompletedProcess[str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        shlex.split(line),
        cwd=folder,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
    )


@pytest.mark.slow
def test_the_commands_run_in_their_order_and_then_the_python(folder: Path) -> None:
    ran = []
    for line in commands():
        job = Path(shlex.split(line)[1]).stem
        # A search takes hours; test_tune_zdna.py does a small one.
        if not job.startswith("tune_"):
            done = run(folder, line)
            assert done.returncode == 0, f"{line}\n{done.stderr}"
            ran.append(job)
    assert ran == [
        *("prepare", "train", "evaluate", "attribute", "sanity"),
        *("prepare", "train", "compare"),
    ]
    (code,) = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "(64, 100)\n"), done.stderr


@pytest.mark.slow
def test_every_job_that_the_readme_names_is_there_and_explains_itself(folder: Path) -> None:
    jobs = {shlex.split(line)[1] for line in commands()}
    assert {"jobs/tune_zdna.py", "jobs/tune_promoter.py", "jobs/compare.py"} <= jobs
    for job in sorted(jobs):
        done = run(folder, f"python {job} --help")
        assert done.returncode == 0
        assert "example" in done.stdout

"""The tutorial's commands run as they stand, and find what it says.

Its search is the demo's, which test_submit.py has run already: the line is checked by a dry run.
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pyarrow.csv
import pytest

from hyena_ray.workflows.tune import TuneRecord
from tests.jobs.pages import ROOT, blocks, job_commands, job_of, lines, type_in
from tests.jobs.ray_head import Demo

PAGE = (ROOT / "docs" / "tutorial.md").read_text()
README = (ROOT / "README.md").read_text()


@pytest.mark.slow
def test_the_tutorial_leads_from_a_fasta_file_to_a_report(demo: Demo, tmp_path: Path) -> None:
    ran = []
    for line in job_commands(PAGE):
        search = job_of(line) == "tune"
        done = type_in(tmp_path, f"{line} --dry-run" if search else line)
        assert done.returncode == 0, f"{line}\n{done.stderr}"
        if search:
            assert {"--data prepared", "--out run", "--space search_spaces/demo_zdna.yaml"} <= {
                f"{option} {value}" for option, value in pairwise(shlex.split(line))
            }
            shutil.copytree(demo.folder, tmp_path / "run")
        ran.append(job_of(line))
    assert ran == ["simulate", "prepare", "tune", "sanity", "predict", "report"]
    for line in lines(PAGE):
        if line.startswith("head "):
            assert type_in(tmp_path, line).returncode == 0, line
    for name in re.findall(r"`((?:simulated|run|tracks)/[^`]+\.\w+)`", PAGE):
        assert (tmp_path / name).is_file(), name
    assert TuneRecord.read(tmp_path / "run").test["f1"] > 0.95
    tables = tmp_path / "run" / "attribution" / "kmers"
    first = pyarrow.csv.read_csv(tables / "consensus.csv")["kmer"].to_pylist()
    assert all(re.fullmatch("([AG][CT])*[AG]?|([CT][AG])*[CT]?", kmer) for kmer in first[:5])
    (code,) = blocks(PAGE, "python")
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (0, "(78,) True\n"), done.stderr


def test_every_target_of_make_that_a_page_names_is_there() -> None:
    makefile = (ROOT / "Makefile").read_text().replace("$(VENV)", ".venv")
    named = [line.split()[1] for line in lines(PAGE) + lines(README) if line.startswith("make ")]
    named += re.findall(r"`make ([^`]+)`", PAGE + README)
    assert {"demo", "test", ".venv/ready"} <= set(named)
    for target in named:
        assert f"\n{target}:" in makefile

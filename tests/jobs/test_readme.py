"""The commands of the README and of the guide run as they stand."""

from __future__ import annotations

import gzip
import re
import subprocess
import sys
from pathlib import Path

import pytest

from hyena_ray.cli.commands import JOBS
from hyena_ray.genome.simulation import simulate_genome, simulate_promoters
from tests.jobs.pages import ROOT, blocks, job_commands, job_of, type_in

README = (ROOT / "README.md").read_text()
GUIDE = (ROOT / "docs" / "guide.md").read_text()
CONTIGS = ("chr13", "chr14", "chrX", "chr7", "chr20")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the guide takes for given: a genome with these contigs, regions, variants, a
    blacklist, and labelled sequences."""
    folder = tmp_path_factory.mktemp("guide")
    made = simulate_genome(folder, contigs=5, contig_length=10_000, tracts=80, decoys=40)
    text, regions = made.genome.read_text(), made.regions.read_text()
    for number, contig in enumerate(CONTIGS, start=1):
        text = text.replace(f">sim{number} ", f">{contig} ")
        regions = regions.replace(f"sim{number}\t", f"{contig}\t")
    (folder / "genome.fa.gz").write_bytes(gzip.compress(text.encode()))
    (folder / "zdna.bed").write_text(regions)
    columns = "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO"
    start = int(regions.split("\t")[1])
    middle = made.tracts[0][3:5]
    row = f"chr13\t{start + 4}\t.\t{middle}\t{middle[0]}\t.\t.\t."
    vcf = "\n".join(("##fileformat=VCFv4.3", columns, row, ""))
    (folder / "variants.vcf.gz").write_bytes(gzip.compress(vcf.encode()))
    (folder / "blacklist.bed").write_text("chr20\t600\t800\n")
    simulate_promoters(folder, 0).val.rename(folder / "dev.csv")
    return folder


@pytest.mark.slow
def test_the_commands_run_in_their_order_and_then_the_python(folder: Path) -> None:
    ran = []
    for line in job_commands(GUIDE):
        job = job_of(line)
        # A search takes hours; test_tune_zdna.py does a small one.
        if job != "tune":
            done = type_in(folder, line)
            assert done.returncode == 0, f"{line}\n{done.stderr}"
            ran.append(job)
    assert ran == [
        *("prepare", "train", "evaluate", "evaluate", "attribute", "sanity", "predict"),
        *("variants", "embed", "report", "verify", "prepare", "train", "compare"),
    ]
    (folder / "run").symlink_to("one_run")  # for the search's, which was not run
    shapes = r"\(20,\)\n\((\d+),\)\n\(20, \1\)\nWindowAttribution\("
    for page, printed in ((GUIDE, shapes), (README, r"\(20,\)\n")):
        (code,) = blocks(page, "python")
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        assert re.match(printed, done.stdout), done.stdout


def test_the_readme_tells_to_type_what_the_guide_explains() -> None:
    assert set(job_commands(README)) < set(job_commands(GUIDE))


def test_the_readme_lists_every_job_and_the_guide_explains_it() -> None:
    listed = re.findall(r"^\| (`[a-z]+`(?:, `[a-z]+`)*) \|", README, flags=re.MULTILINE)
    assert sorted(re.findall("[a-z]+", " ".join(listed))) == sorted(JOBS)
    explained = set(re.findall(r"hyena-ray ([a-z]+)", GUIDE)) | set(re.findall("`([a-z]+)`", GUIDE))
    assert set(JOBS) <= explained

"""Kill jobs at random moments, and hold what they end in against a calm run. Run by hand:

    python -m tests.faults.random_kills --kills 200 --seed 0 [--jobs train,prepare]

A job is killed by SIGKILL, which nothing can catch, then started again as a user would: with
--resume where the job has it and has begun, else as it was. Once it ends by itself its results are
compared with those of a run that nothing happened to. A kill counts as inside the work once the job
has written something; before, it was still importing. Jobs on Ray join one cluster, which is
started here.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from hyena_ray.cli.commands import RESUMABLE
from hyena_ray.genome.simulation import SimulatedGenome, simulate_genome
from tests.command_line import environment, process_of
from tests.faults.small_runs import Nodes

SIZES = ["--set", "model.d_model=8", "--set", "model.n_layer=1", "--set", "data.length=40"]
SHORT = ["--set", "readout.flank=8", "--set", "readout.lookahead=8", "--set", "training.epochs=6"]
SPACE = """\
task: zdna
trials: 2
settings:
  data.length: 40
  model.d_model: 8
  model.n_layer: 1
  readout.flank: 8
  readout.lookahead: 8
  training.epochs: 2
search:
  training.learning_rate: {low: 1e-3, high: 1e-2, log: true}
attribution: {methods: [input_x_gradient], k: 2, min_count: 1}
"""
FEW = ["--methods", "input_x_gradient", "--k", "2", "--min-count", "1"]
WEIGHTS = {  # how often a job is killed, in proportion: what takes a cluster takes long
    "prepare": 5,
    "train": 8,
    "evaluate": 3,
    "simulate": 2,
    "combine": 2,
    "sanity": 2,
    "predict": 1,
    "variants": 1,
    "embed": 1,
    "attribute": 1,
    "pretrain": 1,
    "compare": 1,
    "tune": 1,
}
WHOLE = frozenset({"simulate"})
"""Jobs that replace no folder: theirs appears complete, even if the job is killed at once."""
RESULTS = {
    "simulate": ("*",),
    "prepare": ("manifest.json", "**/*.parquet"),
    "train": ("model/model.safetensors", "model/config.json", "history.json"),
    "evaluate": ("evaluation.json",),
    "combine": ("**/*.csv",),
    "sanity": ("sanity.json",),
    "predict": ("*.bed", "*.bw", "*.csv"),
    "variants": ("variants.*", "skipped.csv"),
    "embed": ("embeddings/*",),
    "attribute": ("kmers/*.csv",),
    "pretrain": ("**/*.safetensors",),
    "compare": ("runs/**/model/model.safetensors",),
    "tune": ("model/model.safetensors", "attribution/kmers/*.csv"),
}
"""Files of each job whose bytes must be those of a calm run."""


class Tally(NamedTuple):
    """What happened to a job."""

    kills: int
    inside: int
    """Kills after it had written something."""
    ends: int
    """Times that it came to its end, and was compared."""


def make_inputs(folder: Path) -> dict[str, list[str]]:
    """Make what the jobs read, and return the words of each job, without --out."""
    made = simulate_genome(folder, contig_length=60_000, tracts=400, decoys=200)
    (folder / "space.yaml").write_text(SPACE)
    genome = ["zdna", "--genome", made.genome, "--regions", made.regions]
    cut = ["--lengths", "40", "--stretch", "80", "--flank", "32"]
    data = ["--data", folder / "data"]
    model = ["--model", folder / "run/model"]
    jobs: dict[str, list[object]] = {
        "simulate": ["zdna"],
        "prepare": [*genome, *cut],
        "train": [*data, *SIZES, *SHORT],
        "evaluate": [*model, *data],
        "attribute": [*model, *data, *FEW],
        "combine": ["--attributions", f"{folder / 'first'},{folder / 'second'}"],
        "sanity": [*model, *data, "--limit", "20"],
        "predict": [*model, "--genome", made.genome],
        "variants": [*model, "--genome", made.genome, "--vcf", write_variants(made)],
        "embed": [*model, "--genome", made.genome, "--regions", made.regions],
        "pretrain": [
            *("--genome", made.genome, "--set", "training.steps=20", *SIZES[:4]),
            *("--set", "training.lengths=[16, 32]", "--set", "training.tokens_per_step=64"),
        ],
        "compare": [
            *(*data, "--presets", "zdna/kmer_logistic", *SIZES[4:]),
            *("--set", "training.epochs=2"),
        ],
        "tune": ["zdna", *data, "--space", folder / "space.yaml"],
    }
    words = {name: [str(word) for word in given] for name, given in jobs.items()}
    finish("prepare", words["prepare"], folder / "data")
    for run, out in (("run", "first"), ("other", "second")):
        finish("train", [*words["train"], "--set", f"training.seed={len(run)}"], folder / run)
        given = ["--model", str(folder / run / "model"), *map(str, data), *FEW]
        finish("attribute", given, folder / out)
    return words


def write_variants(made: SimulatedGenome) -> Path:
    """Write a table that takes the middle base out of every tract, and return its path."""
    path = made.genome.with_name("variants.tsv")
    with path.open("w") as stream:
        for line, tract in zip(made.regions.read_text().splitlines(), made.tracts, strict=True):
            contig, start, _ = line.split("\t")
            middle = len(tract) // 2
            place, pair = int(start) + middle, tract[middle - 1 : middle + 1]
            stream.write(f"{contig}\t{place}\t{pair}\t{pair[0]}\n")
    return path


def begin(job: str, words: list[str], out: Path) -> subprocess.Popen[bytes]:
    log = out.with_name(f"{out.name}.log").open("wb")
    with log:
        return subprocess.Popen(
            process_of(job, *words, "--out", out),
            stdout=subprocess.DEVNULL,
            stderr=log,
            env=environment(),
        )


def finish(job: str, words: list[str], out: Path) -> float:
    """Run a job to its end, and return the seconds that it took."""
    began = time.monotonic()
    if begin(job, words, out).wait() != 0:
        sys.exit(f"{job} fails undisturbed: {out.with_name(f'{out.name}.log').read_text()[-2000:]}")
    return time.monotonic() - began


def results(job: str, out: Path) -> dict[str, str]:
    """Return the digest of each file that matters."""
    files = sorted({path for pattern in RESULTS[job] for path in out.glob(pattern)})
    assert files, f"{job} has none of {RESULTS[job]}"
    return {
        str(path.relative_to(out)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
        if path.is_file()
    }


def is_begun(out: Path) -> bool:
    """Whether a job has written something, in its folder or in the parent folder."""
    return out.exists() or bool(list(out.parent.glob(f".{out.name}.*")))


def torment(job: str, words: list[str], kills: int, folder: Path, chance: random.Random) -> Tally:
    """Kill a job so often, and compare it each time that it comes to its end."""
    calm = folder / f"{job}-calm"
    seconds = finish(job, words, calm)
    expected = results(job, calm)
    done, inside, ends, out = 0, 0, 0, folder / job
    while True:
        more = []
        if out.exists():
            more = ["--resume"] if job in RESUMABLE else ["--overwrite"]
        fresh, began, whole = not out.exists(), time.monotonic(), False
        process = begin(job, [*words, *more], out)
        if done < kills:
            deadline = began + chance.uniform(0.3, 0.9) * seconds
            while process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.01)
            if process.poll() is None:
                begun = is_begun(out)
                process.kill()
                process.wait()
                done, inside = done + 1, inside + begun
                whole = job in WHOLE and out.exists()
                if not whole:
                    continue
        if not whole and process.wait() != 0:
            log = out.with_name(f"{out.name}.log").read_text()
            sys.exit(f"{job} does not come to its end after kill {done}: {log[-2000:]}")
        if fresh:  # the machine may be busier, or less so, than in the calm run
            seconds = time.monotonic() - began
        found = results(job, out)
        if found != expected:
            differing = [name for name in expected | found if expected.get(name) != found.get(name)]
            sys.exit(f"{job} after kill {done}: {differing} differ from a calm run")
        stale = [path.name for path in folder.glob(f".{job}.*")] + [
            str(path) for path in out.rglob(".*.tmp")
        ]
        if stale and not whole:  # else the next start removes them
            sys.exit(f"{job} left {stale}")
        ends += 1
        print(f"  {job}: equal after {done} kills, {inside} of them inside the work", flush=True)
        shutil.rmtree(out)
        if done >= kills:
            return Tally(done, inside, ends)


@contextmanager
def running_cluster(folder: Path) -> Iterator[None]:
    """Run a cluster of two CPUs, which the jobs that are started in the block join."""
    (folder / "home").mkdir()
    nodes = Nodes(folder / "home", {"RAY_worker_niceness": "0"})
    try:
        nodes.add(2.0)
        os.environ.update(nodes.environment, RAY_ADDRESS=nodes.address)
        yield
    finally:
        nodes.shutdown()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", default=",".join(WEIGHTS))
    given = parser.parse_args()
    jobs = given.jobs.split(",")
    total = Counter[str]()
    with tempfile.TemporaryDirectory() as name, running_cluster(Path(name)):
        folder = Path(name)
        words = make_inputs(folder)
        share = given.kills / sum(WEIGHTS[job] for job in jobs)
        for job in jobs:
            kills = -(-WEIGHTS[job] * share // 1)
            chance = random.Random(f"{given.seed} {job}")
            tally = torment(job, words[job], int(kills), folder, chance)
            total.update(tally._asdict())
            counts = f"{tally.kills} kills, {tally.inside} inside the work, {tally.ends} ends"
            print(f"{job}: {counts}", flush=True)
    print(f"seed {given.seed}: {dict(total)}; every result equals a calm run's")


if __name__ == "__main__":
    main()

"""Run the whole path on simulated DNA with two checkouts, and compare digests, weights and metrics.

    python .ci/same_results.py OLD_CHECKOUT NEW_CHECKOUT

For a change that must not change a result. Both run with this interpreter, one after the other, on
one thread; that takes some ten minutes. Both must have the command `hyena-ray`. Exits 1 where
anything differs.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

SMALL = ("model.d_model=32", "model.n_layer=1", "training.epochs=2", "data.limit=600")
LORA = ("lora.enabled=true", "training.stages=two_stage", "training.ema_decay=0.9")
PRETRAINED = (
    *("training.steps=6", "training.lengths=[64, 128]", "training.tokens_per_step=2048"),
    *("model.d_model=16", "model.n_layer=1"),
)
# No trial is stopped early, which would depend on the time that others take.
SPACE = """\
task: zdna
trials: 3
scheduler: {grace_period: 99}
settings: {data.limit: 400, model.d_model: 16, model.n_layer: 1, training.epochs: 2}
attribution: {shuffles: 1}
search:
  readout.lookahead: {choices: [8, 16]}
  training.learning_rate: {low: 1e-3, high: 1e-2, log: true}
"""
TUNED = ("trials", "best_trial", "settings", "validation", "test", "kmers")
MEASURED = ("seconds_per_epoch", "peak_memory_mib")
"""Columns of a comparison that differ from run to run."""


def settings(changes: tuple[str, ...]) -> list[str]:
    """Return the options that change settings."""
    return [f"--set={change}" for change in changes]


def digest(*paths: Path) -> str:
    """Return one hex sha256 of the bytes of all files."""
    return hashlib.sha256(b"".join(path.read_bytes() for path in paths)).hexdigest()


def tables(folder: Path) -> dict[str, list[Any]]:
    """Return the columns of every Parquet file of a folder."""
    files = sorted(folder.glob("*.parquet"))
    return {path.stem: [c.to_pylist() for c in pq.read_table(path).columns] for path in files}


def deletions(genome: Path) -> str:
    """Return a table of variants: deletions of a base along the first contig of a genome."""
    name, *lines = genome.read_text().split(">")[1].splitlines()
    bases = "".join(lines).upper()
    rows = ((place, bases[place - 1 : place + 1]) for place in range(1000, len(bases), 1000))
    return "".join(f"{name.split()[0]}\t{at}\t{pair}\t{pair[0]}\n" for at, pair in rows)


def results(checkout: Path, out: Path) -> dict[str, Any]:
    """Return what must be equal, by name of the job.

    Args:
        checkout: Checkout whose code is run.
        out: Empty folder to work in.
    """
    (out / "home").mkdir()
    env = os.environ | {
        "PYTHONPATH": str(checkout),
        "OMP_NUM_THREADS": "1",
        "HOME": str(out / "home"),
    }

    def job(*words: str) -> dict[str, Any]:
        command = [sys.executable, "-m", "hyena_ray", *words, "--json"]
        done = subprocess.run(
            command, env=env, cwd=out, check=True, stdout=subprocess.PIPE, text=True
        )
        found: dict[str, Any] = json.loads(done.stdout)["found"]
        return found

    def weights(folder: str) -> str:
        return digest(out / folder / "model.safetensors")

    found: dict[str, Any] = {}
    job("simulate", "zdna", "--out", "genome")
    given = ("--genome", "genome/genome.fa", "--regions", "genome/regions.bed")
    job("prepare", "zdna", *given, "--lengths", "100", "--out", "data")
    found["prepare"] = digest(*sorted((out / "data").rglob("part-*.parquet")))
    data = ("--data", "data")
    job("train", *data, "--out", "run", *settings(SMALL), "--test")
    evaluation = json.loads((out / "run" / "evaluation.json").read_text())
    found["train"] = [weights("run/model"), evaluation]
    job("train", *data, "--out", "lora", *settings(SMALL + LORA))
    found["train with LoRA"] = weights("lora/model")
    model = ("--model", "run/model")
    job("attribute", *model, *data, "--out", "kmers", "--limit", "600")
    found["attribute"] = tables(out / "kmers" / "kmers")
    job("predict", *model, "--genome", "genome/genome.fa", "--out", "tracks")
    names = ("probabilities.bw", "regions.csv")
    found["predict"] = digest(*(out / "tracks" / name for name in names))
    (out / "variants.tsv").write_text(deletions(out / "genome" / "genome.fa"))
    job("variants", *model, "--genome", "genome/genome.fa", "--vcf", "variants.tsv", "--out", "v")
    found["variants"] = digest(out / "v" / "variants.csv")
    job("embed", *model, *data, "--out", "embedded")
    found["embed"] = digest(*sorted((out / "embedded").rglob("part-*.parquet")))
    found["sanity"] = job("sanity", *model, *data, "--out", "checked", "--limit", "5")
    job("pretrain", "--genome", "genome/genome.fa", "--out", "pre", *settings(PRETRAINED))
    found["pretrain"] = weights("pre/backbone")
    chosen = ("--presets", "zdna/kmer_logistic", "--seeds", "0,1", "--set", "training.epochs=1")
    rows = job("compare", *data, *chosen, "--out", "compared")["presets"]
    found["compare"] = [{k: v for k, v in row.items() if k not in MEASURED} for row in rows]
    (out / "space.yaml").write_text(SPACE)
    searched = job("tune", "zdna", *data, "--space", "space.yaml", "--out", "tuned")
    found["tune"] = [weights("tuned/model"), *(searched[key] for key in TUNED)]
    return found


def main() -> None:
    """Compare two checkouts."""
    both = []
    for checkout in map(Path, sys.argv[1:3]):
        with tempfile.TemporaryDirectory() as folder:
            both.append(results(checkout.resolve(), Path(folder)))
    old, new = both
    # As text, in which a NaN is equal to another one.
    differing = [name for name in old if json.dumps(old[name]) != json.dumps(new[name])]
    for name in old:
        print(f"{name:16} {'differs' if name in differing else 'same'}")
    sys.exit(1 if differing else 0)


if __name__ == "__main__":
    main()

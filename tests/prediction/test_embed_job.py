"""The embedding job writes what a loop over single regions finds, through any death of actors."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from numpy.typing import NDArray

from hyena_ray.cluster.pool import ShardError
from hyena_ray.cluster.resources import Cluster
from hyena_ray.dataset.preparation import PrepareSettings, prepare
from hyena_ray.dataset.reader import PreparedData
from hyena_ray.dataset.tokens import encode
from hyena_ray.errors import InputError
from hyena_ray.files import read_json
from hyena_ray.model.build import build_model
from hyena_ray.model.embedding import load_backbone
from hyena_ray.model.huggingface import HyenaDNAConfig, HyenaDNAForCausalLM
from hyena_ray.model.saved import load_window_model, save_window_model
from hyena_ray.model.settings import LoraSettings, ModelSettings, Readout
from hyena_ray.model.window import reverse_complement
from hyena_ray.outcomes import Outcome
from hyena_ray.prediction import embedding_shards as module
from hyena_ray.tasks import TASKS
from tests.command_line import run_job
from tests.prediction.pattern_model import save_pattern_model

WINDOW, FLANK = 20, 6
CONTIGS = {"c10": 300, "c2": 240, "c1": 97}
REGIONS = [
    ("c1", 0, 97, "whole"),  # longer than a window, and up to both ends of its contig
    ("c10", 50, 70, "window"),
    ("c10", 10, 13, "short"),
    ("c2", 200, 240, "."),
    ("c1", 90, 97, "end"),
    ("c2", 0, 1, "first base"),
]
"""In another order than that of the genome, in which contigs are not in that of their names."""
ORDERED = [REGIONS[number] for number in (0, 4, 1, 2, 3, 5)]
"""Contig by contig as the file names them first."""


@pytest.fixture(scope="module", autouse=True)
def small_shards() -> Iterator[None]:
    """By default, the few regions of these tests would be one shard."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "SHARD_BASES", 3 * WINDOW)
        yield


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`genome.fa`, `regions.bed`, `data/`, a `model/` with hidden states, a `backbone/`, and
    `pattern/`, a model without them."""
    folder = tmp_path_factory.mktemp("embed")
    rng = np.random.default_rng(0)
    genome = {name: "".join(rng.choice(list("ACGTN"), size)) for name, size in CONTIGS.items()}
    text = "".join(f">{name}\n{bases}\n" for name, bases in genome.items())
    (folder / "genome.fa").write_text(text)
    rows = ["\t".join(map(str, row)) for row in REGIONS]
    (folder / "regions.bed").write_text("\n".join([*rows, ""]))
    labels = "".join(f"{name}\t{at}\t{at + 9}\n" for name in CONTIGS for at in (12, 71))
    (folder / "labels.bed").write_text(labels)
    recipe = PrepareSettings(
        task="zdna",
        genome=folder / "genome.fa",
        regions=folder / "labels.bed",
        lengths=(WINDOW,),
        stretch=2 * WINDOW,
        flank=FLANK + 3,
        split="contig:train=c10;val=c1;test=c2",
    )
    prepare(recipe, folder / "data")
    readout = Readout(window=WINDOW, flank=FLANK, lookahead=4)
    model = build_model(
        ModelSettings(d_model=8, n_layer=1), readout, LoraSettings(), TASKS["zdna"], seed=0
    )
    save_window_model(model, folder / "model")
    save_pattern_model(folder / "pattern")
    config = HyenaDNAConfig(d_model=8, d_inner=32, n_layer=1, max_seq_len=64, filter_order=8)
    HyenaDNAForCausalLM(config).save_pretrained(folder / "backbone")
    return folder


def job(inputs: Path, out: Path, *more: object) -> Outcome:
    """Run it; of an option that is given twice the later one counts."""
    given = ["--model", inputs / "model", "--genome", inputs / "genome.fa", "--cpu", "0.5"]
    return run_job("embed", *given, "--regions", inputs / "regions.bed", "--out", out, *more)


@pytest.fixture(scope="module")
def calm(inputs: Path, cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("calm") / "out"
    job(inputs, out, "--per", "base", "--actors", "1")
    return out


def read(out: Path) -> tuple[list[tuple[str, int, int, str]], NDArray[np.float32]]:
    """Read the folder as anybody would."""
    table = pq.read_table(out / "embeddings")
    assert table.column_names == ["contig", "start", "end", "name", "embedding"]
    rows = table.drop_columns("embedding").to_pydict()
    vectors = table["embedding"].combine_chunks()
    assert str(vectors.type) == f"fixed_size_list<element: float>[{vectors.type.list_size}]"
    flat = vectors.flatten().to_numpy().reshape(-1, vectors.type.list_size)
    return list(zip(*rows.values(), strict=True)), flat


def expected(inputs: Path, model_folder: str, window: int, flank: int) -> list[NDArray[np.float32]]:
    """Embed the bases of every region, one window at a time."""
    if model_folder == "backbone":
        model = load_backbone(inputs / model_folder, window=window)
    else:
        model = load_window_model(inputs / model_folder)
    lines = (inputs / "genome.fa").read_text().split()
    genome = dict(zip((line[1:] for line in lines[::2]), lines[1::2], strict=True))
    found = []
    for contig, start, end, _ in ORDERED:
        count = -(-(end - start) // window)
        first = start - (count * window - (end - start)) // 2
        states = []
        for at in range(first, first + count * window, window):
            bases = range(at - flank, at + window + flank)
            known = genome[contig]
            text = "".join(known[base] if 0 <= base < len(known) else "N" for base in bases)
            tokens = torch.from_numpy(encode(text)[None])
            with torch.inference_mode():
                pair = [
                    model.classifier(model.strand_input(own).ids).hidden_states[-1][0]
                    for own in (tokens, reverse_complement(tokens))
                ]
            forward, backward = (own[flank : flank + window].numpy() for own in pair)
            states.append((forward + backward[::-1]) / 2)
        found.append(np.concatenate(states)[start - first :][: end - start])
    return found


def test_every_base_has_the_embedding_of_a_loop_over_single_windows(
    inputs: Path, calm: Path
) -> None:
    rows, vectors = read(calm)
    bases = [
        (contig, base, base + 1, name)
        for contig, start, end, name in ORDERED
        for base in range(start, end)
    ]
    assert rows == bases
    by_loop = np.concatenate(expected(inputs, "model", WINDOW, FLANK))
    np.testing.assert_allclose(vectors, by_loop, atol=1e-5)
    assert len(list((calm / "embeddings").iterdir())) > 2
    assert not (calm / "sequences").exists()
    manifest = read_json(calm / "manifest.json")
    assert (manifest["kind"], manifest["rows"], manifest["sequences"]) == ("embed", len(rows), 6)
    assert run_job("verify", calm).found["kind"] == "embed"


def test_a_region_has_the_mean_of_its_bases(inputs: Path, cluster: Cluster, tmp_path: Path) -> None:
    outcome = job(inputs, tmp_path / "out", "--batch", "2")
    rows, vectors = read(tmp_path / "out")
    assert rows == ORDERED
    means = [states.mean(axis=0) for states in expected(inputs, "model", WINDOW, FLANK)]
    np.testing.assert_allclose(vectors, means, atol=1e-5)
    assert "6 sequences with 168 bases" in outcome.text
    assert outcome.found["channels"] == vectors.shape[1]


def test_a_backbone_reads_windows_of_any_length(
    inputs: Path, cluster: Cluster, tmp_path: Path
) -> None:
    given = ["--genome", inputs / "genome.fa", "--regions", inputs / "regions.bed", "--cpu", "0.5"]
    given += ["--backbone", inputs / "backbone", "--window", "30", "--out", tmp_path / "out"]
    plan = run_job("embed", *given, "--dry-run")
    assert (plan.found["rows"], plan.found["channels"]) == (6, 8)
    assert not (tmp_path / "out").exists()
    run_job("embed", *given)
    means = [states.mean(axis=0) for states in expected(inputs, "backbone", 30, 0)]
    np.testing.assert_allclose(read(tmp_path / "out")[1], means, atol=1e-5)


@pytest.mark.parametrize("split", ["test", pytest.param("train", marks=pytest.mark.slow)])
def test_windows_of_prepared_data_are_embedded_as_regions_are(
    inputs: Path, cluster: Cluster, tmp_path: Path, split: str
) -> None:
    given = ["--model", inputs / "model", "--cpu", "0.5"]
    run_job("embed", *given, "--data", inputs / "data", "--split", split, "--out", tmp_path / "a")
    rows, vectors = read(tmp_path / "a")
    windows = PreparedData.open(inputs / "data").read(length=WINDOW, split=split)
    assert rows == [
        (contig, start, start + WINDOW, str(window_id))
        for contig, start, window_id in zip(
            windows.contig, windows.start, windows.window_id, strict=True
        )
    ]
    unique = dict(zip(rows, vectors, strict=True))
    (tmp_path / "windows.bed").write_text(
        "".join(f"{contig}\t{start}\t{end}\tw{name}\n" for contig, start, end, name in unique)
    )
    genome = ["--genome", inputs / "genome.fa", "--regions", tmp_path / "windows.bed"]
    run_job("embed", *given, *genome, "--out", tmp_path / "b")
    again, as_regions = read(tmp_path / "b")
    assert [(*row[:3], row[3][1:]) for row in again] == list(unique)
    np.testing.assert_allclose(as_regions, np.stack(list(unique.values())), atol=1e-5)


def same_files(out: Path, calm: Path) -> None:
    parts = sorted((calm / "embeddings").iterdir())
    assert [path.name for path in sorted((out / "embeddings").iterdir())] == [
        path.name for path in parts
    ]
    for path in parts:
        assert (out / "embeddings" / path.name).read_bytes() == path.read_bytes()


@pytest.mark.slow
def test_actors_that_are_killed_and_a_resumed_run_leave_what_a_calm_one_leaves(
    inputs: Path, calm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, out = module.run_shard, tmp_path / "out"

    def killed(embedder: object, plan: object, index: int, folder: Path) -> None:
        marker = folder / f"killed-{index}"
        if index == 2 or not marker.exists():
            marker.touch()
            (folder / "embeddings" / ".part-00002.parquet.999.tmp").write_text("half a shard")
            os.kill(os.getpid(), signal.SIGKILL)
        whole(embedder, plan, index, folder)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(module, "run_shard", killed)
        with pytest.raises(ShardError, match=r"shard 2 .* failed 4 times"):
            job(inputs, out, "--per", "base", "--actors", "2")
    assert not (out / "manifest.json").exists()
    job(inputs, out, "--per", "base", "--resume")
    same_files(out, calm)


REFUSED: dict[str, tuple[list[str], str]] = {
    "no hidden states": (["--model", "{}/pattern"], r"--model: .*kmer_logistic.* no hidden states"),
    "model": (["--model", "nowhere"], "--model: nowhere: there is no such folder"),
    "both": (["--backbone", "{}/backbone"], "--model: .*cannot be used with --backbone"),
    "window": (["--window", "7"], "--window: 7: is of --backbone, which is not given"),
    "data": (["--data", "{}/data"], "--regions: .*cannot be used with --data"),
    "per": (["--per", "window"], "--per: window: .*sequence.*base"),
    "genome": (["--genome", "nowhere.fa"], r"nowhere\.fa: there is no such file; give --genome"),
    "regions": (["--regions", "nowhere.bed"], r"nowhere\.bed: there is no such file"),
    "batch": (["--batch", "0"], "--batch: 0: .*greater than or equal to 1"),
    "strands": (["--strands", "reverse"], "--strands: reverse: .*forward.*both"),
    "track": (["--track", "dnase=x.bw"], r"x\.bw: there is no such file; give --track"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_embedded_is_refused_and_nothing_is_written(
    inputs: Path, tmp_path: Path, case: str
) -> None:
    more, message = REFUSED[case]
    with pytest.raises(InputError, match=message):
        job(inputs, tmp_path / "out", *(word.format(inputs) for word in more))
    assert not (tmp_path / "out").exists()


ROWS: dict[str, tuple[str, str]] = {
    "past the end": ("c1\t90\t98\n", r"bad\.bed:1: c1:90-98: ends past the contig, which has 97"),
    "contig": ("c3\t1\t8\n", r"bad\.bed:1: c3: the genome has no such contig"),
    "long": ("c2\t0\t300000\n", r"bad\.bed:1: 300,000 bases: has more than 262,144 bases"),
}


@pytest.mark.parametrize("case", ROWS)
def test_a_region_that_cannot_be_embedded_is_named_with_its_line(
    inputs: Path, tmp_path: Path, case: str
) -> None:
    row, message = ROWS[case]
    (tmp_path / "bad.bed").write_text(row)
    with pytest.raises(InputError, match=message):
        job(inputs, tmp_path / "out", "--regions", tmp_path / "bad.bed")
    assert not (tmp_path / "out").exists()


def test_a_run_is_resumed_with_the_settings_of_its_start(inputs: Path, calm: Path) -> None:
    with pytest.raises(InputError, match=r"plan\.json: strands"):
        job(inputs, calm, "--per", "base", "--strands", "forward", "--resume")
    with pytest.raises(InputError, match=r"plan\.json: per"):
        job(inputs, calm, "--resume")
    with pytest.raises(InputError, match="--revision: main: is of --backbone"):
        job(inputs, calm, "--resume", "--revision", "main")


def test_a_backbone_is_told_which_windows_of_the_data_it_reads(
    inputs: Path, tmp_path: Path
) -> None:
    given = ["--backbone", inputs / "backbone", "--data", inputs / "data", "--out", tmp_path / "x"]
    with pytest.raises(InputError, match="--window: 65: the backbone reads 1 to 64 bases"):
        run_job("embed", *given, "--window", "65")
    with pytest.raises(InputError, match="--model: is missing; give one of --model and --backbone"):
        run_job("embed", *given[2:])
    with pytest.raises(InputError, match="--genome: is missing"):
        run_job("embed", *given[:2], "--regions", inputs / "regions.bed", "--out", tmp_path / "x")

"""Tracks: every base at its place in the genome, on either strand, once."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pyBigWig
import pytest
import torch

from hyena_ray.attribution.engine import Attributor
from hyena_ray.attribution.settings import AttributionSettings
from hyena_ray.attribution.shards import ShardPlan, missing_shards, read_shard, run_shard
from hyena_ray.attribution.tracks import scored_bases, write_tracks
from hyena_ray.dataset.preparation import PrepareSettings, prepare
from hyena_ray.dataset.reader import PreparedData
from hyena_ray.model.convolution import ALL
from tests.attribution.small_model import FLANK, WINDOW, SmallModel

CONTIGS = ("chr2", "chr10", "chr1", "chr3")
"""In the order of the FASTA file, which is no alphabet's."""
SIZE = 420


class MotifModel(SmallModel):
    """Calls everything; its logit counts the ACG that are wholly in a window, on its strand."""

    def __init__(self) -> None:
        super().__init__()
        self.threshold = 0.0
        one_hot = torch.zeros(16, 6)
        one_hot[7:11, :4] = torch.eye(4)
        self.embedding.weight.data = one_hot

    def strand_logits(self, embeddings, strand, labels=ALL):
        a, c, g = (embeddings[:, i : i - 2 or None, i] for i in range(3))
        found = torch.nn.functional.pad(a * c * g, (0, 2)).sum(1, keepdim=True)
        logits = found.expand(embeddings.shape[:2])
        logits = torch.stack([torch.zeros_like(logits), logits], -1)
        return self.to_window(logits, strand)[:, labels]


@pytest.fixture(scope="module")
def genome(tmp_path_factory) -> tuple[PreparedData, dict[str, str]]:
    folder = tmp_path_factory.mktemp("tracks")
    rng = np.random.default_rng(0)
    sequences = {name: "".join(rng.choice(list("ACGT"), SIZE)) for name in CONTIGS}
    (folder / "genome.fa").write_text("".join(f">{n}\n{s}\n" for n, s in sequences.items()))
    (folder / "regions.bed").write_text(
        "".join(f"{name}\t{s}\t{s + 33}\n" for name in CONTIGS for s in range(7, 380, 61))
    )
    settings = PrepareSettings(
        task="zdna",
        genome=folder / "genome.fa",
        regions=folder / "regions.bed",
        lengths=(WINDOW,),
        stretch=WINDOW,
        flank=FLANK,
        train_stride=5,
        split="contig:train=chr2,chr10,chr3;val=chr1",
    )
    prepare(settings, folder / "data")
    return PreparedData.open(folder / "data"), sequences


def attributed(data: PreparedData, folder: Path, size: int, *methods: str) -> ShardPlan:
    settings = AttributionSettings(
        methods=methods,
        baseline="n",
        k=3,
        steps=4,
        tolerance=None,
        normalise=False,
        batch=64,
        samples=2,
    )
    plan = ShardPlan.make(MotifModel(), data, split="train", settings=settings, size=size)
    for index in missing_shards(plan, folder):
        run_shard(Attributor(MotifModel(), plan.settings), data, plan, index, folder)
    return plan


def by_hand(data: PreparedData, plan: ShardPlan, folder: Path) -> dict[tuple[str, int], float]:
    """Contig and position to the mean over the windows that hold it."""
    found = defaultdict(list)
    for index, shard in enumerate(plan.shards):
        windows = data.read_rows(WINDOW, "train", shard.first, shard.last)
        part = read_shard(plan, index, folder)
        for contig, start, scores in zip(
            windows.contig, windows.start, part.scores["ig"], strict=True
        ):
            for offset, score in enumerate(scores):
                if not np.isnan(score):
                    found[str(contig), int(start) + offset].append(float(score))
    return {place: float(np.mean(scores)) for place, scores in found.items()}


@pytest.mark.parametrize("size", [3, 16, 1000])
def test_a_base_has_the_mean_of_the_windows_that_hold_it_however_they_were_cut(
    genome, tmp_path, size
):
    data, _ = genome
    plan = attributed(data, tmp_path, size, "ig")
    expected = by_hand(data, plan, tmp_path)
    found, order = {}, []
    for stretch in scored_bases(plan, data, tmp_path):
        assert (np.diff(stretch.position) > 0).all()
        for position, score in zip(stretch.position, stretch.scores["ig"], strict=True):
            order.append((CONTIGS.index(stretch.contig), int(position)))
            found[stretch.contig, int(position)] = float(score)
    assert order == sorted(set(order))
    assert found == pytest.approx(expected, abs=1e-6)
    assert len(found) > 300


def test_a_motif_of_either_strand_lights_up_at_its_own_bases(genome, tmp_path):
    data, sequences = genome
    write_tracks(attributed(data, tmp_path, 16, "ism"), data, tmp_path)
    track = pyBigWig.open(str(tmp_path / "tracks" / "ism.bw"))
    assert track.chroms() == dict.fromkeys(CONTIGS, SIZE)
    assert track.intervals("chr1") is None
    lit = 0
    for contig in ("chr2", "chr10", "chr3"):
        values = np.array(track.values(contig, 0, SIZE))
        inside = np.zeros(SIZE, bool)
        for hit in re.finditer("(?=ACG|CGT)", sequences[contig]):
            inside[hit.start() : hit.start() + 3] = True
        known = np.isfinite(values)
        # A base outside can lose what another letter there would make: never more than it has.
        assert (values[known & ~inside] <= 1e-6).all()
        lit += (values[known & inside] > 1e-3).sum()
        assert (values[known & inside] > 1e-3).mean() > 0.7
    assert lit > 30


def test_both_files_hold_the_same_for_every_method(genome, tmp_path):
    data, _ = genome
    plan = attributed(data, tmp_path, 16, "ig", "smoothgrad", "tp")
    written = write_tracks(plan, data, tmp_path)
    assert [path.name for path in written] == ["ig.bw", "smoothgrad.bw", "scores.parquet"]
    assert sorted(tmp_path.glob("tracks/.*")) == []
    table = pq.read_table(tmp_path / "tracks" / "scores.parquet").to_pydict()
    for method in ("ig", "smoothgrad"):
        track = pyBigWig.open(str(tmp_path / "tracks" / f"{method}.bw"))
        for contig in ("chr2", "chr10", "chr3"):
            rows = [i for i, name in enumerate(table["contig"]) if name == contig]
            shown = {i: v for i, _, v in track.intervals(contig)}
            assert shown == pytest.approx(
                {table["position"][i]: table[method][i] for i in rows}, rel=1e-6
            )

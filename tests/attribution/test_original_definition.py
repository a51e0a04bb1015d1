"""Under the original definition, tables are those of the published algorithms, written out.

Reference: Bokhyan 2025, Algorithms 2 to 6.

One window at a time with captum, as published; only the noise is drawn as ours is, so that it can
be the same.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pytest
import torch
from captum.attr import IntegratedGradients
from torch import Tensor

from hyena_ray.attribution.engine import Attributor
from hyena_ray.attribution.path_baselines import NOISE, draw_keys, draw_noise, sequence_keys
from hyena_ray.attribution.settings import AttributionSettings, definition
from hyena_ray.attribution.shards import ShardPlan, merge_shards, missing_shards, run_shard
from hyena_ray.attribution.tracks import write_tracks
from hyena_ray.dataset.preparation import PrepareSettings, SequenceSettings, prepare
from hyena_ray.dataset.reader import PreparedData
from hyena_ray.model.build import build_model
from hyena_ray.model.settings import LoraSettings, ModelSettings, Readout
from hyena_ray.model.window import WindowModel
from hyena_ray.tasks import TASKS

LENGTH, K = 24, 3
LETTERS = {7: "A", 8: "C", 9: "G", 10: "T"}
SAMPLES = 2
"""Noisy copies; the original work took 50."""


def trained(task: str, readout: Readout) -> WindowModel:
    """Causal, one strand, a linear head, as published. Calls about half of everything."""
    settings = ModelSettings(d_model=16, max_seq_len=64, head="linear", pooling="last")
    model = build_model(settings, readout, LoraSettings(), TASKS[task], seed=0)
    model.threshold = 0.5
    return model.eval()


@pytest.fixture(scope="module")
def of_bases(tmp_path_factory: pytest.TempPathFactory) -> tuple[WindowModel, PreparedData]:
    folder = tmp_path_factory.mktemp("bases")
    rng = np.random.default_rng(0)
    with (folder / "genome.fa").open("w") as fasta, (folder / "regions.bed").open("w") as bed:
        for contig in ("chr1", "chr2", "chr3"):
            fasta.write(f">{contig}\n{''.join(rng.choice(list('ACGT'), 1000))}\n")
            bed.writelines(f"{contig}\t{start}\t{start + 19}\n" for start in range(70, 900, 120))
    settings = PrepareSettings(
        task="zdna",
        genome=folder / "genome.fa",
        regions=folder / "regions.bed",
        lengths=(LENGTH,),
        stretch=LENGTH,
        flank=0,
        split="contig:train=chr1;val=chr2;test=chr3",
    )
    prepare(settings, folder / "data")
    readout = Readout(window=LENGTH, flank=0, lookahead=0, strands="forward")
    return trained("zdna", readout), PreparedData.open(folder / "data")


@pytest.fixture(scope="module")
def of_sequences(tmp_path_factory: pytest.TempPathFactory) -> tuple[WindowModel, PreparedData]:
    folder = tmp_path_factory.mktemp("sequences")
    rng = np.random.default_rng(1)
    for split in ("train", "val", "test"):
        rows = "".join(f"{''.join(rng.choice(list('ACGT'), LENGTH))},{i % 2}\n" for i in range(40))
        (folder / f"{split}.csv").write_text(f"sequence,label\n{rows}")
    files = {split: folder / f"{split}.csv" for split in ("train", "val", "test")}
    prepare(SequenceSettings(task="promoter", **files), folder / "data")
    readout = Readout(window=LENGTH, flank=0, lookahead=0, strands="forward", special_tokens=True)
    return trained("promoter", readout), PreparedData.open(folder / "data")


class Found(NamedTuple):
    """Tables by their names, as the pipeline writes them."""

    tables: dict[str, pa.Table]
    settings: AttributionSettings


def pipeline(
    model: WindowModel, data: PreparedData, methods: tuple[str, ...], folder: Path
) -> Found:
    changes = {"methods": methods, "k": K, "samples": SAMPLES}
    settings = definition("original", TASKS[data.manifest.task].kind).updated(changes, "test")
    plan = ShardPlan.make(model, data, split="test", settings=settings, size=7)
    for index in missing_shards(plan, folder):
        run_shard(Attributor(model, plan.settings), data, plan, index, folder)
    return Found(merge_shards(plan, folder).tables, settings)


class Window(NamedTuple):
    """A window that has a true positive."""

    key: int
    """Of the sequence, for the noise."""
    ids: Tensor
    """(1, T) with special tokens."""
    letters: str
    tp: np.ndarray
    """(LENGTH,) bool, predicted 1 and labelled 1."""


def windows_of(model: WindowModel, data: PreparedData) -> Iterator[Window]:
    windows = data.read(LENGTH, "test")
    keys = sequence_keys(windows.tokens).tolist()
    for key, tokens, labels in zip(keys, windows.tokens, windows.labels, strict=True):
        ids = torch.from_numpy(tokens[None]).long()
        if model.readout.special_tokens:
            ids = torch.cat([ids, torch.tensor([[1]])], dim=1)
        with torch.no_grad():
            logits = model.classifier(input_ids=ids).logits
        predicted = logits.softmax(-1)[..., 1].numpy().reshape(-1) >= 0.5
        tp = np.broadcast_to(predicted & (labels == 1), LENGTH)
        yield Window(key, ids, "".join(LETTERS[token] for token in tokens.tolist()), tp)


def target(model: WindowModel, window: Window) -> Callable[[Tensor], Tensor]:
    """Bases: the sum of logit[1] over true positives. Sequences: the predicted class's logit."""

    def of(points: Tensor) -> Tensor:
        logits = model.classifier(inputs_embeds=points).logits
        if logits.ndim == 2:
            return logits[:, 1]
        return (logits[..., 1] * torch.from_numpy(window.tp.astype(np.float32))).sum(1)

    return of


def kmer_means(
    scored: Iterator[tuple[Window, np.ndarray]], of_kmer: Callable[[np.ndarray], float]
) -> dict[str, tuple[int, float]]:
    """k-mer to count and mean score, over the k-mers whose bases are all true positives."""
    count: dict[str, int] = defaultdict(int)
    total: dict[str, float] = defaultdict(float)
    for window, scores in scored:
        for i in range(LENGTH - K + 1):
            if window.tp[i : i + K].all():
                kmer = window.letters[i : i + K]
                count[kmer] += 1
                total[kmer] += of_kmer(scores[i : i + K].astype(np.float64))
    return {kmer: (count[kmer], total[kmer] / count[kmer]) for kmer in count}


def integrated(model: WindowModel, window: Window, noise: Tensor | float = 0.0) -> np.ndarray:
    """Zero baseline, 50 Gauss-Legendre steps, summed over dimensions, special tokens removed."""
    x = model.classifier.get_input_embeddings()(window.ids).detach() + noise
    found = IntegratedGradients(target(model, window)).attribute(x, torch.zeros_like(x), n_steps=50)
    scores: np.ndarray = found.sum(-1)[0, :LENGTH].detach().numpy()
    return scores


def noise_of(window: Window, copy: int, shape: torch.Size, deviation: float) -> Tensor:
    keys = draw_keys(0, NOISE, np.array([window.key], np.uint64))
    return deviation * draw_noise(keys, SAMPLES, (shape[1], shape[2]), torch.device("cpu"))[0, copy]


def same(table: pa.Table, expected: dict[str, tuple[int, float]]) -> None:
    assert len(expected) > 5
    rows = {row["kmer"]: row for row in table.to_pylist()}
    assert rows.keys() == expected.keys()
    largest = max(abs(score) for _, score in expected.values())
    for kmer, (count, score) in expected.items():
        assert rows[kmer]["count"] == count
        assert rows[kmer]["score"] == pytest.approx(score, abs=1e-4 * largest), kmer
    scores = table["score"].to_pylist()
    assert scores == sorted(scores, reverse=True)


def test_algorithm_4_bases_by_integrated_gradients(of_bases, tmp_path):
    model, data = of_bases
    scored = ((w, integrated(model, w)) for w in windows_of(model, data) if w.tp.any())
    same(pipeline(model, data, ("ig",), tmp_path).tables["ig"], kmer_means(scored, np.sum))


def test_algorithm_5_bases_by_smoothgrad(of_bases, tmp_path):
    model, data = of_bases

    def smoothgrad(window: Window) -> np.ndarray:
        x = model.classifier.get_input_embeddings()(window.ids).detach()
        mean = torch.zeros_like(x)
        for copy in range(SAMPLES):
            point = (x + noise_of(window, copy, x.shape, 0.1)).requires_grad_()
            gradient = torch.autograd.grad(target(model, window)(point).sum(), point)[0]
            mean += gradient.abs() / SAMPLES
        return mean.sum(-1)[0].numpy()

    scored = ((w, smoothgrad(w)) for w in windows_of(model, data) if w.tp.any())
    found = pipeline(model, data, ("smoothgrad",), tmp_path)
    same(found.tables["smoothgrad"], kmer_means(scored, np.sum))


def test_algorithm_6_true_positive_importance(of_bases, tmp_path):
    model, data = of_bases
    occurrences: dict[str, int] = defaultdict(int)
    tp_count: dict[str, int] = defaultdict(int)
    for window in windows_of(model, data):
        for i in range(LENGTH - K + 1):
            occurrences[window.letters[i : i + K]] += 1
            tp_count[window.letters[i : i + K]] += bool(window.tp[i : i + K].all())
    table = pipeline(model, data, ("ig", "tp"), tmp_path).tables["tp"]
    expected = {kmer: tp_count[kmer] / number for kmer, number in occurrences.items()}
    assert dict(zip(*table.select(["kmer", "importance"]).to_pydict().values(), strict=True)) == (
        pytest.approx(expected)
    )


def test_algorithm_2_sequences_by_integrated_gradients(of_sequences, tmp_path):
    model, data = of_sequences
    scored = ((w, integrated(model, w)) for w in windows_of(model, data) if w.tp.any())
    same(pipeline(model, data, ("ig",), tmp_path).tables["ig"], kmer_means(scored, np.mean))


def test_algorithm_3_sequences_by_noisy_integrated_gradients(of_sequences, tmp_path):
    model, data = of_sequences

    def noisy(window: Window) -> np.ndarray:
        shape = torch.Size((1, LENGTH + 1, model.classifier.config.d_model))
        copies = [
            integrated(model, window, noise_of(window, copy, shape, 0.02))
            for copy in range(SAMPLES)
        ]
        return np.mean(copies, axis=0)

    scored = ((w, noisy(w)) for w in windows_of(model, data) if w.tp.any())
    found = pipeline(model, data, ("noisy_ig",), tmp_path)
    same(found.tables["noisy_ig"], kmer_means(scored, np.mean))


def test_the_consensus_of_sequences_holds_only_what_both_methods_score_above_zero(
    of_sequences, tmp_path
):
    tables = pipeline(*of_sequences, ("ig", "noisy_ig"), tmp_path).tables
    scores = [
        dict(zip(*tables[name].select(["kmer", "score"]).to_pydict().values(), strict=True))
        for name in ("ig", "noisy_ig")
    ]
    above = {kmer for kmer in scores[0] if all(score[kmer] > 0 for score in scores)}
    assert set(tables["consensus"]["kmer"].to_pylist()) == above
    assert above < set(scores[0])


def test_sequences_without_coordinates_have_no_track(of_sequences, tmp_path):
    model, data = of_sequences
    settings = definition("original", "sequence").updated({"methods": ("ig",), "k": K}, "test")
    plan = ShardPlan.make(model, data, split="test", settings=settings)
    run_shard(Attributor(model, plan.settings), data, plan, 0, tmp_path)
    assert write_tracks(plan, data, tmp_path) == []
    assert not (tmp_path / "tracks").exists()

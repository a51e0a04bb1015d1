"""What cannot work is refused before any work, by the name of the setting."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hyena_ray.dataset.manifest import Count, KindCount, Manifest
from hyena_ray.dataset.reader import PreparedData
from hyena_ray.errors import InputError
from hyena_ray.genome.negatives import KINDS
from hyena_ray.model.settings import Precision
from hyena_ray.training.preflight import check_run_fits
from hyena_ray.training.settings import RunSettings


def prepared(task: str, **values: Any) -> PreparedData:
    """Data of which there is only the manifest."""
    manifest = Manifest.describe(
        **{
            "task": task,
            "simulated": True,
            "lengths": (100,),
            "flank": 64,
            "negatives": "random:3",
            "held_out": "random:3",
            "kinds": KINDS,
            "train_stride": None,
            "stretch": 1024,
            "scan": False,
            "stretches": None,
            "seed": 0,
            "split": "contig:train=a;val=b;test=c",
            "splits": ("train", "val", "test"),
            "tokens": {},
            "inputs": (),
            "contigs": (),
            "counts": (),
            "dropped": (),
            "sequences": (),
            "files": (),
            **values,
        }
    )
    return PreparedData(Path("data"), manifest)


ZDNA = prepared("zdna")
MIXED = prepared(
    "zdna",
    counts=(
        Count(
            length=100,
            split="train",
            contig="a",
            positive=10,
            negative=45,
            candidates=900,
            labelled=50,
            kinds={
                "random": KindCount(drawn=35, candidates=900),
                "tract": KindCount(drawn=10, candidates=12),
            },
        ),
    ),
)
TEST_ONLY = prepared("zdna", split="contig:test=a", splits=("test",))
FOLDS = prepared("zdna", split="kfold:3", splits=("fold0", "fold1", "fold2"))
PROMOTERS = prepared(
    "promoter", lengths=(70,), flank=0, negatives=None, stretch=None, held_out=None, scan=None
)


def check(data: PreparedData, changes: dict[str, Any], *, gpu: bool | None = False) -> None:
    settings = RunSettings.for_task(data.manifest.task).updated(changes, "test")
    check_run_fits(settings, data, "here", gpu=gpu)


@pytest.mark.parametrize(
    ("data", "changes", "message"),
    [
        (ZDNA, {"task": "g4"}, "here: task: g4: the data is zdna"),
        (ZDNA, {"data.length": 256}, "here: data.length: 256: .* windows of 100 bases"),
        (ZDNA, {"readout.flank": 65}, "here: readout.flank: 65: .* 64 bases on each side"),
        (
            ZDNA,
            {"readout.tracks": ["composition"]},
            "readout.tracks: composition: .*prepare with --flank 544",
        ),
        (ZDNA, {"readout.lookahead": 33}, "here: readout.lookahead: 33: reaches past"),
        (ZDNA, {"model.max_seq_len": 163}, "max_seq_len: 163: .* has 164 tokens"),
        (
            ZDNA,
            {"model.max_seq_len": 164, "readout.special_tokens": True},
            "max_seq_len: 164: .* has 165 tokens",
        ),
        (ZDNA, {"training.shortest_crop": 101}, "here: training.shortest_crop: 101: is longer"),
        (ZDNA, {"training.precision": "float16"}, "training.precision: float16: needs a GPU"),
        (ZDNA, {"training.precision": "tf32"}, "training.precision: tf32: needs a GPU"),
        (ZDNA, {"data.fold": 0}, "here: data.fold: 0: .* not into folds"),
        (
            MIXED,
            {"data.negatives": "random:1,gc:1"},
            "here: data.negatives: random:1,gc:1: asks for 10 gc .* hold 0: random:3.5,tract:1 for",
        ),
        (MIXED, {"data.negatives": "tract:2"}, "here: data.negatives: .* 20 tract .* hold 10"),
        (MIXED, {"data.negatives": "tracts:1"}, "test: data.negatives: tracts:1: .*mean tract?"),
        (FOLDS, {}, "here: data.fold: is missing, .* 3 folds; .* 0 to 2"),
        (TEST_ONLY, {}, "contig:test=a: has no train and no val"),
        (FOLDS, {"data.fold": 3}, "here: data.fold: 3: there is no such fold"),
        (
            PROMOTERS,
            {"readout.tracks": ["zhunt"]},
            "here: readout.tracks: zhunt: promoters are",
        ),
        (PROMOTERS, {"readout.flank": 4}, "here: readout.flank: 4: promoters are whole"),
        (
            PROMOTERS,
            {"readout.flank": 4, "readout.lookahead": 2},
            "here: readout.flank: 4: promoters are whole",
        ),
        (PROMOTERS, {"readout.lookahead": 2}, "here: readout.lookahead: 2: promoters are whole"),
        (
            PROMOTERS,
            {"training.metric": "tile_f1"},
            "here: training.metric: tile_f1: promoters are whole .*; set it to mcc",
        ),
        (ZDNA, {"training.metric": "tile_f2"}, "test: training.metric: tile_f2: .*tile_f1"),
        (
            PROMOTERS,
            {"training.shortest_crop": 50},
            "here: training.shortest_crop: 50: promoters are whole",
        ),
        (
            ZDNA,
            {"model.architecture": "dilated_cnn", "model.backbone": "folder"},
            "here: model.backbone: folder: dilated_cnn has nothing of the kind",
        ),
        (
            ZDNA,
            {"model.architecture": "bilstm", "lora.enabled": True},
            "here: lora.enabled: True: bilstm has nothing",
        ),
        (
            ZDNA,
            {"model.architecture": "rule", "training.checkpoint_activations": True},
            "here: training.checkpoint_activations: True: rule has nothing",
        ),
        (
            ZDNA,
            {"model.architecture": "kmer_logistic", "model.head": "electra"},
            "here: model.head: electra: kmer_logistic has nothing",
        ),
    ],
)
def test_what_cannot_work_is_refused_in_one_line(
    data: PreparedData, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message) as refusal:
        check(data, changes)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("data", "changes"),
    [
        (ZDNA, {}),
        (ZDNA, {"training.shortest_crop": 100, "training.precision": "bfloat16"}),
        (ZDNA, {"model.architecture": "dilated_cnn", "model.max_seq_len": 10}),
        (ZDNA, {"model.pooling": "mean"}),
        (ZDNA, {"model.architecture": "bilstm", "model.head": "electra"}),
        (ZDNA, {"model.backbone": "folder", "model.max_seq_len": 10}),
        (ZDNA, {"lora.enabled": True, "training.checkpoint_activations": True}),
        (FOLDS, {"data.fold": 2}),
        (MIXED, {"data.negatives": "random:3.5,tract:0.5"}),
        (MIXED, {"data.negatives": "2"}),
        (ZDNA, {"training.metric": "tile_f1"}),
        (PROMOTERS, {}),
        (PROMOTERS, {"training.metric": "f1"}),
        (PROMOTERS, {"model.pooling": "attention", "readout.special_tokens": True}),
    ],
)
def test_what_works_is_let_through(data: PreparedData, changes: dict[str, Any]) -> None:
    check(data, changes)


@pytest.mark.parametrize("gpu", [True, None])
@pytest.mark.parametrize("precision", ["float16", "tf32"])
def test_a_precision_that_needs_a_gpu_is_accepted_if_there_is_or_may_be_one(
    precision: Precision, gpu: bool | None
) -> None:
    check(ZDNA, {"training.precision": precision}, gpu=gpu)


def test_a_tasks_defaults_fit_its_windows() -> None:
    settings = RunSettings.for_task("promoter")
    assert (settings.task, settings.data.length) == ("promoter", 70)
    assert (settings.readout.flank, settings.readout.lookahead) == (0, 0)
    assert settings.readout.strands == "forward"  # promoters have a direction
    assert not settings.training.reverse_complement
    assert RunSettings.for_task("zdna") == RunSettings()
    with pytest.raises(InputError, match=r"task: promotor: .*promoter"):
        RunSettings.for_task("promotor")

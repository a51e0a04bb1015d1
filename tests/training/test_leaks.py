"""A backbone that has seen test contigs in pretraining is named; others are let by in silence."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from hyena_ray.dataset.manifest import Count, Dropped, InputFile, Manifest, Stretches
from hyena_ray.dataset.origin import Origin
from hyena_ray.dataset.reader import PreparedData
from hyena_ray.files import write_json
from hyena_ray.genome.negatives import KINDS
from hyena_ray.model.provenance import PROVENANCE, ContigUse, Provenance, Use
from hyena_ray.training.leaks import backbone_leak, seen_in_training, teacher_leak
from hyena_ray.training.preflight import check_run_fits
from hyena_ray.training.settings import RunSettings


def seen(uses: dict[str, Use], **values: Any) -> Provenance:
    contigs = tuple(
        ContigUse(name=name, length=100, sha256=name, use=use, trained=100 * (use == "trained"))
        for name, use in uses.items()
    )
    made: dict[str, Any] = {"objective": "next_base", "genome": "hg.fa", "genome_sha256": "same"}
    made |= {"simulated": False, "contigs": contigs, "began_from": None, "before": None}
    return Provenance(**made | values)


def prepared(genome: str | None = "same", split: str = "contig", **values: Any) -> Manifest:
    """Tested on stretches of chr3 alone, in folds on those of one contig each."""
    names = ("train", "val", "test") if split == "contig" else ("fold0", "fold1", "fold2")
    counts = [("chr1", names[0], 5), ("chr2", names[1], 5), ("chr3", names[2], 5)]
    counts += [("chr4", names[2], 0)]
    numbers = {"length": 1024, "negative": 0, "candidates": 0, "labelled": 0}
    stretches = Stretches(
        counts=tuple(
            Count(contig=contig, split=of, positive=count, **numbers)
            for contig, of, count in counts
            if of != "train"
        ),
        dropped=Dropped(length=1024, tiles=9, too_many_n=0, blacklisted=0),
        files=(),
    )
    made: dict[str, Any] = {
        "task": "zdna",
        "simulated": False,
        "lengths": (100,),
        "flank": 64,
        "negatives": "random:3",
        "held_out": "random:3",
        "kinds": KINDS,
        "train_stride": None,
        "seed": 0,
        "split": "contig:train=a;val=b;test=c" if split == "contig" else "kfold:3",
        "splits": names,
        "tokens": {},
        "inputs": ()
        if genome is None
        else (InputFile(role="genome", name="hg.fa", sha256=genome),),
        "contigs": (),
        "counts": (),
        "stretch": 1024,
        "scan": False,
        "stretches": None if genome is None else stretches,
        "dropped": (),
        "sequences": (),
        "files": (),
    }
    return Manifest.describe(**made | values)


def test_a_test_contig_that_was_trained_on_or_held_out_is_named_with_what_it_was() -> None:
    message = backbone_leak(seen({"chr1": "trained", "chr3": "trained"}), prepared())
    assert message.startswith("test contigs were seen in pretraining: chr3 (trained on);")
    message = backbone_leak(seen({"chr3": "held_out"}), prepared())
    assert "chr3 (held out, so it may have chosen)" in message


@pytest.mark.parametrize(
    "uses",
    [
        {"chr1": "trained", "chr2": "held_out", "chr3": "left_out"},
        {"chr1": "trained", "chr4": "trained"},  # no test stretch lies on it
    ],
)
def test_nothing_is_said_where_no_test_contig_was_seen(uses: dict[str, Use]) -> None:
    assert backbone_leak(seen(uses), prepared()) == ""


def test_what_cannot_be_known_is_said_to_be_unknown() -> None:
    uses: dict[str, Use] = {"chr1": "trained", "chr3": "left_out"}
    other = backbone_leak(seen(uses, genome_sha256="other", genome="mm.fa"), prepared())
    assert "another genome file (mm.fa)" in other
    assert other.endswith("unknown")
    sequences = backbone_leak(seen(uses), prepared(genome=None))
    assert "do not say where they are" in sequences
    assert sequences.endswith("unknown")
    before = backbone_leak(seen(uses, began_from="LongSafari/x"), prepared())
    assert before == (
        "its pretraining started from LongSafari/x: whether that had seen test contigs is unknown"
    )


def test_a_simulated_genome_is_reported_where_the_data_are_real() -> None:
    simulated = seen({"chr3": "trained"}, simulated=True, genome="genome.fa")
    for data in (prepared(), prepared(genome=None), prepared(genome="other")):
        assert backbone_leak(simulated, data) == (
            "was pretrained on a simulated genome (genome.fa), from which it knows nothing of real "
            "DNA"
        )
    assert backbone_leak(simulated, prepared(simulated=True)).startswith("test contigs were seen")


def test_what_the_weights_had_seen_before_is_reported_too() -> None:
    first = seen({"chr3": "trained"}, simulated=True)
    second = seen({"chr3": "held_out"}, began_from="first", before=first)
    third = seen({"chr1": "trained"}, began_from="second", before=second)
    message = backbone_leak(third, prepared())
    assert "chr3 (held out, so it may have chosen); test figures flatter it; was pre" in message
    assert "a simulated genome" in message
    assert "unknown" not in message


def warnings_of(
    backbone: str | None, manifest: Manifest, caplog: pytest.LogCaptureFixture, **changes: object
) -> list[str]:
    """What the check of a run says, asked twice as for two trials of a search."""
    settings = RunSettings().updated({"model.backbone": backbone, **changes}, "test")
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            check_run_fits(settings, PreparedData(Path("data"), manifest), "here", gpu=False)
    return [record.getMessage() for record in caplog.records]


def test_the_check_of_a_run_warns_once_in_one_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    uses: dict[str, Use] = {"chr1": "trained", "chr2": "left_out", "chr3": "trained"}
    write_json(tmp_path / PROVENANCE, seen(uses).model_dump(mode="json"))
    (warning,) = warnings_of(str(tmp_path), prepared(), caplog)
    assert warning.startswith(f"{tmp_path}: test contigs were seen in pretraining: chr3")
    assert "\n" not in warning


def test_of_folds_the_one_that_is_tested_counts(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    uses: dict[str, Use] = {"chr1": "trained", "chr2": "left_out", "chr3": "trained"}
    write_json(tmp_path / PROVENANCE, seen(uses).model_dump(mode="json"))
    (warning,) = warnings_of(str(tmp_path), prepared(split="kfold"), caplog, **{"data.fold": 0})
    assert "chr1 (trained on);" in warning
    assert not warnings_of(str(tmp_path), prepared(split="kfold"), caplog, **{"data.fold": 1})


def test_nothing_is_said_of_random_weights_and_of_those_without_a_record(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for backbone in (None, str(tmp_path), "LongSafari/hyenadna-tiny-1k-seqlen-hf"):
        assert warnings_of(backbone, prepared(), caplog) == []


def origin(manifest: Manifest, sha256: str) -> Origin:
    return Origin(folder="data", manifest_sha256=sha256, manifest=manifest)


def test_contigs_that_trained_a_model_or_chose_its_epoch_are_named_where_it_is_scored() -> None:
    counts = [("chr1", "train"), ("chr2", "val"), ("chr3", "test")]
    numbers = {"length": 100, "positive": 5, "negative": 0, "candidates": 0, "labelled": 0}
    before = prepared(counts=(Count(contig="chr1", split="train", **numbers),))
    numbers |= {"length": 1024}
    stretches = Stretches(
        counts=tuple(Count(contig=contig, split="test", **numbers) for contig, _ in counts),
        dropped=Dropped(length=1024, tiles=9, too_many_n=0, blacklisted=0),
        files=(),
    )
    now = prepared(stretches=stretches, splits=("test",), split="contig:test=chr1,chr2,chr3")
    found = seen_in_training(origin(before, "a"), origin(now, "b"), "test", 100)
    assert [text.partition(" ")[0] for text in found] == ["chr1", "chr2"]
    assert "trained on" in found[0]
    assert "chose" in found[1]
    # The model's own data keep its splits apart; another genome's contigs are others.
    assert seen_in_training(origin(now, "a"), origin(now, "a"), "test", 100) == ()
    other = prepared(genome="other", stretches=stretches, splits=("test",))
    assert seen_in_training(origin(before, "a"), origin(other, "b"), "test", 100) == ()


def test_in_folds_every_contig_is_trained_on_by_some_model() -> None:
    folds = prepared(split="kfold")
    numbers = {"length": 1024, "positive": 5, "negative": 0, "candidates": 0, "labelled": 0}
    stretches = folds.stretches
    assert stretches is not None
    now = prepared(
        stretches=stretches.model_copy(
            update={"counts": (Count(contig="chr3", split="test", **numbers),)}
        )
    )
    (found,) = seen_in_training(origin(folds, "a"), origin(now, "b"), "test", 100)
    assert found.startswith("chr3")


def test_of_a_teacher_every_held_out_contig_that_it_has_seen_is_named_by_split() -> None:
    """It was trained on what tests here, and chosen on what chooses here."""
    swapped = prepared()
    assert swapped.stretches is not None
    uses = {"chr3": "train", "chr2": "val", "chr1": "test"}
    numbers = {"length": 100, "positive": 5, "negative": 0, "candidates": 0, "labelled": 0}
    counts = [Count(contig=contig, split=split, **numbers) for contig, split in uses.items()]
    of_stretches = swapped.stretches.model_copy(
        update={"counts": tuple(count for count in counts if count.split != "train")}
    )
    before = prepared(counts=tuple(counts[:1]), stretches=of_stretches)
    seen, problem = teacher_leak(origin(before, "a"), origin(prepared(), "b"), 100)
    assert seen["val"] == ("chr2 (chose its epoch and threshold)",)
    assert seen["test"] == ("chr3 (trained on)",)
    assert "chr2" in problem
    assert "chr3" in problem


@pytest.mark.parametrize(
    ("before", "digest", "said"),
    [
        (prepared(), "b", ""),
        (prepared(simulated=True, genome="other"), "a", "simulated"),
        (prepared(genome="other"), "a", "another genome file"),
        (prepared(split="kfold"), "b", "fold of the same data"),
        (None, "", "does not say"),
    ],
)
def test_of_a_teacher_that_has_seen_nothing_it_is_said_what_is_not_known(
    before: Manifest | None, digest: str, said: str
) -> None:
    trained_on = None if before is None else origin(before, digest)
    seen, problem = teacher_leak(trained_on, origin(prepared(), "b"), 100)
    assert not any(seen.values())
    assert said in problem
    assert bool(problem) == bool(said)

"""What a teacher says of a window depends on the window alone, and a student learns it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hyena_ray.dataset.schema import Windows
from hyena_ray.dataset.stretches import cut_windows, join_windows
from hyena_ray.model.beta_calibration import BetaCalibration
from hyena_ray.model.build import build_model
from hyena_ray.model.ensemble import Ensemble
from hyena_ray.model.saved import model_sha256
from hyena_ray.model.settings import LoraSettings, ModelSettings, Readout
from hyena_ray.model.window import WindowModel, WindowScorer, reverse_complement
from hyena_ray.tasks import TASKS
from hyena_ray.training.distillation import PASS, TeacherRecord, teach
from hyena_ray.training.loaders import ArraySource
from hyena_ray.training.settings import RunSettings
from hyena_ray.training.supervised import RunResult, train_run
from tests.training.held_out_rows import held_out

WINDOW, FLANK = 24, 8
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "hyenadna": {"d_model": 8, "n_layer": 1, "dropout": 0.5},
    "dilated_cnn": {"channels": 8, "dropout": 0.5},
    "kmer_logistic": {"k": 3},
    "trees": {"trees": 3, "tree_depth": 2},
}


def model(
    architecture: str = "kmer_logistic", window: int = WINDOW, seed: int = 0, task: str = "zdna"
) -> WindowModel:
    """An untrained model of the given strand with weights that matter, still in training mode."""
    flank = FLANK if task == "zdna" else 0
    settings = {"architecture": architecture, **ARCHITECTURES[architecture]}
    built = build_model(
        ModelSettings.parse(settings, "test"),
        Readout(window=window, flank=flank, lookahead=min(4, flank), strands="forward"),
        LoraSettings(),
        TASKS[task],
        seed=seed,
    )
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in built.parameters():
            if parameter.is_floating_point():
                parameter.add_(torch.randn_like(parameter), alpha=0.3)
    return built.train()


def rows(
    count: int, window: int = WINDOW, flank: int = FLANK, labels: int | None = None
) -> Windows:
    numbers = np.random.default_rng(0)
    tokens = numbers.integers(7, 11, (count, window + 2 * flank), np.uint8)
    shape = count, window if labels is None else labels
    ids = np.arange(count)
    return Windows(
        ids,
        np.full(count, "c"),
        ids * window,
        tokens,
        numbers.integers(0, 2, shape).astype(np.int8),
        np.ones(count, np.uint8),
    )


def said(teacher: WindowScorer, windows: Windows, *, both_strands: bool = False) -> np.ndarray:
    """Return what a teacher says of all windows, in their order."""
    taught = teach(ArraySource(windows), teacher, both_strands=both_strands)
    found = [batch.teacher() for batch in taught.batches(7, epoch=None, seed=0)]
    return torch.cat([part for part in found if part is not None]).numpy()


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_it_is_the_sigmoid_of_the_logits_in_evaluation_mode_whatever_the_calibration(
    architecture: str,
) -> None:
    teacher, windows = model(architecture), rows(30)
    with torch.inference_mode():
        logits = teacher.eval().predict(torch.from_numpy(windows.tokens))
    expected = logits.softmax(-1)[..., 1]
    teacher.calibration = BetaCalibration(above=2.0, below=0.5, offset=-5.0)
    found = said(teacher.train(), windows)
    assert found.dtype == np.float32
    assert found.std() > 1e-3 or architecture == "trees", "the teacher says something"
    torch.testing.assert_close(torch.from_numpy(found), expected)


def test_of_several_it_is_the_mean_of_their_probabilities() -> None:
    members, windows = [model("hyenadna"), model(seed=1), model("dilated_cnn", seed=2)], rows(9)
    members[1].calibration = BetaCalibration(above=2.0, below=0.5, offset=-5.0)
    mean = np.mean([said(member, windows) for member in members], axis=0)
    np.testing.assert_allclose(said(Ensemble(members), windows), mean, atol=1e-6)


@pytest.mark.parametrize("window", [8, 10, 24])
def test_longer_windows_are_read_as_a_stretch(window: int) -> None:
    teacher, stretches = model("hyenadna", window=window), rows(5)
    expected = join_windows(said(teacher, cut_windows(stretches, window)), WINDOW)
    np.testing.assert_allclose(said(teacher, stretches), expected, atol=1e-6)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("both_strands", [False, True])
def test_the_probabilities_of_a_window_do_not_depend_on_the_others(
    architecture: str, both_strands: bool
) -> None:
    teacher, windows = model(architecture), rows(PASS + 13)
    every = said(teacher, windows, both_strands=both_strands)
    first = said(teacher, windows.rows(np.arange(5)), both_strands=both_strands)
    assert np.array_equal(first, every[:5])
    backwards = np.arange(PASS + 13)[::-1]
    turned = said(teacher, windows.rows(backwards), both_strands=both_strands)
    np.testing.assert_allclose(turned[::-1], every, atol=1e-6)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_base_has_the_same_probability_on_both_strands_to_the_bit(architecture: str) -> None:
    teacher, windows = model(architecture), rows(20)
    opposite = reverse_complement(torch.from_numpy(windows.tokens)).numpy()
    given_strand = said(teacher, windows, both_strands=True)
    turned = said(teacher, windows._replace(tokens=opposite), both_strands=True)
    assert np.array_equal(turned[:, ::-1], given_strand)


def test_a_sequence_has_one_probability() -> None:
    teacher, windows = model(task="promoter"), rows(6, flank=0, labels=1)
    assert said(teacher, windows).shape == (6, 1)


def test_windows_that_an_epoch_does_not_draw_are_read_too() -> None:
    windows = rows(12)
    windows = windows._replace(kind=np.resize(np.array([0, 1, 1], np.uint8), 12))
    taught = teach(ArraySource(windows, "random:1"), model(), both_strands=False)
    expected = dict(zip(map(bytes, windows.tokens), said(model(), windows), strict=True))
    drawn = set()
    for epoch in range(4):
        for batch in taught.batches(3, epoch=epoch, seed=0):
            probabilities = batch.teacher()
            assert probabilities is not None
            for tokens, found in zip(batch.tokens().numpy(), probabilities.numpy(), strict=True):
                assert np.array_equal(found, expected[bytes(tokens)])
                drawn.add(bytes(tokens))
    assert taught.count < len(drawn)


def test_the_record_names_every_member_in_the_order_of_its_digest() -> None:
    members = [model("hyenadna"), model(seed=1)]
    record = TeacherRecord.of(Ensemble(members), {"val": ()})
    pairs = list(zip(record.sha256.split(","), record.architectures, strict=True))
    types = [member.classifier.config.model_type for member in members]
    assert pairs == sorted(zip(map(model_sha256, members), types, strict=True))


STUDENT = RunSettings().updated(
    {
        "data.length": WINDOW,
        "model.d_model": 16,
        "model.n_layer": 1,
        "model.max_seq_len": 64,
        "readout.flank": FLANK,
        "readout.lookahead": 4,
        "readout.strands": "forward",
        "training.reverse_complement": False,
        "training.epochs": 6,
        "training.batch_size": 16,
        "training.learning_rate": 1e-2,
    },
    "test",
)


def ruled(count: int, seed: int, length: int = WINDOW) -> Windows:
    """Windows in which a base is labelled where a C follows three bases later."""
    tokens = np.random.default_rng(seed).integers(7, 11, (count, length + 2 * FLANK), np.uint8)
    labels = (tokens[:, FLANK + 3 : FLANK + 3 + length] == 8).astype(np.int8)
    ids = np.arange(count) * length
    return Windows(ids, np.full(count, "c"), ids, tokens, labels, np.zeros(count, np.uint8))


def student(folder: Path, train: ArraySource, share: float) -> RunResult:
    settings = STUDENT.updated({"training.teacher_share": share}, "test")
    validation = held_out(ruled(24, 1, length=3 * WINDOW))
    return train_run(settings, train, validation, folder, lambda epoch: None, fingerprint="f")


def test_a_student_learns_from_its_teacher_what_its_labels_do_not_say(tmp_path: Path) -> None:
    known = ruled(128, 0)
    noise = np.random.default_rng(5).integers(0, 2, known.labels.shape).astype(np.int8)
    unlabelled = ArraySource(known._replace(labels=noise)).taught(known.labels.astype(np.float32))
    assert student(tmp_path / "taught", unlabelled, 1.0).metrics["f1"] > 0.95
    alone = student(tmp_path / "alone", unlabelled, 0.0).metrics
    assert alone["roc_auc"] < 0.7

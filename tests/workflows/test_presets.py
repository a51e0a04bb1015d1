"""The original work's runs by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hyena_ray.errors import InputError
from hyena_ray.model.lora import trainable_share
from hyena_ray.tasks import TASKS
from hyena_ray.training.preflight import check_run_fits
from hyena_ray.training.stages import training_stages
from hyena_ray.training.supervised import new_model
from hyena_ray.workflows import presets
from hyena_ray.workflows.presets import (
    OriginalFigures,
    Preset,
    load_preset,
    load_presets,
    select_presets,
)
from tests.search.unread_data import prepared

FOLDER = presets.SEARCH_SPACES / "presets"
PRESETS = [preset for task in TASKS for preset in load_presets(task).values()]
every = pytest.mark.parametrize("preset", PRESETS, ids=lambda preset: preset.name)


def test_the_tasks_and_the_files_of_presets_are_the_same() -> None:
    assert {path.stem for path in FOLDER.glob("*.yaml")} == set(TASKS)


@every
@pytest.mark.parametrize("gpu", [False, True])
def test_every_preset_runs_on_the_data_that_it_asks_for(preset: Preset, gpu: bool) -> None:
    asked = preset.data.model_dump(exclude_none=True)
    if preset.data.split is not None:
        asked["splits"] = tuple(f"fold{fold}" for fold in range(5))
    data = prepared(preset.task, **asked)
    preset.check_data(data)
    settings = preset.run_settings(gpu=gpu)
    assert settings.task == preset.task
    if data.manifest.folds:
        settings = settings.updated({"data.fold": 0}, "test")
    check_run_fits(settings, data, "test", gpu=gpu)


@every
def test_what_the_original_work_ran_reads_causally_on_one_strand_without_flanks(
    preset: Preset,
) -> None:
    if preset.original == OriginalFigures():
        return
    readout = preset.run_settings(gpu=False).readout
    assert (readout.flank, readout.lookahead, readout.strands) == (0, 0, "forward")


# Typed from the original work's tables: F1, MCC, epochs of everything, batch, and one more.
ROWS = [
    ("zdna/two_stage", 0.6401, 0.6226, 6, 64, ("training.stages", "two_stage")),
    ("zdna/batch_1", 0.6283, 0.6136, 5, 1, ("training.accumulation", 4)),
    ("zdna/batch_128", 0.6378, 0.6205, 10, 128, ("training.positive_weight", 2.0)),
    ("zdna/constant", 0.6319, 0.6135, 12, 64, ("training.schedule", "constant")),
    ("zdna/batch_8", 0.6385, 0.6209, 12, 8, ("training.stages", "single")),
    ("zdna/five_folds", 0.6378, 0.6207, 12, 64, ("training.schedule", "linear")),
    ("zdna/augmented", 0.6437, 0.6282, 12, 64, ("training.shortest_crop", 80)),
    ("zdna/lora_full", 0.6181, 0.5989, 10, 64, ("lora.targets", "mixer+ffn")),
    ("zdna/lora_full_3_epochs", 0.6363, 0.6184, 3, 64, ("lora.targets", "mixer+ffn")),
    ("zdna/lora_mixer", 0.6291, 0.6106, 10, 64, ("lora.targets", "mixer")),
    ("zdna/lora_ffn", 0.6257, 0.6071, 10, 64, ("lora.targets", "ffn")),
    ("zdna/lora_short_filter", 0.6279, 0.6096, 10, 64, ("lora.targets", "short_filter")),
    ("zdna/lora_ffn_biases", 0.6301, 0.6118, 10, 64, ("lora.biases", True)),
    ("zdna/lora_embeddings", 0.5830, 0.5620, 10, 64, ("lora.targets", "embeddings")),
    ("g4/two_stage", 0.5779, None, 6, 64, ("training.positive_weight", 2.0)),
    ("g4/plateau", 0.5772, None, 12, 64, ("training.schedule", "plateau")),
    ("g4/single_stage", 0.5788, 0.5443, 12, 32, ("training.positive_weight", 8.0)),
    ("g4/light_weights", 0.5761, None, 12, 64, ("training.negative_weight", 0.7)),
    ("g4/lora_full", 0.5767, 0.5438, 10, 32, ("lora.rank", 8)),
    ("g4/lora_mixer", 0.5756, 0.5426, 10, 32, ("lora.targets", "mixer")),
    ("promoter/exp1", 0.8216, 0.6342, 10, 64, ("training.learning_rate", 6e-4)),
    ("promoter/exp2", None, None, 10, 32, ("training.learning_rate", 5e-4)),
    ("promoter/exp3", None, None, 10, 64, ("training.learning_rate", 2e-5)),
    ("promoter/exp4", None, None, 10, 8, ("training.learning_rate", 5e-4)),
    ("promoter/lora_full", 0.81, None, 10, 64, ("lora.dropout", 0.1)),
    ("promoter/lora_mixer", 0.81, None, 10, 64, ("lora.alpha", 32)),
    ("promoter/lora_ffn", 0.81, None, 10, 64, ("lora.rank", 8)),
    ("promoter/lora_ffn_biases", 0.81, None, 10, 64, ("lora.alpha", 16)),
    ("promoter/lora_embeddings", 0.81, None, 10, 64, ("lora.rank", 16)),
    ("promoter/lora_mixer_16", 0.81, None, 10, 64, ("lora.rank", 16)),
]


@pytest.mark.parametrize(
    ("name", "f1", "mcc", "epochs", "batch", "own"), ROWS, ids=[row[0] for row in ROWS]
)
def test_the_rows_of_the_original_work_stand_under_their_names(
    name: str, f1: float | None, mcc: float | None, epochs: int, batch: int, own: tuple[str, object]
) -> None:
    preset = load_preset(name)
    settings = preset.run_settings(gpu=False)
    section, _, key = own[0].partition(".")
    assert (preset.original.f1, preset.original.mcc) == (f1, mcc)
    assert training_stages(settings.training)[-1].epochs == epochs
    assert settings.training.batch_size == batch
    assert getattr(getattr(settings, section), key) == own[1]


@every
def test_only_the_rows_of_the_original_work_have_figures_of_the_original_work(
    preset: Preset,
) -> None:
    named = {row[0] for row in ROWS}
    assert preset.name in named or preset.original == OriginalFigures()


def test_the_original_work_s_roc_auc_is_kept_as_what_it_is() -> None:
    found = load_preset("zdna/two_stage").original
    assert (found.balanced_accuracy, found.accuracy) == (0.8046, 0.9664)
    assert "roc_auc" not in OriginalFigures.model_fields


@pytest.mark.parametrize("task", TASKS)
def test_every_task_has_the_baselines_and_ours(task: str) -> None:
    presets = load_presets(task)
    for name in ("kmer_logistic", "dilated_cnn", "bilstm", "rule"):
        assert presets[f"{task}/{name}"].run_settings(gpu=False).model.architecture == name
    best = "trees" if task == "zdna" else "hyenadna"
    assert presets[f"{task}/best"].run_settings(gpu=False).model.architecture == best


STATED_SHARES = [preset for preset in PRESETS if preset.original.trainable_share is not None]


@pytest.mark.parametrize("preset", STATED_SHARES, ids=lambda preset: preset.name)
def test_lora_trains_the_share_of_weights_that_the_original_work_states(preset: Preset) -> None:
    settings = preset.run_settings(gpu=False)

    def off(rank: int) -> float:
        changed = settings.updated({"lora.rank": rank}, "test")
        share = trainable_share(new_model(changed).classifier)
        return abs(share / (preset.original.trainable_share or 0.0) - 1)

    # 1 % off with the ranks that the original work names; where it names none, the nearest one.
    assert off(settings.lora.rank) < (0.05 if settings.lora.rank == 4 else 0.01)
    assert min((2, 4, 8, 16, 32), key=off) == settings.lora.rank


def test_float16_is_asked_for_only_where_there_is_a_gpu() -> None:
    preset = load_preset("promoter/exp2")
    assert preset.run_settings(gpu=True).training.precision == "float16"
    assert preset.run_settings(gpu=False).training.precision == "float32"


def test_unknown_names_list_what_there_is() -> None:
    with pytest.raises(InputError, match=r"preset: zdna/none: .*zdna/two_stage"):
        load_preset("zdna/none")
    with pytest.raises(InputError, match=r"preset: yeast/two_stage: unknown preset"):
        load_preset("yeast/two_stage")


def test_a_preset_that_needs_other_data_says_how_to_prepare_it() -> None:
    with pytest.raises(InputError, match=r"zdna/augmented: .*--lengths 120 --train-stride 60$"):
        select_presets(("zdna/augmented",), prepared("zdna"))
    with pytest.raises(InputError, match=r"zdna/best: .*--flank 512 --negatives random:3,tract:1$"):
        select_presets(("zdna/best",), prepared("zdna", train_stride=25, flank=544))
    with pytest.raises(InputError, match=r"zdna/five_folds: .*prepare with --split kfold:5$"):
        select_presets(("zdna/two_stage", "zdna/five_folds"), prepared("zdna"))


def test_all_takes_what_the_data_can_serve_and_names_the_rest() -> None:
    found = select_presets(("zdna/lookahead_head", "zdna/all"), prepared("zdna"))
    names = [preset.name for preset in found.presets]
    assert names[0] == "zdna/lookahead_head"
    assert len(set(names)) == len(names)
    left_out = {preset.name.partition("/")[2] for preset in found.left_out}
    overlapping = {"augmented", "overlap", "dilated_cnn_overlap", "lookahead_head_overlap"}
    with_tracks = {"dilated_cnn_tracks", "lookahead_head_tracks", "lookahead_head_scan"}
    with_tracks |= {"lookahead_head_surroundings", "trees_surroundings", "best"}
    assert left_out == overlapping | with_tracks | {"five_folds"}
    assert len(names) + len(left_out) == len(load_presets("zdna"))


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Put a file of presets in the place of those of zdna."""
    (tmp_path / "presets").mkdir()
    monkeypatch.setattr(presets, "SEARCH_SPACES", tmp_path)
    load_presets.cache_clear()
    yield lambda text: void((tmp_path / "presets" / "zdna.yaml").write_text(text))
    load_presets.cache_clear()


def void(value: object) -> None:
    """Do nothing with a value."""


def test_a_preset_takes_over_what_another_one_above_says(
    written: Callable[[str], None],
) -> None:
    text = """\
one:
  about: one
  original: {f1: 0.5}
  data: {lengths: [120], train_stride: 60}
  settings: {training.epochs: 3, training.batch_size: 4}
two: {about: two, like: one, data: {train_stride: 40}, settings: {training.epochs: 5}}
"""
    written(text)
    two = load_preset("zdna/two")
    assert two.settings == {"training.epochs": 5, "training.batch_size": 4}
    assert (two.data.lengths, two.data.train_stride) == ((120,), 40)
    assert two.original == OriginalFigures()


BAD = {
    "unknown key": ("one: {about: a, figures: {}}", r"presets.one.figures: unknown key"),
    "no line": ("one: {settings: {}}", "presets.one.about"),
    "like below": (
        "one: {about: a, like: two}\ntwo: {about: b}",
        r"one.like: two: unknown preset above",
    ),
    "no mapping": ("one: 3", "presets.one"),
    "name that leads elsewhere": ("../../x: {about: a}", r"presets\.\.\./\.\./x.*pattern"),
    "made-up figure": (
        "one: {about: a, original: {roc_auc: 0.8}}",
        "original.roc_auc: unknown key",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_file_of_presets_is_refused_with_its_place(
    written: Callable[[str], None], case: str
) -> None:
    text, message = BAD[case]
    written(text)
    with pytest.raises(InputError, match=message):
        load_presets("zdna")


def test_a_setting_that_there_is_not_is_refused_with_the_preset(
    written: Callable[[str], None],
) -> None:
    written("one: {about: a, settings: {training.epoch: 3}}")
    with pytest.raises(InputError, match=r"preset zdna/one: training\.epoch: unknown"):
        load_preset("zdna/one").run_settings(gpu=False)

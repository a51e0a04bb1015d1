"""What a notebook asks of a model: letters in, probabilities out, of any length."""

from __future__ import annotations

from fnmatch import fnmatch
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import hyena_ray
from hyena_ray.dataset.preparation import PrepareSettings, prepare
from hyena_ray.dataset.reader import PreparedData
from hyena_ray.dataset.tokens import codes_to_tokens, decode, encode, tokens_to_codes
from hyena_ray.errors import InputError
from hyena_ray.files import sha256_file
from hyena_ray.genome.called_regions import RegionSettings, Stretch, call_regions
from hyena_ray.genome.contigs import Fasta
from hyena_ray.genome.simulation import simulate_genome
from hyena_ray.model.build import build_model
from hyena_ray.model.predictor import ContigSlice, Scorer, SequencePredictor, window_starts
from hyena_ray.model.saved import save_window_model
from hyena_ray.model.settings import Architecture, LoraSettings, ModelSettings, Readout
from hyena_ray.model.window import WindowModel
from hyena_ray.storage import S3Path
from hyena_ray.tasks import TASKS
from hyena_ray.training.evaluation import predict
from hyena_ray.training.held_out import HeldOut
from hyena_ray.training.losses import class_weights
from hyena_ray.training.settings import TrainingSettings

WINDOW, FLANK = 40, 8


def model_of(task: str = "zdna", window: int = WINDOW) -> WindowModel:
    flank = FLANK if task == "zdna" else 0
    return build_model(
        ModelSettings(d_model=16, n_layer=1),
        Readout(window=window, flank=flank, lookahead=flank // 2),
        LoraSettings(),
        TASKS[task],
        seed=0,
    ).eval()


@pytest.fixture(scope="module")
def model() -> WindowModel:
    return model_of()


@pytest.fixture(scope="module")
def predictor(model: WindowModel) -> SequencePredictor:
    return SequencePredictor(model, "somewhere")


@pytest.fixture(scope="module")
def sequence() -> str:
    return "".join(np.random.default_rng(0).choice(list("ACGTacgtN"), 300))


def window_by_window(model: WindowModel, sequence: str, stride: int) -> np.ndarray:
    """The same by definition: every window alone, padded by hand."""
    found: list[list[float]] = [[] for _ in sequence]
    last = max(len(sequence) - WINDOW, 0)
    for start in sorted({*range(0, last, stride), last}):
        letters = [
            sequence[i].upper() if 0 <= i < len(sequence) else "N"
            for i in range(start - FLANK, start + WINDOW + FLANK)
        ]
        tokens = torch.tensor([["ACGTN".index(letter) + 7 for letter in letters]])
        with torch.inference_mode():
            scores = model.predict(tokens).softmax(-1)[0, :, 1].tolist()
        for base, score in enumerate(scores, start):
            if base < len(sequence):
                found[base].append(score)
    return np.array(
        [
            np.nan if letter in "Nn" else np.mean(scores)
            for letter, scores in zip(sequence, found, strict=True)
        ]
    )


@settings(max_examples=20)
@given(length=st.integers(1, 200), stride=st.integers(1, WINDOW))
def test_every_base_has_the_mean_over_the_windows_that_hold_it(
    predictor: SequencePredictor, sequence: str, length: int, stride: int
) -> None:
    stride = max(stride, length // 20)  # the loop above is slow
    found = predictor.predict(sequence[:length], stride=stride)
    assert isinstance(found, np.ndarray)
    assert (found.shape, found.dtype) == ((length,), np.float32)
    expected = window_by_window(predictor.model, sequence[:length], stride)
    np.testing.assert_allclose(found, expected, atol=1e-5)


@given(length=st.integers(1, 500), window=st.integers(1, 50), data=st.data())
def test_windows_cover_a_sequence_and_do_not_leave_it(
    length: int, window: int, data: st.DataObject
) -> None:
    stride = data.draw(st.integers(1, window))
    starts = window_starts(length, window, stride, 0, length)
    covered = np.zeros(max(length, window), bool)
    for start in starts:
        covered[start : start + window] = True
    assert covered.all()
    assert starts[0] == 0
    assert starts[-1] == max(length - window, 0)
    assert (np.diff(starts) >= 1).all()


def test_batches_change_nothing_but_the_last_bits(model: WindowModel, sequence: str) -> None:
    whole, size = ContigSlice(0, tokens_to_codes(encode(sequence))), len(sequence)
    one, many = (Scorer(model, batch).score(whole, size, 0, size, step=7) for batch in (1, 64))
    np.testing.assert_allclose(one, many, atol=1e-6)


def test_windows_of_a_contig_have_the_probabilities_of_evaluate(
    predictor: SequencePredictor, tmp_path: Path
) -> None:
    made = simulate_genome(tmp_path, contig_length=100 * WINDOW, tracts=60, decoys=20)
    recipe = PrepareSettings(
        task="zdna",
        genome=made.genome,
        regions=made.regions,
        lengths=(WINDOW,),
        stretch=WINDOW,
        flank=FLANK,
        scan=True,
    )
    prepare(recipe, tmp_path / "data")
    held_out = HeldOut.read(PreparedData.open(tmp_path / "data"), "test")
    windows, weights = held_out.rows, class_weights(TrainingSettings())
    expected = predict(predictor.model, held_out, weights).scores(predictor.model.calibration)
    contigs = {contig.name: decode(codes_to_tokens(contig.codes)) for contig in Fasta(made.genome)}
    found = {
        name: predictor.predict(contigs[name], stride=WINDOW) for name in np.unique(windows.contig)
    }
    ends = 0
    for contig, start, scores in zip(windows.contig, windows.start, expected, strict=True):
        one = found[contig]
        assert isinstance(one, np.ndarray)
        letters = np.array(list(contigs[contig][start : start + WINDOW]))
        expected = np.where(letters == "N", np.nan, scores)
        np.testing.assert_allclose(one[start : start + WINDOW], expected, atol=1e-6)
        ends += start in (0, len(one) - WINDOW)
    assert len(windows.start) > 50
    assert ends, "no window at the end of a contig, where N was filled in"


def test_lower_case_is_sequence(predictor: SequencePredictor, sequence: str) -> None:
    np.testing.assert_array_equal(
        predictor.predict(sequence.lower()), predictor.predict(sequence.upper())
    )


def test_a_list_has_a_result_for_each(predictor: SequencePredictor, sequence: str) -> None:
    parts = [sequence[:30], sequence[30:200]]
    for found, part in zip(predictor.predict(parts), parts, strict=True):
        np.testing.assert_array_equal(found, predictor.predict(part))
    assert predictor.predict([]) == []


def test_a_sequence_with_one_label_has_a_float() -> None:
    predictor = SequencePredictor(model_of("promoter", 70), "somewhere")
    sequences = ["ACGTA" * 14, "ggggg" * 14]
    one = predictor.predict(sequences[0])
    assert isinstance(one, float)
    tokens = torch.from_numpy(np.stack([encode(s) for s in sequences]))
    with torch.inference_mode():
        expected = predictor.model.predict(tokens).softmax(-1)[:, 0, 1].tolist()
    assert predictor.predict(sequences) == pytest.approx(expected, abs=1e-6)
    assert one == pytest.approx(expected[0], abs=1e-6)
    with pytest.raises(InputError, match="sequence 2: 69 bases: the model reads 70"):
        predictor.predict([sequences[0], "A" * 69])
    with pytest.raises(InputError, match="labels whole sequences and finds no regions"):
        predictor.predict_regions(sequences[0])


@pytest.mark.parametrize(
    ("sequence", "message"),
    [
        ("ACGUACGT", "sequence: 'U': letter 4 of the sequence is not one of A C G T N; give DNA"),
        ("ACGT\n", r"sequence: '\n': letter 5 of"),
        ("ACRT", "sequence: 'R': letter 3 of"),
        ("", "sequence: is empty; give bases"),
        (["ACGT", "AC-T"], "sequence 2: '-': letter 3 of"),
    ],
)
def test_what_is_no_dna_is_refused_with_its_place(
    predictor: SequencePredictor, sequence: str | list[str], message: str
) -> None:
    with pytest.raises(InputError) as error:
        predictor.predict(sequence)
    assert str(error.value).startswith(message)


@pytest.mark.parametrize("stride", [0, WINDOW + 1])
def test_windows_with_gaps_are_refused(predictor: SequencePredictor, stride: int) -> None:
    with pytest.raises(InputError, match=f"stride: {stride}: not within 1 to {WINDOW}"):
        predictor.predict("ACGT", stride=stride)


def test_regions_are_the_runs_at_or_above_the_threshold(
    predictor: SequencePredictor, sequence: str
) -> None:
    scores = predictor.predict(sequence)
    assert isinstance(scores, np.ndarray)
    threshold = float(np.nanmedian(scores))
    every = {"threshold": threshold, "min_length": 1, "merge_gap": 0}
    found = predictor.predict_regions(sequence, **every)
    assert len(found) > 3
    called = np.zeros(len(sequence), bool)
    for start, end, score in found:
        called[start:end] = True
        assert score == pytest.approx(scores[start:end].mean())
    np.testing.assert_array_equal(called, scores >= threshold)
    for before, after in pairwise(found):
        assert before.end < after.start
    assert predictor.predict_regions(sequence, threshold=1.1) == []
    # As in a prediction, the task says what is too short and what is one region.
    task = TASKS["zdna"]
    given = RegionSettings(
        threshold=threshold, min_length=task.min_length, merge_gap=task.merge_gap
    )
    joined = call_regions([Stretch("", 0, scores)], given)
    assert predictor.predict_regions(sequence, threshold=threshold) == [
        (region.start, region.end, region.mean) for region in joined
    ]


def test_load_takes_a_folder_a_uri_and_a_hub_id(
    model: WindowModel, sequence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model.threshold = 0.375
    save_window_model(model, tmp_path / "model")
    expected = SequencePredictor(model, "").predict(sequence)
    asked: list[tuple[str, str]] = []

    def download(repo: str, *, revision: str, allow_patterns: list[str]) -> str:
        asked.append((repo, revision))
        for name in ("config.json", "model.safetensors", "readout.json", "data.json"):
            assert any(fnmatch(name, pattern) for pattern in allow_patterns), name
        return str(tmp_path / "model")

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    folder = tmp_path / "model"
    for found in (
        hyena_ray.load(folder),
        hyena_ray.load(str(folder)),
        hyena_ray.load(folder.as_uri()),
        hyena_ray.load("someone/some-model", revision="0123abc"),
    ):
        np.testing.assert_array_equal(found.predict(sequence), expected)
        assert found.threshold == 0.375
        assert "hyenadna" in repr(found)
        assert "threshold 0.375" in repr(found)
    assert asked == [("someone/some-model", "0123abc")]
    with pytest.raises(InputError, match="a hub id needs a revision"):
        hyena_ray.load("someone/some-model")
    with pytest.raises(InputError, match="no folder and no hub id"):
        hyena_ray.load(tmp_path / "nowhere")


def test_a_folder_of_a_run_is_as_good_as_its_model_however_the_path_is_given(
    model: WindowModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_window_model(model, tmp_path / "run" / "model")
    monkeypatch.setenv("HOME", str(tmp_path))
    expected = SequencePredictor(model, "").predict("ACGT")
    for path in (tmp_path / "run", str(tmp_path / "run"), "~/run", Path("~/run"), "~/run/model"):
        np.testing.assert_array_equal(hyena_ray.load(path).predict("ACGT"), expected)
        assert hyena_ray.load_window_model(path).readout == model.readout


def test_a_folder_without_a_model_is_refused_with_what_was_looked_for(tmp_path: Path) -> None:
    for read in (hyena_ray.load, hyena_ray.load_window_model):
        with pytest.raises(InputError) as refusal:
            read(tmp_path)
        assert f"{tmp_path}/readout.json nor {tmp_path}/model/readout.json" in str(refusal.value)


@pytest.mark.parametrize("path", [None, 5, "", b"run", "~no-such-user/run", "gs://bucket/run"])
def test_what_is_no_path_is_refused_by_everything_that_reads_one(path: Any) -> None:
    readers: list[Any] = [
        hyena_ray.load,
        hyena_ray.load_window_model,
        hyena_ray.PreparedData.open,
        hyena_ray.HyenaDNAModel.from_pretrained,
    ]
    for read in readers:
        with pytest.raises(InputError, match=r"^location: .*; give "):
            read(path)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda own: own.predict(5), "sequence: int: "),
        (lambda own: own.predict(b"ACGT"), "sequence: bytes: "),
        (lambda own: own.predict(["ACGT", None]), "sequence 2: NoneType: "),
        (lambda own: own.predict("ACGT", stride="1"), "stride: str: "),
        (lambda own: own.predict("ACGT", tracks=5), "sequence: tracks: int: "),
        (lambda own: own.predict_regions(5), "sequence: int: "),
        (lambda own: own.predict_regions("ACGT", threshold="high"), "regions: threshold: high: "),
    ],
)
def test_a_wrong_argument_is_refused_with_what_to_give(
    predictor: SequencePredictor, call: Any, message: str
) -> None:
    with pytest.raises(InputError, match=f"^{message}.*; "):
        call(predictor)


def test_load_takes_a_place_on_s3(model: WindowModel, bucket: S3Path, tmp_path: Path) -> None:
    save_window_model(model, tmp_path / "model")
    save_window_model(model, bucket / "model")
    name = "model/model.safetensors"
    assert sha256_file(bucket / name) == sha256_file(tmp_path / name)
    found = hyena_ray.load(str(bucket / "model"))
    np.testing.assert_array_equal(
        found.predict("ACGT"), hyena_ray.load(tmp_path / "model").predict("ACGT")
    )


@pytest.mark.parametrize("architecture", get_args(Architecture))
def test_only_where_windows_agree_does_a_scan_leave_out_their_overlap(
    architecture: str, sequence: str
) -> None:
    """With a flank that is as long as what a base depends on, and with one that is a base less."""
    torch.manual_seed(0)
    settings = ModelSettings.parse(
        {"architecture": architecture, "d_model": 16, "n_layer": 1, "channels": 8, "k": 3}, "test"
    )
    build = partial(build_model, settings, lora=LoraSettings(), task=TASKS["zdna"], seed=0)
    reach = build(Readout(window=WINDOW, flank=FLANK, lookahead=0)).classifier.reach
    if reach is None:
        model = build(Readout(window=WINDOW, flank=FLANK, lookahead=0)).eval()
        assert model.scan_step == WINDOW // 2
        return
    short = build(Readout(window=WINDOW, flank=reach - 1, lookahead=0))
    assert short.scan_step == WINDOW // 2
    model = build(Readout(window=WINDOW, flank=reach, lookahead=0)).eval()
    for weights in (*model.parameters(), *model.buffers()):  # trees are empty before a fit
        if weights.is_floating_point():
            weights.data.uniform_(-1, 1)
    assert model.scan_step == WINDOW
    predictor = SequencePredictor(model, "somewhere")
    once, often = predictor.predict(sequence), predictor.predict(sequence, stride=7)
    assert len(set(once[~np.isnan(once)])) > 10
    np.testing.assert_array_equal(once, often)

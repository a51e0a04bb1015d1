"""An ensemble is the mean of its members' calibrated probabilities, whatever windows they read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from hyena_ray.dataset.stretches import join_windows, window_offsets
from hyena_ray.errors import InputError
from hyena_ray.model.beta_calibration import BetaCalibration
from hyena_ray.model.build import build_model
from hyena_ray.model.ensemble import Ensemble, load_scorer, scorer_of
from hyena_ray.model.predictor import ContigSlice, Scorer, probabilities
from hyena_ray.model.saved import model_sha256, save_window_model
from hyena_ray.model.settings import LoraSettings, ModelSettings, Readout
from hyena_ray.model.window import WindowModel
from hyena_ray.tasks import TASKS

KINDS = {
    "hyenadna": {"d_model": 8, "n_layer": 1},
    "dilated_cnn": {},
    "kmer_logistic": {"k": 3},
}


def model(
    architecture: str = "kmer_logistic",
    window: int = 40,
    flank: int = 8,
    seed: int = 0,
    task: str = "zdna",
) -> WindowModel:
    """An untrained model whose weights and calibration are large enough to matter."""
    lookahead = flank if architecture == "hyenadna" else 0
    built = build_model(
        ModelSettings(architecture=architecture, **KINDS[architecture]),  # type: ignore[arg-type]
        Readout(window=window, flank=flank, lookahead=lookahead),
        LoraSettings(),
        TASKS[task],
        seed=seed,
    )
    built.calibration = BetaCalibration(above=0.5 + seed, below=2.0, offset=-seed)
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in built.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.3)
    return built.eval()


def tokens(window: int, flank: int, rows: int = 3) -> torch.Tensor:
    return torch.randint(7, 11, (rows, window + 2 * flank))


@pytest.mark.parametrize("others", [("dilated_cnn",), ("kmer_logistic", "dilated_cnn")])
def test_windows_of_one_length_get_the_mean_of_the_probabilities(others: tuple[str, ...]) -> None:
    members = [model("hyenadna"), *(model(name, flank=4, seed=1) for name in others)]
    ids = tokens(40, 8)
    with torch.inference_mode():
        expected = torch.stack([probabilities(member, ids) for member in members]).mean(0)
        found = probabilities(Ensemble(members), ids)
    assert expected.std() > 0.01, "the members say something"
    torch.testing.assert_close(found, expected)


def test_a_member_reads_a_longer_window_as_it_reads_a_stretch() -> None:
    short, long = model(window=40, flank=6), model("dilated_cnn", window=100, flank=10)
    ensemble = Ensemble([short, long])
    assert (ensemble.readout.window, ensemble.readout.required_flank) == (100, 10)
    stored = 12
    ids = tokens(100, stored)
    with torch.inference_mode():
        parts = [
            probabilities(short, ids[:, at : at + 40 + 2 * stored])
            for at in window_offsets(100, 40).tolist()
        ]
        joined = join_windows(torch.stack(parts, 1).flatten(0, 1).numpy(), 100)
        expected = (torch.from_numpy(joined) + probabilities(long, ids)) / 2
        torch.testing.assert_close(probabilities(ensemble, ids), expected)


def test_the_order_of_the_members_changes_no_bit() -> None:
    members = [model(seed=seed) for seed in range(3)]
    ids = tokens(40, 8)
    one, other = Ensemble(members), Ensemble(members[::-1])
    with torch.inference_mode():
        assert torch.equal(one.predict(ids), other.predict(ids))
    assert model_sha256(one) == model_sha256(other)
    assert sorted(model_sha256(one).split(",")) == sorted(map(model_sha256, members))


def test_a_member_that_saturates_does_not_outvote_the_others() -> None:
    sure, unsure = model(seed=1), model(seed=2)
    with torch.no_grad():
        sure.classifier.score.bias.copy_(torch.tensor([500.0, -500.0]))
    ids = tokens(40, 8)
    with torch.inference_mode():
        found = probabilities(Ensemble([sure, unsure]), ids)
        torch.testing.assert_close(found, probabilities(unsure, ids) / 2)
        assert torch.isfinite(Ensemble([sure, unsure]).predict(ids)).all()


def test_a_contig_is_scored_as_by_its_members() -> None:
    members = [model(seed=seed) for seed in range(2)]
    codes = np.random.default_rng(0).integers(0, 5, 333).astype(np.uint8)

    def track(scored: torch.nn.Module) -> np.ndarray:
        with Scorer(scored) as scorer:  # type: ignore[arg-type]
            return scorer.score(ContigSlice(0, codes), 333, 0, 333, step=20)

    np.testing.assert_allclose(
        track(Ensemble(members)), np.mean([track(member) for member in members], 0), atol=2e-6
    )


def test_the_strands_of_every_member_can_be_changed() -> None:
    ensemble = Ensemble([model(seed=seed) for seed in range(2)])
    ensemble.read_strands("forward")
    assert {member.readout.strands for member in ensemble.members} == {"forward"}


def test_regions_of_an_ensemble_are_those_of_the_task() -> None:
    ensemble = Ensemble([model(seed=seed) for seed in range(2)])
    ensemble.threshold = 0.3
    found, task = ensemble.regions, TASKS["zdna"]
    assert (found.min_length, found.merge_gap) == (task.min_length, task.merge_gap)
    assert found.threshold == 0.3


def test_what_is_no_ensemble_is_refused(tmp_path: Path) -> None:
    folders = []
    for name, seed in (("first", 0), ("copy", 0), ("other", 1)):
        folders.append(tmp_path / name)
        save_window_model(model(seed=seed), folders[-1])
    assert isinstance(load_scorer([folders[0], folders[2]]), Ensemble)
    assert isinstance(load_scorer(folders[:1]), WindowModel)
    with pytest.raises(InputError, match="same model"):
        load_scorer(folders)
    sequences = build_model(
        ModelSettings(architecture="kmer_logistic", k=3, pooling="mean"),
        Readout(window=40, flank=0, lookahead=0, strands="forward"),
        LoraSettings(),
        TASKS["promoter"],
        seed=0,
    )
    for other in (sequences, model(task="g4", seed=1)):
        with pytest.raises(InputError, match="one task"):
            scorer_of([model(), other], [Path("first"), Path("other")])

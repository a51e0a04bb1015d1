"""The sanity job refuses what it cannot check, and writes nothing then."""

from __future__ import annotations

from pathlib import Path

import pytest

from hyena_ray.dataset.preparation import PrepareSettings, prepare
from hyena_ray.errors import InputError
from hyena_ray.files import read_json
from hyena_ray.genome.simulation import simulate_genome
from hyena_ray.model.build import build_model
from hyena_ray.model.saved import save_window_model
from hyena_ray.model.settings import LoraSettings, ModelSettings, Readout
from hyena_ray.outcomes import Outcome
from hyena_ray.tasks import TASKS
from tests.command_line import run_job

WINDOW = 40


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`data/`, an untrained `model/` that calls every base, and `short/` that reads shorter
    windows."""
    folder = tmp_path_factory.mktemp("sanity")
    made = simulate_genome(folder, contig_length=20_000, tracts=80, decoys=40)
    prepare(
        PrepareSettings(
            task="zdna",
            genome=made.genome,
            regions=made.regions,
            lengths=(WINDOW,),
            stretch=2 * WINDOW,
            flank=8,
        ),
        folder / "data",
    )
    for name, window in (("model", WINDOW), ("short", 20)):
        model = build_model(
            ModelSettings(d_model=16, n_layer=1),
            Readout(window=window, flank=8, lookahead=4),
            LoraSettings(),
            TASKS["zdna"],
            seed=1,
        )
        model.threshold = 0.0
        save_window_model(model, folder / name)
    return folder


def job(inputs: Path, out: Path, *more: str) -> Outcome:
    given = ["--model", f"{inputs}/model", "--data", f"{inputs}/data", "--out", str(out)]
    return run_job("sanity", *given, "--limit", "60", "--methods", "input_x_gradient", *more)


def test_every_check_is_in_the_file_and_on_the_screen(inputs: Path, tmp_path: Path) -> None:
    done = job(inputs, tmp_path / "out", "--random-labels", f"{inputs}/model")
    found = read_json(tmp_path / "out" / "sanity.json")
    assert found["simulated"] is True
    (check,) = found["checks"]
    assert check["random_labels"] == pytest.approx(1)
    assert abs(check["random_weights"]) < 1
    assert 0 <= check["planted_auroc"] <= 1
    assert len(check["curves"]["deletion"]) == len(check["by_chance"]["insertion"])
    assert "input x gradient" in done.text
    assert done.found == found
    (tmp_path / "out" / "sanity.json").write_text("{}")
    job(inputs, tmp_path / "out", "--overwrite")
    assert read_json(tmp_path / "out" / "sanity.json")["checks"]


REFUSED: dict[str, tuple[list[str], str]] = {
    "method": (["--methods", "ig,shap"], "--methods: shap: unknown"),
    "limit": (["--limit", "0"], "--limit: 0: "),
    "split": (["--split", "holdout"], "--split: holdout: .* train, val, test"),
    "model": (["--model", "nowhere"], "nowhere: there is no such folder"),
    "data": (["--data", "nowhere"], "nowhere: there is no such folder"),
    "other model": (["--random-labels", "nowhere"], "nowhere: there is no such folder"),
    "other windows": (
        ["--random-labels", "{inputs}/short"],
        "--random-labels: .*reads windows otherwise than .*permute_labels=true",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_checked_is_refused_and_nothing_is_written(
    inputs: Path, tmp_path: Path, case: str
) -> None:
    more, message = REFUSED[case]
    with pytest.raises(InputError, match=message):
        job(inputs, tmp_path / "out", *(word.format(inputs=inputs) for word in more))
    assert not (tmp_path / "out").exists()

"""Several models in one table: what is written, what is warned of, and what is refused."""

from __future__ import annotations

import json
import logging
import re
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from scipy.stats import kendalltau

from hyena_ray.attribution import consensus
from hyena_ray.dataset.preparation import PrepareSettings, prepare
from hyena_ray.errors import InputError
from hyena_ray.files import read_json
from hyena_ray.genome.simulation import simulate_genome
from hyena_ray.model.build import build_model
from hyena_ray.model.saved import save_window_model
from hyena_ray.model.settings import LoraSettings, ModelSettings, Readout
from hyena_ray.outcomes import Outcome
from hyena_ray.runs.plan import check_seal, sealed
from hyena_ray.tasks import TASKS
from tests.command_line import run_job
from tests.jobs.attributed import attribute_here

WINDOW = 40
METHODS = ("input_x_gradient", "ig")
SETTINGS = {"methods": METHODS, "steps": 2, "tolerance": None, "shuffles": 1}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Attributions `seed0/kmers`, `seed1/kmers` and `seed2` of three untrained models; of the first
    also `four`, of other k-mers, and `tp`, of another method; and prepared `data`."""
    folder = tmp_path_factory.mktemp("combine")
    made = simulate_genome(folder, contig_length=20_000, tracts=150, decoys=40)
    prepare(
        PrepareSettings(
            task="zdna", genome=made.genome, regions=made.regions, lengths=(WINDOW,), flank=8
        ),
        folder / "data",
    )
    for seed, name in enumerate(("seed0/kmers", "seed1/kmers", "seed2")):
        model = build_model(
            ModelSettings(d_model=16, n_layer=1, max_seq_len=130),
            Readout(window=WINDOW, flank=8, lookahead=4),
            LoraSettings(),
            TASKS["zdna"],
            seed=seed,
        )
        model.threshold = 0.0
        save_window_model(model, folder / f"model{seed}")
        attribute_here(folder / f"model{seed}", folder / "data", folder / name, k=3, **SETTINGS)
    attribute_here(folder / "model1", folder / "data", folder / "four", k=4, **SETTINGS)
    attribute_here(
        folder / "model1", folder / "data", folder / "tp", k=3, **(SETTINGS | {"methods": ("tp",)})
    )
    return folder


def combine(out: Path, *folders: Path) -> Outcome:
    return run_job("combine", "--attributions", ",".join(map(str, folders)), "--out", out)


def test_every_kmer_has_mean_spread_and_ranks_over_the_models(runs: Path, tmp_path: Path) -> None:
    folders = [runs / name for name in ("seed0/kmers", "seed1/kmers", "seed2")]
    done = combine(tmp_path / "out", *folders)
    names = ("seed0/kmers", "seed1/kmers", runs.name + "/seed2")
    assert done.found["models"] == names
    assert done.simulated is True
    for method in METHODS:
        own = [
            pq.read_table(folder / "kmers" / f"{method}.parquet").to_pandas().set_index("kmer")
            for folder in folders
        ]
        found = pq.read_table(tmp_path / "out" / "kmers" / f"{method}.parquet")
        table = found.to_pandas().set_index("kmer")
        shared = sorted(set.intersection(*(set(one.index) for one in own)))
        assert sorted(table.index) == shared
        scores = np.array([one.loc[table.index, "score"] for one in own])
        np.testing.assert_allclose(table["score"], scores.mean(axis=0))
        np.testing.assert_allclose(table["sd"], scores.std(axis=0, ddof=1))
        ranks = np.array(
            [one.loc[table.index, "shrunken_score"].rank(ascending=False) for one in own]
        )
        np.testing.assert_allclose(table["mean_rank"], ranks.mean(axis=0))
        np.testing.assert_allclose(table["best_rank"], ranks.min(axis=0))
        np.testing.assert_allclose(table["worst_rank"], ranks.max(axis=0))
        assert (np.diff(table["mean_rank"]) >= 0).all()
        significant = sum((one.loc[table.index, "q_value"] < 0.05).astype(int) for one in own)
        assert (table["significant"] == significant).all()
        pairs = [row for row in done.found["agreement"] if row["method"] == method]
        assert [(row["first"], row["second"]) for row in pairs] == [
            (names[0], names[1]),
            (names[0], names[2]),
            (names[1], names[2]),
        ]
        tau = kendalltau(own[0].loc[shared, "shrunken_score"], own[2].loc[shared, "shrunken_score"])
        assert pairs[1]["kendall_tau"] == pytest.approx(tau.statistic)
        header = (tmp_path / "out" / "kmers" / f"{method}.csv").read_text().splitlines()[0]
        assert header == ",".join(found.column_names)


def test_the_page_shows_every_method(runs: Path, tmp_path: Path) -> None:
    done = combine(tmp_path / "out", runs / "seed0/kmers", runs / "seed2")
    run_job("report", tmp_path / "out")
    text = (done.written["k-mers"].parent / "report.html").read_text()
    assert re.findall(r'<section id="([^"]+)"', text) == ["models", "run"]
    assert text.count("<svg") == 2


@pytest.mark.parametrize("least", [-1.0, 1.0])
def test_models_that_disagree_are_warned_of_everywhere(
    runs: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    least: float,
) -> None:
    monkeypatch.setattr(consensus, "LEAST_TAU", least)
    with caplog.at_level(logging.WARNING):
        done = combine(tmp_path / "out", runs / "seed0/kmers", runs / "seed1/kmers")
    notes = read_json(tmp_path / "out" / "manifest.json")["notes"]
    assert len(notes) == sum(row["kendall_tau"] < least for row in done.found["agreement"])
    stored = []
    for method in METHODS:
        path = tmp_path / "out" / "kmers" / f"{method}.parquet"
        stored += json.loads(pq.read_schema(path).metadata[b"notes"])
    assert stored == notes
    run_job("report", tmp_path / "out")
    page = (tmp_path / "out" / "report.html").read_text()
    assert ("Warning: " in page) == bool(notes)
    for note in notes:
        assert note in caplog.text
        assert note in done.text


REFUSED = {
    "one": (["seed2"], "--attributions: .*fewer than two"),
    "twice": (["seed2", "seed2"], "--attributions: .*seed2: is given twice"),
    "no run": (["seed2", "nowhere"], "--attributions: .*nowhere: there is no such folder"),
    "other kind": (
        ["seed2", "data"],
        "--attributions: .*data: is prepared data, not an attribution",
    ),
    "other k": (["seed2", "four"], "--attributions: .*four: k 4: differs from the 3 of .*seed2"),
    "same model": (["seed1/kmers", "four"], "--attributions: .*four: the same model"),
    "other method": (["seed2", "tp"], "--attributions: .*no method that scores bases"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_combined_is_refused_and_nothing_is_written(
    runs: Path, tmp_path: Path, case: str
) -> None:
    folders, message = REFUSED[case]
    with pytest.raises(InputError, match=message):
        combine(tmp_path / "out", *(runs / name for name in folders))
    assert not (tmp_path / "out").exists()


def test_simulated_and_real_dna_are_never_combined(runs: Path, tmp_path: Path) -> None:
    real = tmp_path / "real"
    real.mkdir()
    for path in (runs / "seed1/kmers").iterdir():
        if path.name != "manifest.json":
            (real / path.name).symlink_to(path)
    path = runs / "seed1/kmers" / "manifest.json"
    manifest = check_seal(read_json(path), path)
    (real / "manifest.json").write_text(json.dumps(sealed(manifest | {"simulated": False})))
    with pytest.raises(InputError, match=r"real: is of real DNA, and .*seed2 of simulated DNA"):
        combine(tmp_path / "out", runs / "seed2", real)


def test_the_output_is_never_an_input_and_is_replaced_only_when_asked(
    runs: Path, tmp_path: Path
) -> None:
    folders = (runs / "seed0/kmers", runs / "seed2")
    combine(tmp_path / "out", *folders)
    with pytest.raises(InputError, match=r"--out: .*exists already"):
        combine(tmp_path / "out", *folders)
    given = ("--attributions", ",".join(map(str, folders)), "--overwrite")
    run_job("combine", *given, "--out", tmp_path / "out")
    with pytest.raises(InputError, match=r"--out: .*an attribution, not a combination"):
        run_job("combine", *given, "--out", runs / "four")

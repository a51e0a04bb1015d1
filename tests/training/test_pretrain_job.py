"""jobs/pretrain.py as a user runs it: alone, on two workers, stopped and resumed."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import get_args

import pytest
import torch
from safetensors.torch import load_file

from hyena_ray.cluster.resources import Cluster
from hyena_ray.dataset.preparation import PrepareSettings, prepare
from hyena_ray.errors import InputError, JobError
from hyena_ray.files import sha256_file
from hyena_ray.genome.simulation import simulate_genome
from hyena_ray.model.provenance import read_provenance
from hyena_ray.outcomes import SIMULATED
from hyena_ray.training.genome_stream import WindowStream
from hyena_ray.training.markov import markov_perplexities
from hyena_ray.training.pretrain_genome import held_out_windows, read_genome
from hyena_ray.training.pretrain_record import ALL, PretrainRecord
from hyena_ray.training.pretraining import new_objective, pretrain
from hyena_ray.training.settings import Objective, PretrainSettings
from tests.command_line import run_job

pytestmark = pytest.mark.slow

JOBS = Path(__file__).parents[2] / "jobs"
STEPS = [
    *("--held-out", "sim2", "--leave-out", "sim3"),
    "--set=training.lengths=[16, 32]",
    *("--set=training.steps=12", "--set=training.tokens_per_step=128"),
    *("--set=training.checkpoint_every=5", "--set=training.evaluate_every=6"),
    "--set=held_out.windows=20",
]
SMALL = [*STEPS, "--set=model.d_model=8", "--set=model.n_layer=1"]


@pytest.fixture(scope="module")
def genome(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of four contigs, sim1 to sim4; beside it `data/`, tested on the last ones."""
    folder = tmp_path_factory.mktemp("genome")
    made = simulate_genome(folder, contig_length=10_000, tracts=120, decoys=60)
    recipe = PrepareSettings(
        task="zdna", genome=made.genome, regions=made.regions, lengths=(20,), flank=6
    )
    prepare(recipe, folder / "data")
    return made.genome


@pytest.fixture(scope="module")
def done(genome: Path, tmp_path_factory: pytest.TempPathFactory, cluster: Cluster) -> Path:
    """A finished run on one worker."""
    out = tmp_path_factory.mktemp("run") / "out"
    found = run_job("pretrain", "--genome", str(genome), "--out", str(out), *SMALL)
    assert found.written["backbone"] == out / "backbone"
    assert found.simulated
    assert found.text.splitlines()[0] == SIMULATED
    assert found.text.splitlines()[1].split()[:4] == ["perplexity", "model", "order", "1"]
    return out


def test_the_job_trains_what_the_loop_alone_trains(
    done: Path, genome: Path, tmp_path: Path
) -> None:
    record = PretrainRecord.read(done)
    settings = record.settings
    read = read_genome(genome, settings, leave_out=["sim3"], held_out=["sim2"])
    windows = dict(held_out_windows(read, settings))
    torch.set_num_threads(1)
    alone = pretrain(
        settings,
        WindowStream(read.train, settings).batches,
        windows,
        tmp_path,
        lambda step: None,
        fingerprint=settings.fingerprint(),
    )
    assert [look.model_dump() for look in record.history] == alone.history
    weights = load_file(done / "backbone" / "model.safetensors")
    state = alone.model.cpu().state_dict()
    ours = {name.removeprefix("model."): value for name, value in state.items()}
    assert all(torch.equal(value, ours[name]) for name, value in weights.items())
    expected = markov_perplexities(read.train, windows)
    assert record.markov == {str(order): values for order, values in expected.items()}
    assert list(record.markov) == [str(order) for order in range(1, 9)]
    assert set(record.history[-1].perplexity) == {"sim2", ALL}


def test_the_manifest_says_what_was_seen_of_which_genome(done: Path, genome: Path) -> None:
    found = read_provenance(done / "backbone")
    assert found is not None
    assert found == PretrainRecord.read(done).provenance
    assert (found.genome, found.genome_sha256) == ("genome.fa", sha256_file(genome))
    uses = {contig.name: contig.use for contig in found.contigs}
    assert uses == {"sim1": "trained", "sim2": "held_out", "sim3": "left_out", "sim4": "trained"}


def test_fine_tuning_takes_the_backbone_and_warns_of_what_it_has_seen(
    done: Path, genome: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    arguments = ["--data", str(genome.parent / "data"), "--out", str(tmp_path / "run")]
    arguments += ["--backbone", str(done / "backbone"), "--set=data.length=20"]
    arguments += ["--set=readout.flank=6", "--set=readout.lookahead=6", "--set=data.limit=50"]
    run_job("train", *arguments, "--set=training.epochs=1")
    (warning,) = (line for line in caplog.records if line.name == "hyena_ray.training.leaks")
    assert "test contigs were seen in pretraining: sim4 (trained on)" in warning.getMessage()
    assert (tmp_path / "run" / "manifest.json").exists()


def test_a_finished_run_is_not_trained_again(
    done: Path, genome: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def times() -> dict[Path, int]:
        # The page is drawn anew from what is in the folder.
        files = (path for path in done.rglob("*") if path.is_file() and path.suffix != ".html")
        return {path: path.stat().st_mtime_ns for path in files}

    before = times()
    with caplog.at_level(logging.INFO):
        run_job("pretrain", "--genome", str(genome), "--out", str(done), *SMALL, "--resume")
    assert "complete already" in caplog.text
    assert times() == before


def test_a_dry_run_plans_what_the_job_does_and_writes_nothing(
    done: Path, genome: Path, tmp_path: Path
) -> None:
    arguments = ["--genome", str(genome), "--dry-run", *SMALL]
    planned = run_job("pretrain", *arguments, "--out", str(tmp_path / "out"))
    assert list(tmp_path.iterdir()) == []
    assert planned.written == {}
    assert planned.simulated
    settings = PretrainRecord.read(done).settings
    read = read_genome(genome, settings, leave_out=["sim3"], held_out=["sim2"])
    assert planned.found["bases"] == {
        "trained": read.train.lengths.sum(),
        "held_out": read.held_out.lengths.sum(),
    }
    assert planned.found["left_out"] == ["sim3"]
    assert planned.found["held_out_windows"] == 20
    assert planned.found["stages"] == [stage._asdict() for stage in settings.stages()]
    assert planned.found["estimated_seconds"] > 0
    assert "    steps 1 to 4" in planned.text
    assert "2 to do, each of 20 held-out windows of 32 bases" in planned.text


def test_a_dry_run_of_what_is_begun_plans_what_is_left(done: Path, genome: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in done.rglob("*") if path.is_file()}
    arguments = ["--genome", str(genome), "--out", str(done), "--dry-run", "--resume", *SMALL]
    planned = run_job("pretrain", *arguments)
    assert (planned.found["steps_done"], planned.found["estimated_seconds"]) == (12, 0)
    with pytest.raises(InputError, match=r"plan\.json: held_out: the run was started"):
        run_job("pretrain", *arguments, "--held-out", "sim1")
    after = {path: path.stat().st_mtime_ns for path in done.rglob("*") if path.is_file()}
    assert after == before


def test_going_on_from_weights_that_know_what_is_held_out_is_warned_of(
    done: Path, genome: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    arguments = ["--genome", str(genome), "--out", str(tmp_path / "out"), "--dry-run", *STEPS]
    run_job("pretrain", *arguments, "--backbone", str(done / "backbone"), "--held-out", "sim1")
    warnings = {line.getMessage() for line in caplog.records if line.levelno >= logging.WARNING}
    assert (
        f"{done / 'backbone'}: held-out bases were trained on before, of sim1; their perplexity "
        "flatters it"
    ) in warnings


def test_a_run_that_diverges_ends_in_one_line(
    genome: Path, tmp_path: Path, cluster: Cluster
) -> None:
    arguments = ["--genome", str(genome), "--out", str(tmp_path / "out"), *SMALL]
    with pytest.raises(JobError, match=r"^the loss is nan at step \d+; lower the learning rate$"):
        run_job("pretrain", *arguments, "--set=training.learning_rate=1e30")
    assert not (tmp_path / "out" / "manifest.json").exists()


def test_settings_have_every_objective() -> None:
    for objective in get_args(Objective):
        changes = {"objective": objective, "training.lengths": [16]}
        assert new_objective(PretrainSettings().updated(changes, "test")) is not None

"""What the tests of bad inputs share: a folder of good ones, and a user who has a copy."""

from __future__ import annotations

import random
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from hyena_ray.dataset.preparation import PrepareSettings, SequenceSettings, prepare
from hyena_ray.model.build import build_model
from hyena_ray.model.huggingface import HyenaDNAConfig, HyenaDNAForCausalLM
from hyena_ray.model.saved import save_window_model
from hyena_ray.model.settings import LoraSettings, ModelSettings, Readout
from hyena_ray.tasks import TASKS
from tests.jobs.attributed import attribute_here

if TYPE_CHECKING:
    from tests.conftest import Once
    from tests.jobs.ray_head import Demo

pytest.register_assert_rewrite("tests.jobs.bad_inputs")

from tests.jobs.bad_inputs import SPACE, SPLIT, TRAIN, User  # noqa: E402  (its asserts are rewritten first)


@pytest.fixture(scope="session")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What can be used: `genome.fa`, `regions.bed`, `variants.tsv`, a CSV file per split,
    `space.yaml`; prepared from them `data/` and `sequences/`; `model/` and `deaf/`, untrained
    models that call every base and none, and `backbone/`; `first/` and `second/`, attributions of
    two models."""
    folder = tmp_path_factory.mktemp("good")
    bases = random.Random(0)
    genome, regions, variants = "", "", ""
    for contig in ("chr1", "chr2", "chr3"):
        lines = ["".join(bases.choices("ACGT", k=50)) for _ in range(24)]
        genome += "\n".join([f">{contig} of a test", *lines, ""])
        for place in (60, 300):
            ref = "".join(lines)[place]
            variants += f"{contig}\t{place + 1}\t{ref}\t{'A' if ref != 'A' else 'C'}\n"
        regions += "".join(f"{contig}\t{start}\t{start + 15}\n" for start in range(10, 1200, 150))
    (folder / "genome.fa").write_text(genome)
    (folder / "regions.bed").write_text(regions)
    (folder / "variants.tsv").write_text(variants)
    for split, rows in (("train", "ACGTA,1\nCCCCC,0\n"), ("val", "GGGGG,1\nTTTTT,0\n")):
        (folder / f"{split}.csv").write_text(f"sequence,label\n{rows}")
    (folder / "test.csv").write_text("sequence,label\nACACA,1\nGTGTG,0\n")
    (folder / "space.yaml").write_text(SPACE)
    recipe = PrepareSettings(
        task="zdna",
        genome=folder / "genome.fa",
        regions=folder / "regions.bed",
        lengths=(20,),
        stretch=40,
        flank=4,
        split=SPLIT,
    )
    prepare(recipe, folder / "data")
    files = {split: folder / f"{split}.csv" for split in ("train", "val", "test")}
    prepare(SequenceSettings(task="promoter", **files), folder / "sequences")
    for name, threshold in (("model", 0.0), ("deaf", 1.0)):
        model = build_model(
            ModelSettings(d_model=8, n_layer=1),
            Readout(window=20, flank=4, lookahead=4),
            LoraSettings(),
            TASKS["zdna"],
            seed=0,
        )
        model.threshold = threshold
        save_window_model(model, folder / name)
    for name, threshold in (("first", 0.0), ("second", 0.1)):
        model.threshold = threshold
        save_window_model(model, folder / "attributed")
        settings = {"methods": ("input_x_gradient",), "k": 3, "min_count": 1}
        attribute_here(folder / "attributed", folder / "data", folder / name, **settings)
        shutil.rmtree(folder / "attributed")
    config = HyenaDNAConfig(d_model=8, d_inner=32, n_layer=1, max_seq_len=64, filter_order=8)
    HyenaDNAForCausalLM(config).save_pretrained(folder / "backbone")
    return folder


@pytest.fixture(scope="session")
def demo(once: Once) -> Demo:
    """What the search leaves that takes no argument; no test may change it."""
    from tests.jobs.ray_head import Demo, run_demo

    return Demo.read(once("demo", run_demo))


@pytest.fixture
def user(
    good: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> User:
    """Stands in a folder with a copy of all good inputs, and has a home of its own."""
    shutil.copytree(good, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    return User(tmp_path)


@pytest.fixture
def begun(user: User) -> User:
    """A user who has a finished run of `TRAIN` in `run/`."""
    done = user.runs(TRAIN.replace("--out out", "--out run"))
    assert done.code == 0, done.stderr
    return user

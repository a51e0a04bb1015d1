"""A process that trains loads torch, and the heavy libraries around it only when it needs them."""

from __future__ import annotations

import subprocess
import sys

import pytest

TRAINING = """
import numpy as np
from hyena_ray.dataset.schema import Windows
from hyena_ray.training.loaders import ArraySource
from hyena_ray.training.pretraining import new_pretrainer
from hyena_ray.training.schedules import Schedule
from hyena_ray.training.settings import PretrainSettings, RunSettings
from hyena_ray.training.stages import stage_optimizer, training_stages
from hyena_ray.training.supervised import new_model, new_trainer, step_batches
from hyena_ray.training.trainer import Optimization

small = {"model.d_model": 8, "model.n_layer": 1}
settings = RunSettings().updated(small, "test")
recipe, model = settings.training, new_model(settings)
optimizer = stage_optimizer(model, training_stages(recipe)[0], recipe.weight_decay)
trainer = new_trainer(model, recipe)
trainer.start_stage(Optimization.of(optimizer, Schedule(optimizer, "cosine", 10, 0.1)))
ids = np.arange(4)
tokens = np.full((4, 164), 7, np.uint8)
labels = (tokens[:, 32:132] == 8).astype(np.int8)
windows = Windows(ids, np.full(4, "c"), 100 * ids, tokens, labels, np.ones(4, np.uint8))
for batch in step_batches(ArraySource(windows), recipe, 0, trainer.device):
    trainer.step(batch)
new_pretrainer(PretrainSettings().updated(small, "test"))
"""


@pytest.mark.parametrize(
    ("code", "loaded", "unwanted"),
    [
        ("import hyena_ray.training.settings", "pydantic", ("torch", "transformers", "ray")),
        ("import hyena_ray.training.preflight", "pydantic", ("torch", "transformers", "ray")),
        ("import hyena_ray.training.pretrain_record", "pydantic", ("torch", "transformers")),
        (
            "import hyena_ray.training.train_and_test, hyena_ray.training.pretraining",
            "torch",
            ("transformers", "peft", "sklearn", "pandas", "ray", "huggingface_hub"),
        ),
        (TRAINING, "torch", ("transformers", "peft", "sklearn", "pandas", "ray")),
    ],
    ids=["settings", "checks", "record", "rooms", "a step"],
)
def test_what_is_not_needed_is_not_loaded(
    code: str, loaded: str, unwanted: tuple[str, ...]
) -> None:
    ask = "import sys; print(*(name for name in sys.modules if '.' not in name))"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\n{ask}"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    modules = set(done.stdout.split())
    assert loaded in modules
    assert modules.isdisjoint(unwanted), modules & set(unwanted)

"""Settings of attribution: names that exist, definitions, and refusals without slow imports."""

from __future__ import annotations

import subprocess
import sys
from typing import get_args

import pytest

from hyena_ray.attribution.methods import METHODS
from hyena_ray.attribution.settings import AttributionSettings, MethodName, definition
from hyena_ray.errors import InputError

UNNEEDED = {"transformers", "peft", "sklearn", "xgboost", "captum", "ray"}
"""Libraries that neither a command line nor a worker needs in order to start."""


@pytest.mark.parametrize(
    ("modules", "forbidden"),
    [
        ("attribution.settings attribution.methods genome.called_regions", {"torch", "scipy"}),
        ("attribution.engine attribution.sanity_checks prediction.results", set()),
    ],
    ids=["command line", "worker"],
)
def test_nothing_is_imported_before_it_is_needed(modules: str, forbidden: set[str]) -> None:
    names = ", ".join(f"hyena_ray.{module}" for module in modules.split())
    code = f"import sys, {names}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not (UNNEEDED | forbidden) & set(done.stdout.split())


def test_the_table_of_methods_and_the_settings_name_the_same() -> None:
    assert set(METHODS) == set(get_args(MethodName))
    assert set(AttributionSettings().methods) <= set(METHODS)


def test_the_original_definition_is_the_published_one() -> None:
    bases = definition("original", "base")
    assert (bases.baseline, bases.steps, bases.samples, bases.noise) == ("zero", 50, 50, 0.1)
    assert (bases.noise_unit, bases.smoothgrad, bases.normalise) == ("absolute", "absolute", False)
    assert (bases.consensus, bases.kmer_score, bases.positive_only) == ("deviation", "sum", False)
    sequences = definition("original", "sequence")
    assert sequences.methods == ("ig", "noisy_ig")
    assert (sequences.baseline, sequences.steps, sequences.samples) == ("zero", 50, 50)
    assert (sequences.noise, sequences.noise_unit) == (0.02, "absolute")
    assert (sequences.kmer_score, sequences.positive_only) == ("mean", True)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"methods": ["ig", "ig"]}, "methods: .*named twice"),
        ({"methods": ["smothgrad"]}, "methods.*: smothgrad: .*did you mean smoothgrad"),
        ({"methods": ["occlusion"]}, "methods.*: occlusion: .*ism"),
        ({"k": 13}, "k: 13"),
        ({"steps": 6}, "steps 6 with a tolerance must be a multiple of 4"),
    ],
)
def test_settings_that_make_no_sense_are_refused(changes: dict[str, object], words: str) -> None:
    with pytest.raises(InputError, match=f"file: .*{words}"):
        AttributionSettings.parse(changes, "file")


def test_an_unknown_definition_is_refused_with_the_nearest_right_name() -> None:
    with pytest.raises(InputError, match=r"--definition: orignal: .*did you mean original"):
        definition("orignal", "base", "--definition")

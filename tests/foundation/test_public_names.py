"""What the README promises can be imported from `hyena_ray`."""

from __future__ import annotations

import subprocess
import sys

import pytest

import hyena_ray


@pytest.mark.parametrize("name", hyena_ray.__all__)
def test_a_public_name_can_be_imported(name: str) -> None:
    assert getattr(hyena_ray, name).__name__ == name


def test_listing_and_completing_names_shows_all_and_imports_nothing() -> None:
    code = (
        "import rlcompleter, sys, hyena_ray\n"
        "shell = rlcompleter.Completer({'hyena_ray': hyena_ray})\n"
        "assert set(hyena_ray.__all__) <= set(dir(hyena_ray)), dir(hyena_ray)\n"
        "assert not {'sys', 'import_module', 'annotations', 'Any'} & set(dir(hyena_ray))\n"
        "found = shell.attr_matches('hyena_ray.')\n"
        "assert set(found) == {f'hyena_ray.{name}' for name in hyena_ray.__all__}, found\n"
        "assert not {'torch', 'numpy', 'ray', 'transformers'} & set(sys.modules)\n"
        "import hyena_ray.attribution\n"
        "assert 'attribution' in dir(hyena_ray)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="'hyena_ray' has no attribute 'lode'"):
        getattr(hyena_ray, "lode")  # noqa: B009


def test_the_package_loads_no_heavy_library_by_itself() -> None:
    code = "import sys, hyena_ray; print({'torch', 'ray', 'transformers'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"

"""What the README promises can be imported from `hyena_ray`."""

from __future__ import annotations

import subprocess
import sys

import pytest

import hyena_ray


@pytest.mark.parametrize("name", hyena_ray.__all__)
def test_a_public_name_can_be_imported(name: str) -> None:
    assert getattr(hyena_ray, name).__name__ == name


def test_the_package_loads_no_heavy_library_by_itself() -> None:
    code = "import sys, hyena_ray; print({'torch', 'ray', 'transformers'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"

"""The pictures of the documentation can be made again."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.report.report_runs import Runs

pytestmark = pytest.mark.slow
IMAGES = Path(__file__).parents[2] / "docs" / "images"


def test_the_picture_of_a_track_is_drawn_from_a_run(runs: Runs, tmp_path: Path) -> None:
    image = tmp_path / "track.png"
    command = [sys.executable, str(IMAGES / "make_track.py"), str(runs.tuned), str(image)]
    subprocess.run(command, check=True)
    assert image.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("name", ["report.png", "track.png"])
def test_pictures_are_small(name: str) -> None:
    assert (IMAGES / name).stat().st_size <= 200_000

"""The wheel, installed outside the checkout, has all that a user needs."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.command_line import ROOT, Done

pytestmark = pytest.mark.slow
SMALL = (
    *("--set", "data.limit=200", "--set", "training.epochs=1", "--set", "model.d_model=8"),
    *("--set", "model.n_layer=1"),
)


class Installed(NamedTuple):
    """An environment with the wheel in it."""

    folder: Path
    packages: Path

    def run(self, *words: object, program: tuple[str, ...] = ("hyena-ray",)) -> Done:
        """Run the command there, in a folder that is no checkout."""
        path, *more = program
        done = subprocess.run(
            [str(self.folder / "bin" / path), *more, *map(str, words)],
            cwd=self.folder,
            env={key: value for key, value in os.environ.items() if key != "PYTHONPATH"},
            capture_output=True,
            text=True,
            check=False,
        )
        return Done(done.returncode, done.stdout, done.stderr)


def checked(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    options = ("--quiet", "--disable-pip-version-check", "--no-deps", "--no-build-isolation")
    pip = [sys.executable, "-m", "pip", "wheel", *options]
    checked([*pip, "--wheel-dir", str(folder), str(ROOT)])
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """The wheel in an environment of its own, which sees this one's packages but not the checkout:
    of a folder that a .pth file names, no further .pth file is read."""
    folder = tmp_path_factory.mktemp("environment")
    checked([sys.executable, "-m", "venv", "--without-pip", str(folder)])
    (packages,) = folder.glob("lib/python*/site-packages")
    (packages / "others.pth").write_text(sysconfig.get_path("purelib"))
    options = ("--quiet", "--disable-pip-version-check", "--no-deps", "--force-reinstall")
    pip = [sys.executable, "-m", "pip", f"--python={folder}/bin/python", "install"]
    checked([*pip, *options, str(wheel)])
    return Installed(folder, packages)


def test_the_wheel_holds_code_types_search_spaces_and_nothing_of_the_tests(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {"hyena_ray/py.typed", "hyena_ray/search_spaces/zdna.yaml"} <= set(names)
    shipped = {name.removeprefix("hyena_ray/") for name in names if name.endswith(".yaml")}
    assert shipped == {
        path.relative_to(ROOT).as_posix() for path in (ROOT / "search_spaces").rglob("*.yaml")
    }
    assert {name.split("/")[0].partition("-")[0] for name in names} == {"hyena_ray"}


def test_what_is_installed_is_the_wheel(installed: Installed) -> None:
    code = "import hyena_ray; print(hyena_ray.__file__)"
    done = installed.run("-c", code, program=("python",))
    assert done.code == 0, done.stderr
    assert Path(done.stdout.strip()).is_relative_to(installed.packages)


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["train", "--dta", "x"]])
def test_the_program_is_the_module(installed: Installed, words: list[str]) -> None:
    assert installed.run(*words) == installed.run(*words, program=("python", "-m", "hyena_ray"))


def test_it_simulates_prepares_trains_predicts_and_reports(installed: Installed) -> None:
    def succeed(*words: object) -> dict[str, str]:
        done = installed.run(*words, "--json")
        assert done.code == 0, done.stderr
        written: dict[str, str] = json.loads(done.stdout)["written"]
        assert all((installed.folder / path).exists() for path in written.values())
        return written

    made = succeed("simulate", "zdna", "--out", "made")
    genome = ("--genome", made["genome"])
    succeed("prepare", "zdna", *genome, "--regions", made["regions"], "--out", "data")
    trained = ("--preset", "zdna/single_stage", *SMALL)
    succeed("train", "--data", "data", "--out", "run", *trained)
    # A contig is enough, and takes a quarter of the time.
    first = Path(installed.folder / made["genome"]).read_text().split(">")[1]
    (installed.folder / "contig.fa").write_text(f">{first}")
    succeed("predict", "--model", "run/model", "--genome", "contig.fa", "--out", "predicted")
    assert (installed.folder / succeed("report", "run")["report"]).stat().st_size > 10_000


def test_without_its_data_files_it_says_so_in_one_line(
    installed: Installed, tmp_path: Path
) -> None:
    copy = tmp_path / "hyena_ray"
    shutil.copytree(installed.packages / "hyena_ray", copy)
    shutil.rmtree(copy / "search_spaces")
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "from hyena_ray.cli import main; main(sys.argv[1:])"
    )
    words = ("tune", "zdna", "--out", "tuned")
    done = installed.run("-c", code, *words, program=("python",))
    assert done.code == 2
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert not (installed.folder / "tuned").exists()

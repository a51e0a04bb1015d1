"""`make security` fails on a known vulnerability, and with another code when it could not look."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

import pytest

PATH = Path(__file__).parents[2] / ".ci" / "audit.py"
CLEAN = {"name": "numpy", "version": "2.4.6", "vulns": []}
BAD = {
    "name": "pillow",
    "version": "13.0.0",
    "vulns": [{"id": "PYSEC-2026-1", "fix_versions": ["13.0.1"]}],
}
UNKNOWN = {"name": "ray", "skip_reason": "Dependency not found on PyPI"}


@pytest.fixture(scope="module")
def audit() -> Any:
    spec = importlib.util.spec_from_file_location("audit", PATH)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("packages", "code", "lines"),
    [
        ([CLEAN], 0, ["pip-audit: 0 known vulnerabilities in 1 packages"]),
        (
            [CLEAN, BAD],
            1,
            [
                "pillow 13.0.0: PYSEC-2026-1, mended in 13.0.1",
                "pip-audit: 1 known vulnerabilities in 2 packages",
            ],
        ),
        (
            [CLEAN, UNKNOWN],
            0,
            ["pip-audit: 0 known vulnerabilities in 1 packages", "pip-audit: not checked: ray"],
        ),
        ([UNKNOWN], 3, ["pip-audit SKIPPED: no advisories for any of 1 packages"]),
    ],
)
def test_the_code_tells_a_vulnerability_from_nothing_read_and_unchecked_packages_are_named(
    audit: Any, packages: list[dict[str, Any]], code: int, lines: list[str]
) -> None:
    assert audit.verdict(packages) == (code, lines)


class Answers(NamedTuple):
    """What pip-audit answers for each lock."""

    of: dict[str, tuple[str, str]]

    def run(self, command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        (lock,) = (word for word in command if word.startswith("--requirement="))
        report, problem = self.of[lock.removeprefix("--requirement=")]
        return subprocess.CompletedProcess(command, 0, report, problem)


def report_of(*packages: dict[str, Any]) -> str:
    return json.dumps({"dependencies": packages, "fixes": []})


@pytest.mark.parametrize(
    ("second", "code", "said"),
    [
        ((report_of(CLEAN), ""), 0, "0 known vulnerabilities in 2 packages"),
        ((report_of(BAD), ""), 1, "PYSEC-2026-1"),
        (("", "Traceback\nConnectionError: no route\n"), 3, "SKIPPED.*no route"),
        (("not JSON", "Read timed out"), 3, "SKIPPED"),
        (("", "ERROR: certifi has duplicate requirements"), 1, "failed with b.lock.*duplicate"),
        (("[]", ""), 1, "failed with b.lock"),
    ],
)
def test_every_lock_is_read_and_what_is_no_trouble_of_the_network_fails(
    audit: Any,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    second: tuple[str, str],
    code: int,
    said: str,
) -> None:
    answers = Answers({"a.lock": (report_of(CLEAN), ""), "b.lock": second})
    monkeypatch.setattr(audit.subprocess, "run", answers.run)
    assert audit.main(["a.lock", "b.lock"]) == code
    assert re.search(said, capsys.readouterr().out)


def test_ci_passes_offline_alone_and_says_that_it_was_skipped(tmp_path: Path) -> None:
    text = (PATH.parent / "run").read_text()
    audit = text[text.index("audit=0") : text.index("fi\n", text.index("make test")) + 3]
    python = tmp_path / ".venv-security" / "bin" / "python"
    python.parent.mkdir(parents=True)
    for code, passes in ((0, True), (1, False), (2, False), (3, True)):
        python.write_text(f"#!/bin/sh\nexit {code}\n")
        python.chmod(0o755)
        done = subprocess.run(
            ["bash", "-c", f"set -euo pipefail\nmake() {{ echo tested; }}\n{audit}"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode == 0) == passes
        assert ("tested" in done.stdout) == passes
        assert ("SKIPPED" in done.stdout) == (code == 3)

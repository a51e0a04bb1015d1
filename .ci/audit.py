"""Ask the advisory service of PyPI about every version in locks: `python .ci/audit.py LOCK ...`.

Exit 1 where a vulnerability is known, and 3 where no advisory could be read, as without a network
or from an index that has none: then it says SKIPPED, and nothing is known.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence

SECONDS = 120
SKIPPED = 3
"""Exit code where nothing was checked."""
OPTIONS = ("--no-deps", "--disable-pip", "--format=json", "--progress-spinner=off", "--timeout=10")


def verdict(report: str, problem: str) -> tuple[int, list[str]]:
    """Exit code and lines for people, from what pip-audit wrote to stdout and stderr."""
    try:
        packages = json.loads(report)["dependencies"]
    except (ValueError, KeyError, TypeError):
        last = (problem.strip().splitlines() or ["no report"])[-1]
        return SKIPPED, [f"pip-audit SKIPPED: the advisory service was not reached ({last[:200]})"]
    # An index that is a mirror answers 404, which pip-audit counts as no vulnerability.
    unknown = [package["name"] for package in packages if "skip_reason" in package]
    checked = len(packages) - len(unknown)
    if not checked:
        return SKIPPED, [f"pip-audit SKIPPED: no advisories for any of {len(packages)} packages"]
    lines = [
        f"{package['name']} {package['version']}: {found['id']}, mended in "
        f"{', '.join(found['fix_versions']) or 'no version'}"
        for package in packages
        for found in package.get("vulns", ())
    ]
    code = 1 if lines else 0
    lines.append(f"pip-audit: {len(lines)} known vulnerabilities in {checked} packages")
    if unknown:
        lines.append(f"pip-audit: not checked: {', '.join(unknown)}")
    return code, lines


def main(arguments: Sequence[str]) -> int:
    locks = [f"--requirement={lock}" for lock in arguments]
    command = [sys.executable, "-m", "pip_audit", *locks, *OPTIONS]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
        code, lines = verdict(done.stdout, done.stderr)
    except subprocess.TimeoutExpired:
        code, lines = verdict("", f"no answer within {SECONDS} s")
    print("\n".join(lines))
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

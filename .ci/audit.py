"""Ask the advisory service of PyPI about every version in locks: `python .ci/audit.py LOCK ...`.

Exit 1 where a vulnerability is known or a lock cannot be read. Exit 3 where no advisory could be
read, as without a network or from an index that has none: it says SKIPPED, and nothing is known.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

SECONDS = 120
SKIPPED = 3
"""Exit code where nothing was checked."""
NO_NETWORK = re.compile("connect|name resolution|no route|unreachable|timed? ?out", re.IGNORECASE)
"""Words of errors that say that a service was not reached."""
OPTIONS = ("--no-deps", "--disable-pip", "--format=json", "--progress-spinner=off", "--timeout=10")


def packages_of(report: str, problem: str) -> list[dict[str, Any]]:
    """Packages of a lock, from what pip-audit wrote to stdout and stderr.

    Raises:
        ConnectionError: The advisory service was not reached.
        ValueError: pip-audit failed, as with a lock that it cannot read.
    """
    try:
        packages: list[dict[str, Any]] = json.loads(report)["dependencies"]
    except (ValueError, KeyError, TypeError):
        last = (problem.strip().splitlines() or ["no report"])[-1][:200]
        raise (ConnectionError if NO_NETWORK.search(problem) else ValueError)(last) from None
    return packages


def verdict(packages: Sequence[dict[str, Any]]) -> tuple[int, list[str]]:
    """Exit code and lines for people, from the packages of all locks."""
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


def main(locks: Sequence[str]) -> int:
    packages: list[dict[str, Any]] = []
    for lock in locks:  # one by one, since pip-audit refuses a package that is in two of them
        command = [sys.executable, "-m", "pip_audit", f"--requirement={lock}", *OPTIONS]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=SECONDS, check=False
            )
            packages += packages_of(done.stdout, done.stderr)
        except (ConnectionError, subprocess.TimeoutExpired) as error:
            print(f"pip-audit SKIPPED: the advisory service was not reached ({error})")
            return SKIPPED
        except ValueError as error:
            print(f"pip-audit failed with {lock}: {error}")
            return 1
    code, lines = verdict(packages)
    print("\n".join(lines))
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

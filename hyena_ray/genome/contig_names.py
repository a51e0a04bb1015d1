"""The same contig under other names: `1`, `chr1`, `01`, `NC_000001.11`; `MT`, `chrM`."""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from hyena_ray.genome.source import PACKED
from hyena_ray.storage import AnyPath

_HUMAN = [*map(str, range(1, 23)), "x", "y"]
_MOUSE = [*map(str, range(1, 20)), "x", "y"]
_SERIES = (
    ("NC_", 1, _HUMAN),
    ("CM", 663, _HUMAN),  # GenBank of the same
    ("NC_", 60925, _HUMAN),  # T2T-CHM13
    ("NC_", 67, _MOUSE),
    ("CM", 994, _MOUSE),
    ("NC_", 12920, ["mt"]),
    ("NC_", 5089, ["mt"]),  # of mouse
)
"""Accessions that follow each other from the first number on, without their version."""
_ACCESSIONS = {
    f"{prefix}{first + step:06}".lower(): name
    for prefix, first, names in _SERIES
    for step, name in enumerate(names)
}
MOST = 30
"""So many names are written into one command."""
_PLAIN = re.compile(r"[\w.|:+-]+")
"""Names that a shell and awk leave as they are."""


def plain(name: str) -> str:
    """What is left of a name without what providers put before or after it."""
    lower = name.lower()
    accession = _ACCESSIONS.get(lower.partition(".")[0])
    if accession is not None:
        return accession
    bare = lower.removeprefix("chr")
    return "mt" if bare == "m" else bare.lstrip("0") or bare[-1:]


def alike(unknown: Iterable[str], known: Iterable[str]) -> dict[str, str]:
    """For each unknown name that is another form of a known one, that one."""
    by_plain: dict[str, str] = {}
    for name in known:
        by_plain.setdefault(plain(name), name)
    return {name: by_plain[plain(name)] for name in unknown if plain(name) in by_plain}


def renaming(path: AnyPath, names: Mapping[str, str], *, every: bool) -> str:
    """A command that renames the contigs of a file of intervals; it works as it stands.

    Args:
        path: BED, or what has its columns, plain or gzip; or bigBed.
        names: old to new.
        every: these are all contigs of the file.
    """
    if len(names) > MOST or not all(map(_PLAIN.fullmatch, [*names, *names.values()])):
        return f"rename the {len(names)} that differ"
    # What lies on S3 is edited in a copy.
    file = shlex.quote(str(path) if isinstance(path, Path) else path.name)
    name, lower = path.name, path.name.lower()
    edit = (_prefix(names) if every else None) or _table(names)
    if lower.endswith((".bb", ".bigbed")):
        command, name = f"bigBedToBed {file} stdout | {edit}", f"{name}.bed"
    elif packed := next((ending for ending in PACKED if lower.endswith(ending)), ""):
        command, name = f"gunzip -c {file} | {edit}", name[: -len(packed)]
    else:
        command = f"{edit} {file}"
    return f"rename with {command} > {shlex.quote(f'renamed_{name}')}"


def _prefix(names: Mapping[str, str]) -> str | None:
    """The short form, where `chr` is all that differs; header lines stay as they are."""
    if names == {old: "chrM" if old == "MT" else f"chr{old}" for old in names}:
        mitochondrion = "; s/^chrMT/chrM/" if "MT" in names else ""
        return f"sed -E '/^(#|track|browser)/!s/^(.)/chr\\1/{mitochondrion}'"
    if names == {old: "MT" if old == "chrM" else old.removeprefix("chr") for old in names}:
        mitochondrion = "s/^chrM/MT/; " if "chrM" in names else ""
        return f"sed '{mitochondrion}s/^chr//'"
    return None


def _table(names: Mapping[str, str]) -> str:
    pairs = "; ".join(f'n["{old}"]="{new}"' for old, new in names.items())
    return f"awk -F'\\t' -v OFS='\\t' 'BEGIN {{{pairs}}} $1 in n {{$1=n[$1]}} 1'"


def listed(names: Collection[str], most: int = 5) -> str:
    """The first names, and how many more there are."""
    shown = ", ".join(list(names)[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"

"""Names of contigs: those that every table can hold, and the same contig under other names, such as
`1`, `chr1`, `01`, `NC_000001.11`; `MT`, `chrM`."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path

from hyena_ray.errors import InputError
from hyena_ray.genome.source import GZIP_ENDINGS
from hyena_ray.storage import AnyPath

_HUMAN = [*map(str, range(1, 23)), "x", "y"]
_MOUSE = [*map(str, range(1, 20)), "x", "y"]
_SERIES = (
    ("NC_", 1, _HUMAN),
    ("CM", 663, _HUMAN),  # GenBank, the same assembly
    ("NC_", 60925, _HUMAN),  # T2T-CHM13
    ("NC_", 67, _MOUSE),
    ("CM", 994, _MOUSE),
    ("NC_", 12920, ["mt"]),
    ("NC_", 5089, ["mt"]),  # mouse
)
"""Prefix, first number and contigs of accessions with consecutive numbers, without version."""
_ACCESSIONS = {
    f"{prefix}{first + step:06}".lower(): name
    for prefix, first, names in _SERIES
    for step, name in enumerate(names)
}
MAX_RENAMED = 30
"""Largest number of names that are written into one command."""
_SHELL_SAFE = re.compile(r"[\w.|:+-]+")
"""Names that a shell and awk leave as they are."""


_REFUSED_STARTS = {
    # Rows that begin so would be skipped.
    "a header of BED files": ("#", "!", ">", "track", "browser"),
    "a formula in spreadsheets": ("=", "+", "-", "@"),
    "a quoted value": ('"', "'"),
}
"""What readers take a name for that begins so, whatever the case."""
_REFUSED = re.compile(
    "|".join(re.escape(start) for starts in _REFUSED_STARTS.values() for start in starts), re.I
)


def check_contig_name(place: str, name: str) -> None:
    """Refuse a name that tables, tracks or terminals could not show as it is.

    Contigs are named in BED, CSV and bigWig files, and in logs. Every other name is written and
    read back, whatever quotes, commas or semicolons are inside.

    Args:
        place: File and line, for the error.
        name: Name of the contig.

    Raises:
        InputError: The name begins like a header, a formula or a quoted value, or has a character
            that is not printable.

    Example:
        >>> check_contig_name("genome.fa:1", 'a"b;c')
        >>> check_contig_name("genome.fa:1", "=cmd|x")
        Traceback (most recent call last):
            ...
        hyena_ray.errors.InputError: genome.fa:1: =cmd|x: a name that begins with = ...
    """
    if refused := _REFUSED.match(name):
        start = refused[0].lower()
        meaning = next(kind for kind, starts in _REFUSED_STARTS.items() if start in starts)
        problem = f"a name that begins with {start} is {meaning}"
        raise InputError(place, name, problem, "rename the contig, here and in its regions")
    if not name.isprintable():
        problem = "the name has a character that is not printable"
        raise InputError(place, name, problem, "rename the contig, here and in its regions")


def normalise_contig_name(name: str) -> str:
    """Return a contig's name without what providers put before or after it.

    Args:
        name: Name as a provider writes it, or an accession of RefSeq or GenBank.

    Returns:
        A name in lower case that the other forms of the name share.

    Example:
        >>> [normalise_contig_name(name) for name in ("chrX", "NC_000023.11", "01", "chrM", "MT")]
        ['x', 'x', '1', 'mt', 'mt']
    """
    lower = name.lower()
    accession = _ACCESSIONS.get(lower.partition(".")[0])
    if accession is not None:
        return accession
    bare = lower.removeprefix("chr")
    return "mt" if bare == "m" else bare.lstrip("0") or bare[-1:]


def match_contig_names(unknown: Iterable[str], known: Iterable[str]) -> dict[str, str]:
    """Match names to other forms of the same names.

    Args:
        unknown: Names that the genome does not have.
        known: Names of the genome.

    Returns:
        For each unknown name that is another form of a known one, the known one.
    """
    known_by_form: dict[str, str] = {}
    for name in known:
        known_by_form.setdefault(normalise_contig_name(name), name)
    forms = {name: normalise_contig_name(name) for name in unknown}
    return {name: known_by_form[form] for name, form in forms.items() if form in known_by_form}


def renaming_command(path: AnyPath, names: Mapping[str, str], *, complete: bool) -> str:
    """Return a shell command that renames the contigs of a file of intervals.

    Args:
        path: BED or a file with its columns, plain or gzip; or bigBed.
        names: Old name to new name.
        complete: Whether these are all contigs of the file, which allows a shorter command.

    Returns:
        "rename with COMMAND", or only how many names differ where a command would not be safe or
        would be too long.
    """
    if len(names) > MAX_RENAMED or not all(map(_SHELL_SAFE.fullmatch, [*names, *names.values()])):
        return f"rename the {len(names)} that differ"
    # A file on S3 is edited in a copy.
    file = shlex.quote(str(path) if isinstance(path, Path) else path.name)
    name, lower = path.name, path.name.lower()
    edit = (_prefix_edit(names) if complete else None) or _table_edit(names)
    if lower.endswith((".bb", ".bigbed")):
        command, name = f"bigBedToBed {file} stdout | {edit}", f"{name}.bed"
    elif ending := next((ending for ending in GZIP_ENDINGS if lower.endswith(ending)), ""):
        command, name = f"gunzip -c {file} | {edit}", name[: -len(ending)]
    else:
        command = f"{edit} {file}"
    return f"rename with {command} > {shlex.quote(f'renamed_{name}')}"


def _prefix_edit(names: Mapping[str, str]) -> str | None:
    """Return the short command where only `chr` differs; it leaves header lines as they are."""
    if names == {old: "chrM" if old == "MT" else f"chr{old}" for old in names}:
        mitochondrion = "; s/^chrMT/chrM/" if "MT" in names else ""
        return f"sed -E '/^(#|track|browser)/!s/^(.)/chr\\1/{mitochondrion}'"
    if names == {old: "MT" if old == "chrM" else old.removeprefix("chr") for old in names}:
        mitochondrion = "s/^chrM/MT/; " if "chrM" in names else ""
        return f"sed '{mitochondrion}s/^chr//'"
    return None


def _table_edit(names: Mapping[str, str]) -> str:
    pairs = "; ".join(f'n["{old}"]="{new}"' for old, new in names.items())
    return f"awk -F'\\t' -v OFS='\\t' 'BEGIN {{{pairs}}} $1 in n {{$1=n[$1]}} 1'"

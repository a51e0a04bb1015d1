"""The tracks of a command line: names, and the bigWig files that they are read from.

NumPy is not imported here: a command line is checked before it is loaded.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from hyena_ray.errors import InputError, raise_together
from hyena_ray.genome.signal_scale import MOST_TRACKS, TRACK_NAME, TRACK_REACH
from hyena_ray.genome.source import check_is_file, detect_kind
from hyena_ray.storage import AnyPath, location

PLACE = "--track"
"""Option that gives a track."""
REMEDY = "give --track NAME=FILE a bigWig file"


def parse_tracks(texts: Sequence[str]) -> dict[str, AnyPath]:
    """Read the tracks of a command line.

    Args:
        texts: Texts such as `dnase=signal.bw`.

    Returns:
        File of each track by its name, in the order given.

    Raises:
        InputError: A text has another form, a name is given twice or is that of a track that is
            measured from the letters, a file is missing or no bigWig, or there are too many.

    Example:
        >>> parse_tracks(["zhunt=signal.bw"])
        Traceback (most recent call last):
            ...
        hyena_ray.errors.InputError: --track: zhunt=signal.bw: zhunt is measured from the ...
    """
    tracks: dict[str, AnyPath] = {}
    problems: list[InputError] = []
    for text in texts:
        name, equals, file = text.partition("=")
        try:
            if not (equals and file and re.fullmatch(TRACK_NAME, name)):
                problem = "is not NAME=FILE, with a name of small letters, digits and _"
                raise InputError(PLACE, text, problem, "write it like dnase=signal.bw")
            if name in TRACK_REACH:
                problem = f"{name} is measured from the letters, and needs no file"
                raise InputError(PLACE, text, problem, "give the track another name")
            if name in tracks:
                raise InputError(PLACE, text, f"{name} is given twice", "give each track once")
            tracks[name] = _bigwig_path(file)
        except InputError as error:
            problems.append(error)
    if len(texts) > MOST_TRACKS:
        problem = f"more than {MOST_TRACKS} tracks"
        problems.append(InputError(PLACE, f"{len(texts)} of them", problem, "give fewer"))
    raise_together(problems)
    return tracks


def _bigwig_path(text: str) -> AnyPath:
    try:
        path = location(text)
    except InputError:
        problem = "is not a place that can be read"
        raise InputError(PLACE, text, problem, "download it, and give its path") from None
    check_is_file(path, REMEDY)
    check_bigwig(path)
    return path


def check_bigwig(path: AnyPath) -> None:
    """Refuse a file that does not begin as a bigWig file.

    Args:
        path: The file.

    Raises:
        InputError: It is of another kind, or cannot be read.
    """
    kind = detect_kind(path, REMEDY)
    if kind != "bigWig":
        raise InputError(path, None, f"is {kind or 'text'}, not bigWig", REMEDY)

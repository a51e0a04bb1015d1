"""The two errors that are meant for people: what they gave cannot be used, a job cannot go on."""

from __future__ import annotations

from pathlib import PurePath


class JobError(RuntimeError):
    """Why a job stopped that was given nothing wrong, in one line; what it finished is kept.

    A job prints it after `error: ` and exits 1.
    """


class InputError(ValueError):
    """A file, setting or argument that cannot be used, said in one line.

    Reads `PLACE: VALUE: problem; remedy`; a job prints it after `error: ` and exits 2.

    Args:
        place: file with line number, setting or option, such as `peaks.bed:17` or `--k`.
        value: what was found there; None where the place says it all.
        problem: what is wrong, and what is allowed.
        remedy: what to do about it.
    """

    def __init__(self, place: str | PurePath, value: object, problem: str, remedy: str) -> None:
        found = "" if value is None else f"{_short(value)}: "
        super().__init__(_printable(f"{place}: {found}{problem}; {remedy}"))
        self._parts = (place, value, problem, remedy)

    def __reduce__(self) -> tuple[type[InputError], tuple[str | PurePath, object, str, str]]:
        # Ray sends errors between processes; the default would call InputError(message).
        place, value, problem, remedy = self._parts
        shown = None if value is None else _short(value)
        return (type(self), (str(place), shown, problem, remedy))


def _short(value: object) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= 80 else text[:77] + "..."


def _printable(text: str) -> str:
    """One line whatever a file or library said, and nothing that a terminal would act on."""
    return "".join(
        sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text
    )

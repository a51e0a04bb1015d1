"""The errors that are meant for people: what they gave cannot be used, or a job cannot continue."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Sequence
from pathlib import PurePath
from types import TracebackType
from typing import ParamSpec, Self, TypeVar

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


LONGEST_NAME = 200
"""Letters above which no name is like another one: the comparison would take seconds."""


class JobError(RuntimeError):
    """A job that was given valid input cannot continue, said in one line.

    What the job has finished is kept. The command line prints the line after `error: ` and exits 1.
    """


class InputError(ValueError):
    """A file, setting or argument cannot be used, said in one line.

    The line reads `PLACE: VALUE: problem; remedy`. The command line prints it after `error: ` and
    exits 2.

    Args:
        place: File with line number, setting or option, such as `peaks.bed:17` or `--k`.
        value: The value that is refused, or None where the place says it all.
        problem: What is wrong, and what is allowed.
        remedy: What to do about it.

    Example:
        >>> str(InputError("--k", 0, "below 1", "give 1 to 12"))
        '--k: 0: below 1; give 1 to 12'
    """

    def __init__(self, place: str | PurePath, value: object, problem: str, remedy: str) -> None:
        shown = "" if value is None else f"{shortened(value)}: "
        super().__init__(_printable(f"{place}: {shown}{problem}; {remedy}"))
        self._parts = (place, value, problem, remedy)

    def __reduce__(self) -> tuple[type[InputError], tuple[object, ...]]:
        # Ray sends errors between processes; the default would call InputError(message).
        place, value, problem, remedy = self._parts
        shown = None if value is None else shortened(value)
        return (type(self), (str(place), shown, problem, remedy))

    @property
    def lines(self) -> tuple[str, ...]:
        """One line for each problem."""
        return (str(self),)

    def within(self, file: str | PurePath) -> InputError:
        """Return the error of a value that is from a file: its place is preceded by the file.

        Args:
            file: The file.

        Example:
            >>> str(InputError("k", 0, "below 1", "give 1 to 12").within("config.json"))
            'config.json: k: 0: below 1; give 1 to 12'
        """
        place, value, problem, remedy = self._parts
        return InputError(f"{file}: {place}", value, problem, remedy)


class CombinedInputError(InputError):
    """Several problems of one command, each of them an `InputError`.

    Args:
        problems: At least two errors, in the order in which they are printed.
    """

    def __init__(self, problems: Sequence[InputError]) -> None:
        ValueError.__init__(self, "\n".join(line for error in problems for line in error.lines))
        self._problems = tuple(problems)

    def __reduce__(self) -> tuple[type[InputError], tuple[object, ...]]:
        return (type(self), (self._problems,))

    @property
    def lines(self) -> tuple[str, ...]:
        return tuple(line for error in self._problems for line in error.lines)

    def within(self, file: str | PurePath) -> InputError:
        return CombinedInputError([error.within(file) for error in self._problems])


class Problems:
    """Collect the problems of independent checks, and raise them together at the end of the block.

    Example:
        >>> with Problems() as problems:
        ...     problems.collect(int, "3")
        3
    """

    def __init__(self) -> None:
        self._errors: list[InputError] = []

    def collect(
        self,
        check: Callable[Arguments, Result],
        /,
        *args: Arguments.args,
        **kwargs: Arguments.kwargs,
    ) -> Result | None:
        """Run one check, and remember the `InputError` that it raises.

        Args:
            check: Function that validates something.
            args: Its arguments.
            kwargs: Its keyword arguments.

        Returns:
            The value of the check, or None where it raised.
        """
        try:
            return check(*args, **kwargs)
        except InputError as error:
            self.add(error)
            return None

    def add(self, error: InputError) -> None:
        """Remember a problem.

        Args:
            error: The problem.
        """
        self._errors.append(error)

    def raise_any(self) -> None:
        """Raise what has been collected so far, if anything.

        Raises:
            InputError: At least one check failed.
        """
        raise_together(self._errors)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is None:
            self.raise_any()


def raise_together(errors: Sequence[InputError]) -> None:
    """Raise one error as it is, and several as `CombinedInputError`; none is no error.

    Args:
        errors: Problems in the order in which they are printed. Equal ones are printed once.

    Raises:
        InputError: There is at least one.
    """
    distinct = list({str(error): error for error in errors}.values())
    if len(distinct) == 1:
        raise distinct[0] from None
    if distinct:
        raise CombinedInputError(distinct) from None


def require_type(
    value: object, kind: type | tuple[type, ...], place: str, problem: str, remedy: str
) -> None:
    """Refuse an argument of a function that is of another type, before it fails somewhere below.

    Args:
        value: The argument.
        kind: Type, or types, that it may have.
        place: Name of the argument.
        problem: What it is not.
        remedy: What to give instead.

    Raises:
        InputError: It is of another type, which the message names.

    Example:
        >>> require_type(5, str, "sequence", "is no text", "give letters")
        Traceback (most recent call last):
            ...
        hyena_ray.errors.InputError: sequence: int: is no text; give letters
    """
    if not isinstance(value, kind):
        raise InputError(place, type(value).__name__, problem, remedy)


def require_choice(value: object, choices: Sequence[str], place: str, what: str) -> None:
    """Refuse an argument of a function that is none of a few words.

    Args:
        value: The argument.
        choices: The words.
        place: Name of the argument.
        what: What kind of word it is.

    Raises:
        InputError: It is none of them.
    """
    if value not in choices:
        raise unknown_name(place, str(value), what, choices)


def nearest_name(name: str, allowed: Iterable[str]) -> str | None:
    """Return the allowed name that is most like a mistyped or abbreviated one.

    Args:
        name: What was typed.
        allowed: Names that exist.

    Returns:
        The nearest name, or None where none is near.

    Example:
        >>> nearest_name("tarin", ["train", "val", "test"])
        'train'
        >>> nearest_name("eval", ["train", "evaluate"])
        'evaluate'
    """
    if len(name) > LONGEST_NAME:
        return None
    folded = {candidate.lower(): candidate for candidate in allowed}
    typed = name.lower()
    completed = [key for key in folded if len(typed.strip("-")) > 1 and key.startswith(typed)]
    near = completed or difflib.get_close_matches(typed, folded, n=1, cutoff=0.7)
    return folded[near[0]] if near else None


def unknown_name(
    place: str | PurePath, value: str, what: str, allowed: Iterable[str]
) -> InputError:
    """Make the refusal of a name that does not exist.

    Args:
        place: Option, setting or file that holds the name.
        value: The name as it was typed.
        what: What kind of name it is, such as `split`.
        allowed: Names that exist, in the order in which they are listed.

    Returns:
        An error that names the nearest right name, and the first twelve that there are.

    Example:
        >>> str(unknown_name("--split", "tset", "split", ["train", "val", "test"]))
        '--split: tset: unknown split, did you mean test?; give one of train, val, test'
    """
    names = list(allowed)
    nearest = nearest_name(str(value), names)
    guess = f", did you mean {nearest}?" if nearest else ""
    remedy = f"give one of {first_names(names)}" if names else "there is none to give"
    return InputError(place, value or "''", f"unknown {what}{guess}", remedy)


def unknown_key(place: str | PurePath, key: str, allowed: Iterable[str]) -> InputError:
    """Make the refusal of a setting that does not exist.

    Args:
        place: Where the setting is, with its key.
        key: The key as it was typed.
        allowed: Keys that exist, in the order in which they are listed.

    Example:
        >>> str(unknown_key("--set: epochz", "epochz", ["epochs", "seed"]))
        '--set: epochz: unknown key, did you mean epochs?; allowed are epochs, seed'
    """
    names = list(allowed)
    nearest = nearest_name(key, names)
    guess = f", did you mean {nearest}?" if nearest else ""
    return InputError(place, None, f"unknown key{guess}", f"allowed are {first_names(names)}")


def first_names(names: Sequence[str]) -> str:
    """List the first twelve names, and say how many more there are.

    Args:
        names: The names.
    """
    more = f" and {len(names) - 12} more" if len(names) > 12 else ""
    return ", ".join(names[:12]) + more


def shortened(value: object) -> str:
    """Return a value on one line; of a long one the end as well, where the name of a file is.

    Args:
        value: The value that a message shows.
    """
    text = " ".join(str(value).split())
    return text if len(text) <= 80 else f"{text[:25]}...{text[-52:]}"


def _printable(text: str) -> str:
    """Keep an error on one line, whatever a file or library said, without terminal controls."""
    return "".join(
        sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text
    )

"""The report that a job ends with."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from hyena_ray.errors import InputError, JobError
from hyena_ray.outcomes import Outcome


def with_report(main: Callable[[Sequence[str]], Outcome]) -> Callable[[Sequence[str]], Outcome]:
    """The same job, which also writes a page about the folder that it leaves.

    Raises:
        JobError: the page could not be made; everything else is complete.
    """

    def reported(arguments: Sequence[str]) -> Outcome:
        outcome = main(arguments)
        if outcome.folder is None:
            return outcome
        # Draws, and a job that is refused should say so at once.
        from hyena_ray.report.write import write_report

        try:
            report = write_report(outcome.folder)
        except InputError as error:
            raise JobError(f"no report could be made, all else is complete: {error}") from error
        return outcome._replace(written={**outcome.written, "report": report})

    return reported

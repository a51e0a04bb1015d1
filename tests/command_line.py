"""Run a job as its command line does, in this process."""

from __future__ import annotations

from hyena_ray.cli import run
from hyena_ray.outcomes import Outcome


def run_job(*words: object) -> Outcome:
    """Run `hyena-ray WORDS`, and return what it found.

    Args:
        words: Words of the command line, after the name of the program.

    Raises:
        InputError: The job refuses its input.
        JobError: The job cannot continue.
    """
    outcome = run([str(word) for word in words])
    assert outcome is not None, "only help or versions were asked for"
    return outcome

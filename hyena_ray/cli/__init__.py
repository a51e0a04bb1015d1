"""The command `hyena-ray JOB ...`, also `python -m hyena_ray JOB ...` and `python jobs/JOB.py ...`.

The command line of every job is made from its settings (`cli.commands`), and run with the same exit
codes, signals and printing (`cli.terminal`). The face of the room is `main`,
which leaves with an exit code, and `run`, which returns what a job found.
"""

from __future__ import annotations

from hyena_ray.cli.commands import main, run

__all__ = ["main", "run"]

"""A process that sends a search's trials to Weights & Biases.

Apart from the search, which must not wait for a server, and can end this process when it hangs.
The key comes from the environment or the login file, which the process shares with the search: Ray,
whose dashboard shows runtime environments, never has it. Imports nothing before it is started.
"""

from __future__ import annotations

import signal
from multiprocessing.connection import Connection
from typing import Any, Literal, NamedTuple


class TrialMessage(NamedTuple):
    """One thing that happened to a trial."""

    trial: str
    """Identity of the trial."""
    event: Literal["start", "result", "end"]
    values: dict[str, Any]
    """Settings at the start, metrics of a result, nothing at the end."""
    name: str = ""
    """Name of the trial, at its start."""
    step: int = 0
    """Number of the result."""
    failed: bool = False
    """Whether the trial ended with an error."""


def send_to_wandb(inbox: Any, problems: Connection, options: dict[str, Any]) -> None:
    """Follow trials until there is no more to come.

    Args:
        inbox: Queue of `TrialMessage`; None ends it.
        problems: Takes the first error as text, after which nothing is sent.
        options: Arguments of `wandb.init` that all trials share.
    """
    # Ctrl-C reaches all processes of a terminal; the search says what is to end.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        import wandb

        settings = wandb.Settings(silent=True, console="off", disable_git=True)
        runs: dict[str, wandb.Run] = {}
        while (message := inbox.get()) is not None:
            if message.event == "start":
                # A trial that is tried again continues its run.
                if message.trial not in runs:
                    runs[message.trial] = wandb.init(
                        id=message.trial,
                        name=message.name,
                        config=message.values,
                        reinit="create_new",
                        settings=settings,
                        **options,
                    )
            elif message.event == "result":
                runs[message.trial].log(message.values, step=message.step)
            else:
                runs.pop(message.trial).finish(exit_code=int(message.failed))
        for run in runs.values():
            run.finish()
    except Exception as error:  # whatever another program's server, disk or key can do
        lines = str(error).strip().splitlines()
        problems.send(lines[0] if lines else type(error).__name__)

"""One file for each job: its settings, the checks before it, its plan, a dry run, and the work.

Every file reads from top to bottom: the settings are the command line; `validate` refuses what
cannot be used, quickly and before anything heavy is imported; `dry_run` counts the work and times
one batch; `execute` does the work in the folder of a run and leaves its record.
"""

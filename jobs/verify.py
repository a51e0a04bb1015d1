"""Hold every file of a run or a model against the checksums that were written with it."""

from __future__ import annotations

import sys

from hyena_ray.cli import main

if __name__ == "__main__":
    main(["verify", *sys.argv[1:]])

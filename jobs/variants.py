"""Score what variants of a genome change in the calls of a model, on Ray actors."""

from __future__ import annotations

import sys

from hyena_ray.cli import main

if __name__ == "__main__":
    main(["variants", *sys.argv[1:]])

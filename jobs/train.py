"""Train one model on prepared windows."""

from __future__ import annotations

import sys

from hyena_ray.cli import main

if __name__ == "__main__":
    main(["train", *sys.argv[1:]])

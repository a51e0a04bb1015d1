"""Score a trained model on a split of prepared windows."""

from __future__ import annotations

import sys

from hyena_ray.cli import main

if __name__ == "__main__":
    main(["evaluate", *sys.argv[1:]])

"""List the k-mers that a model relies on: attribution of its true positives on Ray actors."""

from __future__ import annotations

import sys

from hyena_ray.cli import main

if __name__ == "__main__":
    main(["attribute", *sys.argv[1:]])

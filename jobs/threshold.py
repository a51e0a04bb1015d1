"""Copy a trained model with another threshold."""

from __future__ import annotations

import sys

from hyena_ray.cli import main

if __name__ == "__main__":
    main(["threshold", *sys.argv[1:]])

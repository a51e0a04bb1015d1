"""Tune Z-DNA recognition: the same as `hyena-ray tune zdna`."""

from __future__ import annotations

import sys

from hyena_ray.cli import main

if __name__ == "__main__":
    main(["tune", "zdna", *sys.argv[1:]])

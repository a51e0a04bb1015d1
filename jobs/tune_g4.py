"""Tune G-quadruplex recognition: the same as `hyena-ray tune g4`."""

from __future__ import annotations

import sys

from hyena_ray.cli import main

if __name__ == "__main__":
    main(["tune", "g4", *sys.argv[1:]])

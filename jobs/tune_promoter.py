"""Tune promoter recognition: the same as `hyena-ray tune promoter`."""

from __future__ import annotations

import sys

from hyena_ray.cli import main

if __name__ == "__main__":
    main(["tune", "promoter", *sys.argv[1:]])

"""Run presets on the same data, each with several seeds, and put them into one table."""

from __future__ import annotations

import sys

from hyena_ray.cli import main

if __name__ == "__main__":
    main(["compare", *sys.argv[1:]])

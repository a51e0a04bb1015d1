"""Combine attributions of several models into one table of k-mers."""

from __future__ import annotations

import sys

from hyena_ray.cli import main

if __name__ == "__main__":
    main(["combine", *sys.argv[1:]])

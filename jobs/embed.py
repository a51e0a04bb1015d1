"""Embed regions of a genome, or prepared windows, with hidden states of a model, on Ray actors."""

from __future__ import annotations

import sys

from hyena_ray.cli import main

if __name__ == "__main__":
    main(["embed", *sys.argv[1:]])

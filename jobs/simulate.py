"""Write a small simulated genome with its regions, or simulated sequences, to try jobs on."""

from __future__ import annotations

import sys

from hyena_ray.cli import main

if __name__ == "__main__":
    main(["simulate", *sys.argv[1:]])

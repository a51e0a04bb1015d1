"""Score every base of a genome with a trained model, on Ray actors, and call regions."""

from __future__ import annotations

import sys

from hyena_ray.cli import main

if __name__ == "__main__":
    main(["predict", *sys.argv[1:]])

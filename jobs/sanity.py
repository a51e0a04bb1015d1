"""Check that an attribution can be trusted: faithfulness, untrained models, planted k-mers."""

from __future__ import annotations

import sys

from hyena_ray.cli import main

if __name__ == "__main__":
    main(["sanity", *sys.argv[1:]])

"""Cut a genome into labelled windows, or read labelled sequences, and write them as Parquet."""

from __future__ import annotations

import sys

from hyena_ray.cli import main

if __name__ == "__main__":
    main(["prepare", *sys.argv[1:]])

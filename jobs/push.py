"""Publish a trained model in a repository of the Hugging Face Hub."""

from __future__ import annotations

import sys

from hyena_ray.cli import main

if __name__ == "__main__":
    main(["push", *sys.argv[1:]])

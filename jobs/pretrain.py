"""Pretrain a HyenaDNA backbone on a genome, and compare its perplexity with Markov models."""

from __future__ import annotations

import sys

from hyena_ray.cli import main

if __name__ == "__main__":
    main(["pretrain", *sys.argv[1:]])

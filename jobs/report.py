"""Write one page about a run, report.html in its folder: to open in a browser, print or send."""

from __future__ import annotations

import sys

from hyena_ray.cli import main

if __name__ == "__main__":
    main(["report", *sys.argv[1:]])

"""Tune promoter recognition: python jobs/tune_promoter.py --help"""

from __future__ import annotations

from pathlib import Path

from hyena_ray.commands import run_job
from hyena_ray.report.job import with_report
from hyena_ray.tuning.job import tuning_job

if __name__ == "__main__":
    run_job(with_report(tuning_job("promoter", Path(__file__).parent.parent / "search_spaces")))

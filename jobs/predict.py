"""Score a whole genome with a trained model of bases, on a pool of Ray actors.

Writes probabilities.bw, a bigWig track of the probability of every base; regions.bed, runs of bases
from the threshold on, with 1000 times the mean probability as score and the summit drawn thick;
regions.csv, the same regions with mean, maximum and summit; and last manifest.json. Genome browsers
such as IGV open track and BED, whose contigs are sorted by name.

Every base is scored on the strands that the model reads, in windows as it was trained on, and has
the mean of the windows that hold it. N has no score. The track is rounded to 0.0001; regions and
sums are made before.

A genome has far fewer labelled bases than the windows on which the threshold was chosen, so that
precision is lower than there: raise --threshold for fewer and surer regions. With --resume a
complete prediction gets new regions without being scored again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hyena_ray.commands import DONE, READ, WHERE, Outcome, Parser, run_job
from hyena_ray.outcomes import SIMULATED
from hyena_ray.progress import counted
from hyena_ray.report.job import with_report

if TYPE_CHECKING:
    from hyena_ray.cluster.predict import Prediction

EXAMPLES = """\
examples:
  python jobs/predict.py --model run/model --genome genome.fa.gz --out tracks
  python jobs/predict.py --model run/model --genome genome.fa.gz --out tracks --dry-run
  python jobs/predict.py --model run/model --genome genome.fa.gz --out tracks --resume \\
      --threshold 0.9 --min-length 10
"""


def parser() -> Parser:
    """The command line."""
    options = Parser(
        prog="predict.py",
        description=__doc__,
        epilog=EXAMPLES,
        found="contigs, bases, scored, called, share, regions, in_regions, digest, threshold, "
        "expected",
    )
    options.add_model()
    options.add_genome()
    options.group(READ).add_argument("--contigs", metavar="C,C", help="to score; default: all")
    done = options.group(DONE)
    done.add_argument(
        "--threshold",
        metavar="X",
        type=float,
        help="probability from which a base is called; default: the model's",
    )
    done.add_argument(
        "--min-length",
        metavar="N",
        type=int,
        default=1,
        help="leave out regions of fewer bases, after joining",
    )
    done.add_argument(
        "--merge-gap",
        metavar="N",
        type=int,
        default=0,
        help="join runs of called bases that at most N others keep apart",
    )
    done.add_argument(
        "--overlap",
        metavar="N",
        type=int,
        help="bases that a window has in common with the next one; default: half a window. 0 takes "
        "half the time, and is as good where the model reads 32 bases on each side of a window",
    )
    options.add_output("new folder; takes the results and report.html", required=True)
    options.add_existing_output()
    options.add_dry_run()
    where = options.group(WHERE)
    where.add_argument(
        "--batch",
        metavar="N",
        type=int,
        default=128,
        help="windows of one forward pass; more are no faster on a CPU",
    )
    where.add_argument(
        "--actors", metavar="N", type=int, help="at once; default: as many as the cluster holds"
    )
    options.add_resources("an actor")
    options.add_address()
    return options


def main(arguments: Sequence[str]) -> Outcome:
    """Predict, or say what a prediction would take."""
    given = parser().parse_args(arguments)
    from hyena_ray.cluster.dry_predict import plan_job
    from hyena_ray.cluster.predict import PredictOptions, predict, written_by
    from hyena_ray.cluster.resources import Resources

    options = PredictOptions(
        model=given.model,
        genome=given.genome,
        out=given.out,
        contigs=None if given.contigs is None else given.contigs.split(","),
        threshold=given.threshold,
        min_length=given.min_length,
        merge_gap=given.merge_gap,
        overlap=given.overlap,
        batch=given.batch,
        actors=given.actors,
        resources=Resources.parse({"cpu": given.cpu, "gpu": given.gpu}, "command line"),
        resume=given.resume,
        overwrite=given.overwrite,
        address=given.address,
    )
    if given.dry_run:
        return plan_job(options).outcome()
    found = predict(options)
    values = found.result.model_dump(mode="json")
    values |= {
        "share": found.result.share,
        "threshold": found.settings.threshold,
        "expected": None if found.expected is None else found.expected.model_dump(mode="json"),
    }
    written, simulated = written_by(found.out), found.plan.simulated
    return Outcome(text_of(found), values, written, simulated, found.out)


def text_of(found: Prediction) -> str:
    """What was found, for people."""
    result, threshold = found.result, found.settings.threshold
    lines = [SIMULATED] * found.plan.simulated
    lines += [
        f"scored      {result.scored:,} of {result.bases:,} bases on "
        f"{counted(result.contigs, 'contig')}; the others are N",
        f"called      {result.called:,} bases, {result.share:.3%} of them, with a probability of "
        f"at least {threshold:.3g}",
        f"regions     {result.regions:,} with {result.in_regions:,} bases",
        f"precision   {found.expected or UNKNOWN}",
        f"digest      {result.digest}",
    ]
    return "\n".join(lines)


UNKNOWN = (
    "not known, and lower than on windows, where negatives are a sample: train.py --test leaves "
    "what an estimate at the model's own threshold needs"
)


if __name__ == "__main__":
    run_job(with_report(main))

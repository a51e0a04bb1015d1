"""List the k-mers that a model relies on: attribution on a pool of Ray actors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, get_args

from hyena_ray.attribution.settings import DEFINITIONS, AttributionSettings, MethodName
from hyena_ray.commands import DONE, READ, WHERE, Outcome, Parser, run_job
from hyena_ray.report.job import with_report
from hyena_ray.settings import parse_assignments

if TYPE_CHECKING:
    from hyena_ray.attribution.shards import MergeResult

EXAMPLES = """\
examples:
  python jobs/attribute.py --model run/model --data prepared --out kmers --methods ig,tp --k 6
  python jobs/attribute.py --model run/model --data prepared --out kmers --limit 2560 --dry-run
"""
TOP = 10
"""k-mers of each table that are shown."""


def parser() -> Parser:
    """The command line."""
    options = Parser(
        prog="attribute.py",
        description=__doc__,
        epilog=EXAMPLES,
        found=f"windows, attributed, convergence, kmers (the first {TOP} of each table), "
        "agreement, digest",
    )
    fields = AttributionSettings.model_fields
    options.add_model()
    options.add_data(required=True)
    options.add_split()
    options.group(READ).add_argument(
        "--limit",
        metavar="N",
        type=int,
        help="so many windows at most, in shards evenly over the split; default: all",
    )
    done = options.group(DONE)
    done.add_argument(
        "--methods",
        metavar="M,M",
        help=f"of {', '.join(get_args(MethodName))}; default: the definition's",
    )
    done.add_argument("--k", metavar="K", type=int, help=_help("k"))
    done.add_argument("--min-count", metavar="N", type=int, help=_help("min_count"))
    done.add_argument(
        "--merge-strands",
        action="store_true",
        default=None,
        help=fields["merge_strands"].description,
    )
    done.add_argument(
        "--definition",
        choices=DEFINITIONS,
        default="default",
        help="the corrected definitions of target, baseline and noise (default), or those of the "
        "original work (original)",
    )
    done.add_argument("--seed", metavar="N", type=int, help=_help("seed"))
    options.add_settings(
        "any other setting of an attribution, such as shuffles=8 or baseline=n; may be given again"
    )
    options.add_output("new folder; takes kmers/, tracks/ and shards/", required=True)
    options.add_existing_output()
    options.add_dry_run()
    options.group(WHERE).add_argument(
        "--actors", metavar="N", type=int, help="at once; default: as many as the cluster holds"
    )
    options.add_resources("an actor")
    options.add_address()
    return options


def _help(name: str) -> str:
    field = AttributionSettings.model_fields[name]
    return f"{field.description} Default: {field.default}"


def main(arguments: Sequence[str]) -> Outcome:
    """Attribute, or say what an attribution would take."""
    given = parser().parse_args(arguments)
    changes = parse_assignments(given.set, "--set")
    methods = None if given.methods is None else given.methods.split(",")
    flags = {
        "methods": methods,
        "k": given.k,
        "min_count": given.min_count,
        "merge_strands": given.merge_strands,
        "seed": given.seed,
    }
    # What was not given leaves the definition's, or that of --set.
    changes |= {key: value for key, value in flags.items() if value is not None}
    from hyena_ray.cluster.attribute import AttributeOptions, attribute, plan_job
    from hyena_ray.cluster.resources import Resources

    options = AttributeOptions(
        model=given.model,
        data=given.data,
        out=given.out,
        split=given.on,
        limit=given.limit,
        definition=given.definition,
        changes=changes,
        actors=given.actors,
        resources=Resources.parse({"cpu": given.cpu, "gpu": given.gpu}, "command line"),
        resume=given.resume,
        overwrite=given.overwrite,
        address=given.address,
    )
    if given.dry_run:
        return plan_job(options).outcome()
    done = attribute(options)
    found = done.found
    values = {
        "windows": found.windows,
        "attributed": found.attributed,
        "convergence": found.convergence,
        "kmers": {name: table["kmer"][:TOP].to_pylist() for name, table in found.tables.items()},
        "agreement": None if found.agreement is None else found.agreement.to_pylist(),
        "digest": found.digest,
    }
    folder = given.out.absolute()
    return Outcome(text_of(found), values, done.written, done.simulated, folder)


def text_of(found: MergeResult) -> str:
    """How exact the scores are, the first k-mers of every table, and how far the tables agree."""
    lines = [f"{found.attributed} of {found.windows} windows have a true positive"]
    lines += [
        "{name}: {nodes_mean:.0f} gradients a window and strand; error of the sum: median "
        "{completeness_median:.2g}, worst {completeness_worst:.2g}".format(name=name, **of)
        for name, of in found.convergence.items()
    ]
    lines += [
        f"{name:<12}{' '.join(table['kmer'][:TOP].to_pylist())}"
        for name, table in found.tables.items()
    ]
    if found.agreement is not None:
        lines += [
            "{first} and {second}: tau {kendall_tau:.2f}, overlap {rbo:.2f}".format(**row)
            for row in found.agreement.to_pylist()
        ]
    return "\n".join([*lines, f"digest      {found.digest}"])


if __name__ == "__main__":
    run_job(with_report(main))

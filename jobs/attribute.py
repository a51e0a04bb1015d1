"""List the k-mers that a model relies on: attribution on a pool of Ray actors."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import get_args

from hyena_ray.attribution.settings import DEFINITIONS, AttributionSettings, MethodName
from hyena_ray.cluster.attribute import AttributeOptions, attribute
from hyena_ray.cluster.resources import Resources
from hyena_ray.commands import Parser, place, run_job
from hyena_ray.settings import parse_assignments

EXAMPLE = """\
example:
  python jobs/attribute.py --model run/model --data prepared --out kmers --methods ig,tp --k 6
"""


def main(arguments: Sequence[str]) -> None:
    """Attribute, and print the first k-mers of every table to stdout."""
    given = parser().parse_args(arguments)
    found = attribute(options_of(given))
    print(f"{found.attributed} of {found.windows} windows have a true positive")
    for name, of in found.convergence.items():
        print(
            "{name}: {nodes_mean:.0f} gradients a window and strand; error of the sum: median "
            "{completeness_median:.2g}, worst {completeness_worst:.2g}".format(name=name, **of)
        )
    for name, table in found.tables.items():
        print(f"{name:<12}{' '.join(table['kmer'][:10].to_pylist())}")
    if found.agreement is not None:
        for row in found.agreement.to_pylist():
            print("{first} and {second}: tau {kendall_tau:.2f}, overlap {rbo:.2f}".format(**row))
    print(f"digest      {found.digest}")


def options_of(given: argparse.Namespace) -> AttributeOptions:
    """Check what can be checked without reading a file."""
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
    return AttributeOptions(
        model=given.model,
        data=given.data,
        out=given.out,
        split=given.on,
        limit=given.limit,
        definition=given.definition,
        changes=changes,
        actors=given.actors,
        each=Resources.parse({"cpu": given.cpu, "gpu": given.gpu}, "command line"),
        resume=given.resume,
        overwrite=given.overwrite,
        address=given.address,
    )


def parser() -> Parser:
    """The command line."""
    options = Parser(prog="attribute.py", description=__doc__, epilog=EXAMPLE)
    fields = AttributionSettings.model_fields
    options.add_argument(
        "--model", metavar="DIR", type=place, required=True, help="model/ of a run"
    )
    options.add_argument(
        "--data", metavar="DIR", type=place, required=True, help="folder that prepare.py wrote"
    )
    options.add_argument(
        "--out",
        metavar="DIR",
        type=place,
        required=True,
        help="new folder; takes kmers/, tracks/ and shards/",
    )
    options.add_argument("--on", metavar="SPLIT", default="test", help="windows; default: test")
    options.add_argument(
        "--limit",
        metavar="N",
        type=int,
        help="so many windows at most, in shards evenly over the split; default: all",
    )
    options.add_argument(
        "--methods",
        metavar="M,M",
        help=f"of {', '.join(get_args(MethodName))}; default: the definition's",
    )
    options.add_argument(
        "--k", metavar="K", type=int, help=f"{fields['k'].description} Default: 5."
    )
    options.add_argument("--min-count", metavar="N", type=int, help=fields["min_count"].description)
    options.add_argument(
        "--merge-strands",
        action="store_true",
        default=None,
        help=fields["merge_strands"].description,
    )
    options.add_argument(
        "--definition",
        choices=DEFINITIONS,
        default="default",
        help="the corrected definitions of target, baseline and noise, or the study's",
    )
    options.add_argument(
        "--seed", metavar="N", type=int, help=f"{fields['seed'].description} Default: 0."
    )
    options.add_argument(
        "--set",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="any other setting of an attribution, such as shuffles=8 or baseline=n",
    )
    options.add_argument(
        "--actors", metavar="N", type=int, help="at once; default: as many as the cluster holds"
    )
    options.add_resources("an actor")
    options.add_existing_output()
    options.add_address()
    return options


if __name__ == "__main__":
    run_job(main)

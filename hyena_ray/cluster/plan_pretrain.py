"""What a pretraining is made of: all that is checked before anything is written."""

from __future__ import annotations

import logging
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hyena_ray.cluster.folder import check_output
from hyena_ray.cluster.resources import Cluster, Placement, Resources, fit_resources
from hyena_ray.cluster.steps import STREAM_CPU
from hyena_ray.model.provenance import Provenance, public_name, read_provenance
from hyena_ray.storage import AnyPath
from hyena_ray.training.genome_stream import WindowStream
from hyena_ray.training.leaks import held_out_leak
from hyena_ray.training.pretrain_genome import Genome, held_out_windows, read_genome
from hyena_ray.training.pretrain_record import BACKBONE, RECORD
from hyena_ray.training.pretraining import check_start
from hyena_ray.training.settings import PretrainSettings

logger = logging.getLogger(__name__)

MAY_CHANGE = ("threads",)
"""Of what a pretraining is made of, what one that is resumed may differ in."""


class PretrainOptions(NamedTuple):
    """What the command line of the pretraining job says."""

    genome: AnyPath
    """Its file, or the name of an assembly."""
    out: AnyPath
    settings: PretrainSettings
    leave_out: tuple[str, ...]
    held_out: tuple[str, ...]
    """Contigs; none holds out a share of each."""
    workers: int
    resources: Resources
    """Of a worker."""
    inputs: tuple[AnyPath, ...]
    """Other files that are read."""
    resume: bool
    overwrite: bool
    address: str | None
    """Ray cluster; see `connect`."""


class Checked(NamedTuple):
    """What passed every check but for the cluster's; nothing was written."""

    out: AnyPath
    genome: Genome
    stream: WindowStream
    held_out: dict[str, NDArray[np.uint8]]
    """(W, L) codes of the windows that are scored, by contig."""
    before: Provenance | None
    """Of the weights to go on from."""
    done: int
    """Steps that an interrupted run has done."""

    def provenance(self, settings: PretrainSettings) -> Provenance:
        """Of the weights that the run will leave."""
        backbone = settings.model.backbone
        return Provenance(
            objective=settings.objective,
            genome=self.genome.name,
            genome_sha256=self.genome.sha256,
            simulated=self.genome.simulated,
            contigs=self.genome.contigs,
            began_from=None if backbone is None else public_name(backbone),
            before=self.before,
        )

    def stages(self) -> dict[str, str]:
        """For people: steps, to their windows."""
        found = {}
        for number, of in enumerate(self.stream.stages):
            epochs = (of.last - of.first) * of.rows / self.stream.count(number)
            found[f"steps {of.first + 1} to {of.last}"] = (
                f"{of.rows} windows of {of.length} bases a step, {epochs:.2f} epochs of "
                f"{self.stream.count(number):,}"
            )
        return found


def checked(options: PretrainOptions) -> Checked:
    """All checks but the cluster's. Writes nothing, and warns where the weights to go on from have
    seen what is held out.

    Raises:
        InputError: bad options, files or settings.
    """
    out = check_output(
        options.out,
        None,
        inputs=[options.genome, *options.inputs],
        resume=options.resume,
        overwrite=options.overwrite,
    )
    settings = options.settings
    done = check_start(settings, out if options.resume else None, settings.fingerprint())
    before = read_provenance(settings.model.backbone)
    genome = read_genome(
        options.genome, settings, leave_out=options.leave_out, held_out=options.held_out
    )
    windows = dict(held_out_windows(genome, settings))
    run = Checked(out, genome, WindowStream(genome.train, settings), windows, before, done)
    leak = held_out_leak(run.provenance(settings))
    if leak:
        logger.warning("%s: %s", settings.model.backbone, leak)
    return run


def place_workers(options: PretrainOptions, cluster: Cluster) -> Placement:
    """The one group of workers on a cluster.

    Raises:
        InputError: the cluster cannot hold them.
    """
    return fit_resources(
        cluster,
        options.resources,
        wanted=None,
        useful=1,
        streams=True,
        stream_cpu=STREAM_CPU,
        name="--workers, --cpu, --gpu",
        workers=options.workers,
    )


def made_of(options: PretrainOptions, genome: Genome, placement: Placement) -> dict[str, Any]:
    """Plain values by section, as `begin` writes them."""
    return {
        "settings": options.settings.model_dump(mode="json"),
        "genome": genome.sha256,
        "leave_out": sorted(options.leave_out),
        "held_out": sorted(options.held_out),
        "threads": placement.threads,
    }


def written_by(out: AnyPath) -> dict[str, AnyPath]:
    """What a pretraining leaves, to where it lies."""
    return {"backbone": out / BACKBONE, "summary": out / RECORD}

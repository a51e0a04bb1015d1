"""The plan of a prediction: which contigs of which genome, cut into which pieces and windows.

In: a genome and a model of bases.  Out: `PredictionPlan`.  One pass over the genome, one contig in
memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import ClassVar

from pydantic import Field

from hyena_ray.attribution.plan import model_sha256
from hyena_ray.dataset.manifest import ContigEntry
from hyena_ray.dataset.sharded import WorkPlan
from hyena_ray.errors import InputError
from hyena_ray.genome.contigs import N_CODE, open_genome, with_progress
from hyena_ray.genome.simulation import SIMULATED
from hyena_ray.model.scoring import BATCH
from hyena_ray.model.window import WindowModel
from hyena_ray.settings import Settings
from hyena_ray.storage import AnyPath

PIECE = 250_000
"""Bases of a piece: seconds of work, and less is lost with a worker than it costs to keep."""


class Piece(Settings):
    """Neighbouring bases of one contig: what one shard scores."""

    contig: str
    start: int
    """First base, 0-based."""
    end: int
    """One past the last base."""

    @property
    def label(self) -> str:
        """What it is called."""
        return f"{self.contig}:{self.start}-{self.end}"


class PredictionPlan(WorkPlan):
    """What the probabilities of a genome depend on."""

    work: ClassVar[str] = "prediction"

    genome: str
    """sha256 of its file."""
    model: str
    """sha256 of weights, readout and threshold."""
    simulated: bool
    """Made from simulated DNA: no figure from it says anything about real DNA."""
    window: int
    """Bases of a window."""
    stored: int
    """Bases on each side that a window comes with."""
    overlap: int
    """Bases that a window has in common with the next one."""
    batch: int
    """Windows of one forward pass."""
    contigs: tuple[ContigEntry, ...]
    """All of the genome, by name, as UCSC's tools want them."""
    pieces: tuple[Piece, ...] = Field(min_length=1)
    """In the same order; those in which every base is N are left out."""

    @property
    def step(self) -> int:
        """Bases from one window to the next."""
        return self.window - self.overlap

    @cached_property
    def lengths(self) -> dict[str, int]:
        """Contig to its bases."""
        return {entry.name: entry.length for entry in self.contigs}


def check_labels_bases(model: WindowModel, folder: AnyPath) -> None:
    """Refuse a model of sequences.

    Its probability is that of a sequence which begins and ends where those of its training did,
    such as around a start of transcription: the mean over the windows that hold a base says
    nothing of the base.

    Raises:
        InputError: it is one; names `folder`.
    """
    if not model.labels_bases:
        raise InputError(
            folder,
            "labels whole sequences",
            "a genome is scored base by base",
            "give a model of bases, such as one of zdna or g4",
        )


def plan_prediction(
    model: WindowModel,
    genome: AnyPath,
    *,
    contigs: Sequence[str] | None,
    overlap: int | None,
    batch: int = BATCH,
    piece: int = PIECE,
) -> PredictionPlan:
    """Read the genome once, and cut the work. Writes nothing.

    Args:
        model: of bases.
        genome: its file, or the name of an assembly.
        contigs: to score; None takes all.
        overlap: bases that a window has in common with the next one; None is half a window.
        batch: windows of one forward pass.
        piece: bases of a piece.

    Raises:
        InputError: the file cannot be used, an option is out of range, or a contig is missing or
            has only N.
    """
    window = model.readout.window
    overlap = window // 2 if overlap is None else overlap
    if not 0 <= overlap < window:
        raise InputError(
            "--overlap",
            overlap,
            f"the model reads windows of {window} bases",
            f"give 0 to {window - 1}",
        )
    if batch < 1:
        raise InputError("--batch", batch, "below 1", "give 1 or more")
    source = open_genome(genome)
    entries: list[ContigEntry] = []
    pieces: list[Piece] = []
    simulated = False
    for contig in with_progress(source):
        size = len(contig.codes)
        entries.append(ContigEntry(name=contig.name, length=size))
        simulated |= contig.description.startswith(SIMULATED)
        if contigs is not None and contig.name not in contigs:
            continue
        known = contig.codes != N_CODE
        pieces += [
            Piece(contig=contig.name, start=start, end=min(start + piece, size))
            for start in range(0, size, piece)
            if known[start : start + piece].any()
        ]
    _check_contigs(contigs, [entry.name for entry in entries])
    if not pieces:
        raise InputError(
            "--genome" if contigs is None else "--contigs",
            genome if contigs is None else ",".join(contigs),
            "every base is N",
            "give DNA that has sequence",
        )
    return PredictionPlan(
        genome=source.sha256,
        model=model_sha256(model),
        simulated=simulated,
        window=window,
        stored=model.readout.required_flank,
        overlap=overlap,
        batch=batch,
        contigs=tuple(sorted(entries, key=lambda entry: entry.name)),
        pieces=tuple(sorted(pieces, key=lambda each: (each.contig, each.start))),
    )


def _check_contigs(contigs: Sequence[str] | None, names: Sequence[str]) -> None:
    for contig in contigs or ():
        if contig not in names:
            raise InputError(
                "--contigs",
                contig or "''",
                "the genome has no such contig",
                f"it has {', '.join(names[:8])}",
            )

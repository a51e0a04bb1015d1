"""Read a genome for pretraining: what is trained on, what is held out, what is left out."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hyena_ray.dataset.reader import sample_evenly
from hyena_ray.errors import InputError
from hyena_ray.genome.contigs import N_CODE, open_genome, with_progress
from hyena_ray.genome.simulation import SIMULATED
from hyena_ray.model.provenance import ContigUse, Use
from hyena_ray.progress import shortened_list
from hyena_ray.storage import AnyPath, recorded_name
from hyena_ray.training.genome_stream import PackedBases, known_stretches
from hyena_ray.training.settings import PretrainSettings

_LETTERS = np.frombuffer(b"ACGTN", np.uint8)


class Genome(NamedTuple):
    """Genome of a pretraining: contigs to train on, held out, and left out."""

    train: PackedBases
    """Stretches to train on; their contigs are indices of `contigs`."""
    held_out: PackedBases
    """Stretches to score; their contigs are indices of `contigs`."""
    contigs: tuple[ContigUse, ...]
    """All contigs, in the order of the file."""
    name: str
    """Name of the file."""
    sha256: str
    """Checksum of the file as stored."""
    simulated: bool
    """Whether the genome is a simulated one."""


def read_genome(
    path: AnyPath,
    settings: PretrainSettings,
    *,
    leave_out: Sequence[str] = (),
    held_out: Sequence[str] = (),
) -> Genome:
    """Read a genome once, without what is left out.

    A window holds no N, so stretches between N that are shorter than the shortest window are
    skipped, and so are held-out ones that are shorter than the longest.

    Args:
        path: File of the genome, or the name of an assembly.
        settings: Settings of the run.
        leave_out: Contigs that nothing is read from.
        held_out: Contigs that are scored and not trained on; none holds out the last bases of every
            contig, as the settings say.

    Raises:
        InputError: The file is no genome, has no such contig, holds only N or is shorter than a
            window; or a contig is named twice.
    """
    _check_names(leave_out, held_out)
    fraction = 0.0 if held_out else settings.held_out.share
    train: list[PackedBases] = []
    scored: list[PackedBases] = []
    contigs: list[ContigUse] = []
    longest, known, simulated = 0, False, False
    source = open_genome(path)
    for number, contig in enumerate(with_progress(source)):
        use: Use = "trained"
        if contig.name in leave_out:
            use = "left_out"
        elif contig.name in held_out:
            use = "held_out"
        simulated |= contig.description.startswith(SIMULATED)
        checksum = hashlib.sha256(_LETTERS[contig.codes].data).hexdigest()
        length = len(contig.codes)
        cut = length - int(fraction * length) if use == "trained" else 0
        contigs.append(
            ContigUse(name=contig.name, length=length, sha256=checksum, use=use, trained=cut)
        )
        if use == "left_out":
            continue
        shortest = settings.training.lengths[0]
        train.append(_packed(number, contig.codes[:cut], shortest))
        scored.append(_packed(number, contig.codes[cut:], settings.longest))
        longest = max(longest, int(train[-1].lengths.max(initial=0)))
        known = known or bool((contig.codes != N_CODE).any())
    names = [contig.name for contig in contigs]
    for option, asked in (("--leave-out", leave_out), ("--held-out", held_out)):
        for name in asked:
            if name not in names:
                raise InputError(
                    option,
                    name,
                    f"{path} has no such contig",
                    f"it has {shortened_list(names, 30)}",
                )
    _check_enough(path, settings, contigs, longest, known=known)
    genome = Genome(
        PackedBases.joined(train),
        PackedBases.joined(scored),
        tuple(contigs),
        recorded_name(source.path),
        source.sha256,
        simulated,
    )
    for number, contig_use in enumerate(contigs):
        if contig_use.use == "held_out" and not (genome.held_out.contigs == number).any():
            raise InputError(
                "--held-out",
                contig_use.name,
                f"has no {settings.longest} bases in a row without N, which a window needs",
                "hold out another contig, or lower training.lengths",
            )
    return genome


def _check_names(leave_out: Sequence[str], held_out: Sequence[str]) -> None:
    for option, names in (("--leave-out", leave_out), ("--held-out", held_out)):
        for name in names:
            if not name or names.count(name) > 1:
                raise InputError(option, name, "empty or named twice", "give names like chr7,chr20")
    for name in held_out:
        if name in leave_out:
            raise InputError(
                "--held-out",
                name,
                "is left out as well, and nothing is read from those",
                "name it in one of --held-out and --leave-out",
            )


def _check_enough(
    path: AnyPath,
    settings: PretrainSettings,
    contigs: Sequence[ContigUse],
    longest: int,
    *,
    known: bool,
) -> None:
    if all(contig.use != "trained" for contig in contigs):
        raise InputError(
            path, None, "every contig is left out or held out", "leave one to train on"
        )
    if not known:
        raise InputError(path, None, "holds nothing but N", "give a genome with bases")
    if longest < settings.longest:
        raise InputError(
            path,
            f"{longest} bases",
            "the longest stretch to train on without N is shorter than a window of "
            f"{settings.longest}",
            "give a longer genome, or lower training.lengths",
        )


def _packed(number: int, codes: NDArray[np.uint8], shortest: int) -> PackedBases:
    return PackedBases.of((number, codes[part]) for part in known_stretches(codes, shortest))


def held_out_windows(
    genome: Genome, settings: PretrainSettings
) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    """Yield every held-out contig's name and the base codes of its windows, shape (W, longest).

    The windows are tiles end to end, or `held_out.windows` of them, spread evenly over the contig.

    Args:
        genome: Genome with held-out bases.
        settings: Settings of the run.
    """
    bases, length = genome.held_out, settings.longest
    for number, contig in enumerate(genome.contigs):
        positions = [
            np.arange(start, start + size - length + 1, length)
            for start, size, index in zip(bases.starts, bases.lengths, bases.contigs, strict=True)
            if index == number
        ]
        if positions:
            tiles = np.concatenate(positions)
            rows = sample_evenly(len(tiles), settings.held_out.windows)
            yield contig.name, bases.cut(tiles[rows], length)

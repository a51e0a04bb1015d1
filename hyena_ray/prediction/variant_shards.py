"""Scoring of variants, exactly once: the plan and its shards.

The driver, with any scheduler over shard numbers, calls in this order:

    checked = check_variants(...)               # alleles held against the genome
    plan = plan_variants(model, checked, ...)
    write_sequences(plan, checked, ..., folder)
    scorer = make_scorer(model, plan)           # once in every actor
    for index in missing_shards(plan, folder):  # in actors, in any order, any number of times
        run_shard(scorer, plan, index, folder)
    scores = read_shards(plan, folder)

A shard is one Parquet file, which appears whole or not at all and carries the key of its plan.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import Field

from hyena_ray.dataset.tokens import codes_to_tokens, decode, ids_of, with_levels
from hyena_ray.errors import InputError
from hyena_ray.genome.contigs import open_genome, with_progress
from hyena_ray.genome.region_files import Regions
from hyena_ray.genome.signal_scale import NO_VALUE
from hyena_ray.genome.signal_tracks import SignalFile, SignalReader, SignalTrack
from hyena_ray.genome.simulation import SIMULATED
from hyena_ray.genome.variant_alleles import (
    MISMATCH,
    Allele,
    CheckedAllele,
    check_alleles,
    count_reasons,
    cut_windows,
    take,
    window_positions,
)
from hyena_ray.genome.variant_files import VARIANTS_REMEDY, VariantRow, Variants
from hyena_ray.model.devices import model_device
from hyena_ray.model.predictor import default_batch
from hyena_ray.model.saved import model_sha256
from hyena_ray.model.settings import Strands
from hyena_ray.model.window import WindowScorer
from hyena_ray.prediction.variant_scores import Places, VariantScorer, VariantScores
from hyena_ray.runs.plan import Plan
from hyena_ray.runs.shard_files import (
    SHARDS,
    read_shard_file,
    shard_file_is_complete,
    write_shard_file,
)
from hyena_ray.storage import AnyPath

SHARD_BASES = 1 << 18
"""Bases of the windows of a shard at most: seconds of work."""
PROFILES = 12
"""Alleles with the largest change of a shard, and of a run, whose probabilities are kept base by
base."""
SEQUENCES = "sequences"
"""Folder with the windows of each shard, until the run is complete."""
FIGURES = VariantScores._fields[:-2]
"""Columns of a shard that have one figure for each allele."""
PER_BASE = VariantScores._fields[-2:]
"""Columns with the probability of every base, of few alleles."""
BASES = ("ref_bases", "alt_bases")
"""Columns with the bases of both windows, of the same alleles."""


class CheckedVariants(NamedTuple):
    """Variants that were held against a genome."""

    genome: str
    """sha256 of the genome's file."""
    simulated: bool
    """Whether the genome is simulated."""
    sizes: dict[str, int]
    """Bases of every contig of the genome."""
    alleles: tuple[CheckedAllele, ...]
    """Every alternative allele, in the order of the file."""

    @property
    def scored(self) -> list[CheckedAllele]:
        """Alleles that are not skipped."""
        return [one for one in self.alleles if one.allele is not None]

    @property
    def mismatches(self) -> list[VariantRow]:
        """Rows whose reference allele is not what the genome has."""
        return [one.row for one in self.alleles if one.reason == MISMATCH and one.number == 0]


class VariantPlan(Plan):
    """Everything that scores of variants depend on, and how the work is cut.

    Where the inputs are stored is not part of it; what they contain is.
    """

    KIND: ClassVar[str] = "variants"

    inputs: dict[str, str]
    """sha256 of genome, variants, regions and tracks by name, and of what the model is."""
    simulated: bool
    """Whether the genome is simulated, so that no figure says anything about real DNA."""
    models: int
    """Number of models."""
    window: int
    """Bases of a window."""
    flank: int
    """Bases on each side of a window."""
    strands: Strands
    """Strands that are read: those of the model."""
    threshold: float
    """Probability from which a base is called."""
    max_mismatches: float
    """Fraction of rows whose reference allele may differ from the genome."""
    batch: int | None
    """Windows of one forward pass, as requested; None chooses it by the device."""
    shards: tuple[int, ...] = Field(min_length=1)
    """Alleles of every shard, in the order of the file."""

    def numbers(self, index: int) -> range:
        """Return the numbers of the alleles of a shard, among those that are scored.

        Args:
            index: Number of the shard.
        """
        first = sum(self.shards[:index])
        return range(first, first + self.shards[index])

    def label(self, index: int) -> str:
        """Return the name of a shard in messages.

        Args:
            index: Number of the shard.
        """
        numbers = self.numbers(index)
        return f"shard {index} (alleles {numbers.start + 1} to {numbers.stop})"


def longest_allele(model: WindowScorer) -> int:
    """Return the most bases of an allele that a model scores: less than half of its window.

    Args:
        model: The model.
    """
    return (model.readout.window - 1) // 2


def check_variants(
    genome: AnyPath,
    variants: Variants,
    *,
    longest: int,
    max_mismatches: float,
    regions: Regions | None = None,
    tracks: Sequence[SignalTrack] = (),
) -> CheckedVariants:
    """Read the genome once, one contig in memory, and hold every allele against it.

    Args:
        genome: File of the genome, or the name of an assembly.
        variants: The variants.
        longest: Most bases of an allele.
        max_mismatches: Fraction of rows whose reference allele may differ from the genome.
        regions: Regions of the same genome.
        tracks: Tracks that the model reads.

    Raises:
        InputError: The genome cannot be used, a contig or position is not on it, too many reference
            alleles differ, or no allele can be scored.
    """
    source = open_genome(genome)
    sizes: dict[str, int] = {}
    simulated = False
    by_contig: dict[str, list[CheckedAllele]] = {}
    for contig in with_progress(source):
        sizes[contig.name] = len(contig.codes)
        simulated |= contig.description.startswith(SIMULATED)
        rows = variants.rows.get(contig.name, [])
        inside = [row for row in rows if row.start + len(row.ref) <= len(contig.codes)]
        by_contig[contig.name] = list(check_alleles(contig, inside, longest))
    variants.check_contigs(sizes)
    if regions is not None:
        regions.check_contigs(sizes)
        for name in regions.rows:
            regions.check_ends(name, sizes[name])
    for track in tracks:
        with SignalFile(track.scale.name, track.path) as file:
            for name in variants.rows:
                file.check_contig(name, sizes[name])
    alleles = tuple(one for name in variants.rows for one in by_contig[name])
    checked = CheckedVariants(source.sha256, simulated, sizes, alleles)
    _check_mismatches(variants, checked, max_mismatches)
    if not checked.scored:
        reasons = count_reasons(alleles)
        listed = ", ".join(f"{reason}: {count:,}" for reason, count in reasons.items())
        problem = f"none of its alleles can be scored ({listed})"
        raise InputError(variants.path, None, problem, VARIANTS_REMEDY)
    return checked


def _check_mismatches(variants: Variants, checked: CheckedVariants, max_mismatches: float) -> None:
    wrong, rows = checked.mismatches, sum(map(len, variants.rows.values()))
    if len(wrong) > max_mismatches * rows:
        share = len(wrong) / rows
        raise InputError(
            variants.locate(wrong[0]),
            wrong[0].ref,
            f"is not what the genome has there, and so are {len(wrong):,} of "
            f"{rows:,} reference alleles ({share:.0%}), above --max-mismatches "
            f"{max_mismatches:g}",
            "give the variants of this very assembly",
        )


def plan_variants(
    model: WindowScorer,
    checked: CheckedVariants,
    digests: Mapping[str, str],
    *,
    threshold: float,
    max_mismatches: float,
    batch: int | None = None,
) -> VariantPlan:
    """Cut the alleles into shards. Nothing is written.

    Args:
        model: Model of bases, or several.
        checked: The alleles.
        digests: sha256 of the files of variants, regions and tracks, by name.
        threshold: Probability from which a base is called.
        max_mismatches: Fraction of rows whose reference allele may differ from the genome.
        batch: Windows of one forward pass; None chooses it by the device.
    """
    window, count = model.readout.window, len(checked.scored)
    most = max(1, SHARD_BASES // (2 * window))
    return VariantPlan(
        inputs={"model": model_sha256(model), "genome": checked.genome, **digests},
        simulated=checked.simulated,
        models=len(model.members),
        window=window,
        flank=model.readout.required_flank,
        strands=model.members[0].readout.strands,
        threshold=threshold,
        max_mismatches=max_mismatches,
        batch=batch,
        shards=tuple(min(most, count - first) for first in range(0, count, most)),
    )


def shard_path(folder: AnyPath, index: int) -> AnyPath:
    """Return the path of a shard's file.

    Args:
        folder: Folder of the run.
        index: Number of the shard.
    """
    return folder / SHARDS / f"part-{index:05d}.parquet"


def shard_is_complete(plan: VariantPlan, index: int, folder: AnyPath) -> bool:
    """Return whether a shard's file exists and was made by this plan; reads its footer only.

    Args:
        plan: Plan of the run.
        index: Number of the shard.
        folder: Folder of the run.
    """
    return shard_file_is_complete(shard_path(folder, index), plan.fingerprint, plan.shards[index])


def missing_shards(plan: VariantPlan, folder: AnyPath) -> list[int]:
    """Return the numbers of the shards that are still to be computed, in order.

    Args:
        plan: Plan of the run.
        folder: Folder of the run.
    """
    return [n for n in range(len(plan.shards)) if not shard_is_complete(plan, n, folder)]


class _Windows(NamedTuple):
    """An allele with the windows of both alleles, one behind the other."""

    before: int
    ref: int
    alt: int
    windows: bytes


def write_sequences(
    plan: VariantPlan,
    checked: CheckedVariants,
    genome: AnyPath,
    tracks: Sequence[SignalTrack],
    folder: AnyPath,
) -> None:
    """Write the windows that the missing shards read, unless they are there already.

    Args:
        plan: Plan of the run.
        checked: Alleles of the plan.
        genome: File of the genome, or the name of an assembly.
        tracks: Tracks that the model reads.
        folder: Folder of the run.

    Raises:
        InputError: The genome or a track is no longer that of the plan.
    """
    missing = missing_shards(plan, folder)
    for name in (SEQUENCES, SHARDS):
        (folder / name).mkdir(parents=True, exist_ok=True)
    wanted = [
        index
        for index in missing
        if not shard_file_is_complete(
            _sequence_path(folder, index), plan.fingerprint, plan.shards[index]
        )
    ]
    if not wanted:
        return
    shard_of = {number: index for index in wanted for number in plan.numbers(index)}
    by_contig: dict[str, list[tuple[int, Allele]]] = {}
    for number, one in enumerate(checked.scored):
        if number in shard_of:
            assert one.allele is not None
            by_contig.setdefault(one.row.contig, []).append((number, one.allele))
    collected: dict[int, dict[int, _Windows]] = {index: {} for index in wanted}
    source = open_genome(genome)
    with SignalReader(tracks) as signals:
        for contig in with_progress(source):
            for number, allele in by_contig.get(contig.name, ()):
                codes = cut_windows(contig.codes, allele, plan.window, plan.flank)
                positions = window_positions(allele, plan.window, plan.flank)
                there = positions[(positions >= 0) & (positions < len(contig.codes))]
                first, last = int(there.min()), int(there.max()) + 1
                levels = take(
                    signals.levels(contig.name, len(contig.codes), first, last),
                    positions - np.where(positions < 0, 0, first),
                    NO_VALUE,
                )
                windows = with_levels(codes_to_tokens(codes), levels)
                before = allele.start - allele.window_start(plan.window)
                cut = _Windows(before, len(allele.ref), len(allele.alt), windows.tobytes())
                index = shard_of[number]
                collected[index][number] = cut
                if len(collected[index]) == plan.shards[index]:
                    # The genome's order of contigs may not be that of the variants.
                    shard = collected.pop(index)
                    _write(plan, index, folder, [shard[n] for n in sorted(shard)])
    if source.sha256 != plan.inputs["genome"]:
        raise InputError(genome, None, "changed while it was read", "start anew with --overwrite")


def _sequence_path(folder: AnyPath, index: int) -> AnyPath:
    return folder / SEQUENCES / f"part-{index:05d}.parquet"


def _write(plan: VariantPlan, index: int, folder: AnyPath, rows: Sequence[_Windows]) -> None:
    types = (pa.int64(), pa.int64(), pa.int64(), pa.binary())
    columns = zip(*rows, strict=True)
    arrays = [pa.array(column, kind) for column, kind in zip(columns, types, strict=True)]
    table = pa.table(arrays, names=list(_Windows._fields))
    # After a crash of the machine they are written again, from the genome.
    write_shard_file(table, _sequence_path(folder, index), plan.fingerprint, durable=False)


def make_scorer(model: WindowScorer, plan: VariantPlan) -> VariantScorer:
    """Make the scorer of a plan's shards.

    Args:
        model: Model of the plan, in evaluation mode, on any device.
        plan: Plan of the run.
    """
    return VariantScorer(model, plan.batch or default_batch(model.readout, model_device(model)))


def run_shard(scorer: VariantScorer, plan: VariantPlan, index: int, folder: AnyPath) -> None:
    """Score the alleles of one shard and write its file, unless it is complete already.

    Args:
        scorer: Scorer of the plan.
        plan: Plan of the run.
        index: Number of the shard.
        folder: Folder of the run, with the windows of the shard.

    Raises:
        InputError: The windows of the shard are missing, or the GPU has too little memory for a
            single one.
    """
    if shard_is_complete(plan, index, folder):
        return
    table = read_shard_file(_sequence_path(folder, index), plan.fingerprint, plan.shards[index])
    stored = np.frombuffer(b"".join(table["windows"].to_pylist()), np.uint8)
    shape = (table.num_rows, 2, plan.window + 2 * plan.flank)
    windows = stored.reshape(*shape, -1) if len(stored) > np.prod(shape) else stored.reshape(shape)
    places = Places(*(table[name].to_numpy() for name in Places._fields))
    scores = scorer.score(windows, places)
    columns = {name: pa.array(getattr(scores, name)) for name in FIGURES}
    kept = set(strongest(scores.change, scores.summed_change).tolist())
    ids = ids_of(windows.reshape(-1, *windows.shape[2:])).reshape(shape)
    inner = ids[:, :, plan.flank : plan.flank + plan.window]
    for at, name in enumerate(BASES):
        texts = [decode(inner[row, at]) if row in kept else None for row in range(len(inner))]
        columns[name] = pa.array(texts, pa.string())
    for name in PER_BASE:
        rows = getattr(scores, name)
        lists = [rows[row].tolist() if row in kept else None for row in range(len(rows))]
        columns[name] = pa.array(lists, pa.list_(pa.float32()))
    write_shard_file(pa.table(columns), shard_path(folder, index), plan.fingerprint)


def strongest(
    change: NDArray[np.float64], summed_change: NDArray[np.float64], most: int = PROFILES
) -> NDArray[np.int64]:
    """Return the alleles with the largest changes, the largest one first.

    That of the summed log-odds counts, since a highest probability stays where it was when it is
    near 1 or another tract is in the window. Of equal ones the one with the larger change of the
    highest probability is first, then the one that is first in the file.

    Args:
        change: Change of the highest probability, shape (n,).
        summed_change: Change of the summed log-odds, shape (n,).
        most: Number of alleles at most.

    Example:
        >>> strongest(np.array([0.5, 0.1, 0.2]), np.array([-3.0, 9.0, 3.0])).tolist()
        [1, 0, 2]
    """
    return np.lexsort((-np.abs(change), -np.abs(summed_change)))[:most]


def read_shards(plan: VariantPlan, folder: AnyPath) -> pa.Table:
    """Read the scores of all alleles, in the order of the file.

    Args:
        plan: Plan of the run.
        folder: Folder of the run.

    Raises:
        InputError: A shard is missing or damaged.
    """
    return pa.concat_tables(
        read_shard_file(shard_path(folder, index), plan.fingerprint, count)
        for index, count in enumerate(plan.shards)
    )

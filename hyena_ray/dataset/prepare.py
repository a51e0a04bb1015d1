"""Turn a genome and its labelled regions into a folder of windows.

In: FASTA, BED, blacklist.  Out: `DIR/length=L/split=S/part-*.parquet` and `manifest.json`.
One pass over the genome, one contig in memory.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator

from hyena_ray.dataset.manifest import (
    NAME,
    SCHEMA_VERSION,
    ContigEntry,
    Count,
    DataFile,
    Dropped,
    InputFile,
    Manifest,
)
from hyena_ray.dataset.parts import PartWriter
from hyena_ray.dataset.schema import Windows
from hyena_ray.dataset.tokens import IGNORED, TOKEN_IDS, tokens_of
from hyena_ray.errors import InputError
from hyena_ray.files import atomic_folder, new_output, write_json
from hyena_ray.genome.fasta import N_CODE, Contig, Fasta
from hyena_ray.genome.intervals import Regions, Spans, read_bed
from hyena_ray.genome.labels import base_labels, gather, spans_of
from hyena_ray.genome.negatives import NegativeSampler
from hyena_ray.genome.simulate import SIMULATED
from hyena_ray.genome.splits import Split, parse_split, split_by_contig
from hyena_ray.genome.tiling import cut_tiles
from hyena_ray.settings import Settings
from hyena_ray.tasks import task_named

log = logging.getLogger(__name__)


class PrepareSettings(Settings):
    """What `prepare` reads, and how it cuts it."""

    task: str
    """Name of the task, such as zdna."""
    genome: Path
    """FASTA file: plain, gzip or bgzip; lower case is sequence."""
    regions: Path
    """BED file of the labelled regions."""
    blacklist: Path | None = None
    """BED file of regions that no window may touch."""
    lengths: tuple[int, ...] = Field(default=(100,), min_length=1)
    """Window lengths in bases; each is prepared by itself."""
    flank: int = Field(default=64, ge=0)
    """Real bases stored on each side of a window."""
    negatives: float = Field(default=3.0, ge=0)
    """Windows without a labelled base for each one with, within every split."""
    split: str | None = None
    """contig:train=A,B;val=C;test=D, stratified:0.6/0.2/0.2 or kfold:5; None chooses contigs."""
    seed: int = Field(default=0, ge=0)
    """Fixes the negatives and any random split."""

    @field_validator("lengths")
    @classmethod
    def _plain_lengths(cls, lengths: tuple[int, ...]) -> tuple[int, ...]:
        if min(lengths) < 1 or len(set(lengths)) < len(lengths):
            raise ValueError("lengths are different whole numbers of at least 1")
        return lengths


def prepare(settings: PrepareSettings, out: Path, *, overwrite: bool = False) -> Manifest:
    """Write the prepared folder `out`, whole or not at all.

    Args:
        settings: inputs and how to cut them.
        out: the folder to make.
        overwrite: replace a prepared folder that is there, once the new one is complete.

    Returns:
        The manifest, as written.

    Raises:
        InputError: an input cannot be used, `out` exists, or a split would hold no positive.
    """
    task_named(settings.task)
    out = _checked_output(settings, out, overwrite)
    regions = read_bed(settings.regions)
    remedy = "give --blacklist a BED file, or leave it out"
    blacklist = read_bed(settings.blacklist, remedy) if settings.blacklist else None
    split = (
        split_by_contig({contig: len(rows.start) for contig, rows in regions.rows.items()})
        if settings.split is None
        else parse_split(settings.split)
    )
    made = [parent for parent in out.parents if not parent.exists()]
    try:
        with atomic_folder(out) as folder:
            manifest = _write(settings, folder, regions, blacklist, split)
            if overwrite:
                new_output(out, overwrite=True)
    finally:
        for parent in made:
            # Refused by the system, as it should be, once the result stands in it.
            with suppress(OSError):
                parent.rmdir()
    return manifest


def _checked_output(settings: PrepareSettings, out: Path, overwrite: bool) -> Path:
    out = out.expanduser()
    inputs = (settings.genome, settings.regions, settings.blacklist)
    for path in (path.absolute() for path in inputs if path is not None):
        if out.absolute() == path or out.absolute() in path.parents:
            raise InputError("--out", out, f"holds the input {path}", "give another folder")
    if not (overwrite and out.is_dir() and not out.is_symlink()):
        return new_output(out)
    if any(out.iterdir()) and not (out / NAME).is_file():
        raise InputError(
            "--out", out, "holds something other than prepared data", "give another folder"
        )
    return out.absolute()


def _write(
    settings: PrepareSettings,
    folder: Path,
    regions: Regions,
    blacklist: Regions | None,
    split: Split,
) -> Manifest:
    cutters = [_Cutter(settings, folder, length, split) for length in settings.lengths]
    genome = Fasta(settings.genome)
    contigs: list[ContigEntry] = []
    simulated = False
    for contig in genome:
        size = len(contig.codes)
        labels = regions.on(contig.name, size)
        banned = blacklist.on(contig.name, size) if blacklist else Spans.none()
        unknown = spans_of(contig.codes == N_CODE)
        for cutter in cutters:
            cutter.cut(contig, labels, banned, unknown)
        contigs.append(ContigEntry(name=contig.name, length=size))
        simulated |= contig.description.startswith(SIMULATED)
        log.debug("%s: %d bases", contig.name, size)
    names = [contig.name for contig in contigs]
    for named in (regions, blacklist, split):
        if named is not None:
            named.check_contigs(names)
    for cutter in cutters:
        cutter.close()
    inputs = [
        InputFile(role="genome", name=settings.genome.name, sha256=genome.sha256),
        InputFile(role="regions", name=settings.regions.name, sha256=regions.sha256),
    ]
    if blacklist:
        name = blacklist.path.name
        inputs.append(InputFile(role="blacklist", name=name, sha256=blacklist.sha256))
    manifest = Manifest(
        schema_version=SCHEMA_VERSION,
        task=settings.task,
        simulated=simulated,
        lengths=settings.lengths,
        flank=settings.flank,
        negatives=settings.negatives,
        seed=settings.seed,
        split=split.text,
        splits=split.names,
        tokens=TOKEN_IDS,
        inputs=tuple(inputs),
        contigs=tuple(contigs),
        counts=tuple(count for cutter in cutters for count in cutter.counts),
        dropped=tuple(cutter.dropped for cutter in cutters),
        files=tuple(file for cutter in cutters for file in cutter.files),
    )
    write_json(folder / NAME, manifest.model_dump(mode="json"))
    return manifest


class _Cutter:
    """Cuts contig after contig into windows of one length and writes those that are wanted."""

    def __init__(self, settings: PrepareSettings, folder: Path, length: int, split: Split) -> None:
        self._length, self._flank, self._seed = length, settings.flank, settings.seed
        self._split = split
        self._samplers = [NegativeSampler(settings.negatives) for _ in split.names]
        self._writers = [PartWriter(folder, length, name, self._flank) for name in split.names]
        self._first_id = 0
        self.counts: list[Count] = []
        self.dropped = Dropped(length=length, tiles=0, too_many_n=0, blacklisted=0)

    @property
    def files(self) -> list[DataFile]:
        return [file for writer in self._writers for file in writer.files]

    def cut(self, contig: Contig, labels: Spans, blacklist: Spans, unknown: Spans) -> None:
        tiles = cut_tiles(len(contig.codes), self._length, labels, blacklist, unknown)
        kept = tiles.kept
        positive = tiles.labelled[kept] > 0
        # Seeded by name: neither the other contigs nor their order change what is drawn.
        rng = np.random.default_rng([self._seed, self._length, *contig.name.encode()])
        assigned = self._split.assign(contig.name, positive, rng)
        per_base = base_labels(labels, len(contig.codes))
        for index, name in enumerate(self._split.names):
            positives = kept[positive & (assigned == index)]
            candidates = kept[~positive & (assigned == index)]
            negatives = self._samplers[index].draw(len(positives), candidates, rng)
            chosen = np.sort(np.concatenate((positives, negatives)))
            if not len(chosen):
                continue
            self._writers[index].add(self._windows(contig, chosen, per_base))
            self.counts.append(
                Count(
                    length=self._length,
                    split=name,
                    contig=contig.name,
                    positive=len(positives),
                    negative=len(negatives),
                    labelled_bases=int(tiles.labelled[positives].sum()),
                )
            )
        # A tile's number in the genome is its id, whatever is drawn, split or dropped.
        self._first_id += len(tiles.labelled)
        n, banned = tiles.too_many_n, tiles.blacklisted & ~tiles.too_many_n
        self.dropped = Dropped(
            length=self._length,
            tiles=self._first_id,
            too_many_n=self.dropped.too_many_n + int(n.sum()),
            blacklisted=self.dropped.blacklisted + int(banned.sum()),
        )

    def _windows(
        self, contig: Contig, tiles: NDArray[np.int64], per_base: NDArray[np.int8]
    ) -> Windows:
        start = tiles * self._length
        width = self._length + 2 * self._flank
        return Windows(
            window_id=self._first_id + tiles,
            contig=np.full(len(tiles), contig.name),
            start=start,
            tokens=tokens_of(gather(contig.codes, start - self._flank, width, N_CODE)),
            labels=gather(per_base, start, self._length, IGNORED),
        )

    def close(self) -> None:
        """Write what is pending, and check that every split has what it needs.

        Raises:
            InputError: a split has no positive window, or none but labelled bases.
        """
        for name, sampler, writer in zip(
            self._split.names, self._samplers, self._writers, strict=True
        ):
            if not sampler.positives:
                raise InputError(
                    "--split",
                    self._split.text,
                    f"{name} has no window of {self._length} bases with a labelled one",
                    "give it contigs that the regions name, or shorter windows",
                )
            bases = sum(count.labelled_bases for count in self.counts if count.split == name)
            if bases == self._length * (sampler.positives + sampler.drawn):
                raise InputError(
                    "--regions",
                    f"{name}, {self._length} bases",
                    "every base is labelled, so that there is one class only",
                    "give regions, not whole contigs, or --negatives above 0",
                )
            if sampler.owed > 0:
                log.warning(
                    "%s, length %d: the genome has %d negatives fewer than asked for",
                    name,
                    self._length,
                    sampler.owed,
                )
            writer.close()

"""Tracks: numbers for every base that a classifier reads beside the letters.

Some are measured from the letters; others are signals of experiments, whose levels come
with the tokens (`dataset.tokens`).

Which tract flips depends on more than its letters: on how readily it does so by itself, which an
untrained predictor knows, on what is within half a kilobase, which competes for the same
supercoils, and on what kind of DNA is around it for thousands of bases, such as the island or gene
of a promoter. A network would need long windows and many regions to learn any of these. As input
tracks they cost next to nothing.

What is measured from the letters is measured on a strand, in its own direction, and from a fixed
number of bases on each side, so that it does not depend on where a window begins or how long it is.
A signal has no strand: its value belongs to the base, whichever strand is read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from itertools import product
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hyena_ray.dataset.tokens import FIRST_BASE, ids_of, level_of
from hyena_ray.genome.contigs import N_CODE
from hyena_ray.genome.signal_scale import TRACK_REACH, SignalScale
from hyena_ray.genome.untrained import G4HUNTER_WINDOW, LONGEST_RUN, every_window, zhunt_scores

COMPOSITION_RADII = (50, 150, 512)
"""Bases on each side over which composition is measured: about 100, 300 and 1,024 in all."""
DINUCLEOTIDES = (4, 6)
"""Sizes of the Z-HUNT windows, each by itself."""
SURROUNDINGS_RADII = (2048, 8192)
"""Bases on each side over which the surroundings are measured."""
_USUAL_GC, _USUAL_CPG = 0.41, 0.01
"""Fractions in the human genome."""
_COMPOSITION_SCALE = 8
"""Factor that brings the spread of the composition along a genome to about 1."""
_ZHUNT_USUAL, _ZHUNT_SPREAD = 3.0, 3.0
"""Mean and spread, about, of the logarithm of Z-HUNT's score around tracts."""


class Track(NamedTuple):
    """A kind of track."""

    channels: tuple[str, ...]
    """Name of each of its numbers."""
    measure: Callable[[Tensor, slice], Tensor]
    """Map from base codes (B, L), uint8, and some bases of them to numbers (B, bases, channels),
    float32, of about mean 0 and spread 1."""


def track_channels(names: Sequence[str]) -> tuple[str, ...]:
    """Return the names of the channels of some tracks, in order.

    Args:
        names: Names of the tracks; a signal track is one channel of that name.

    Example:
        >>> track_channels(("zhunt", "dnase"))
        ('Z-HUNT of 4', 'Z-HUNT of 6', 'dnase')
    """
    channels: list[str] = []
    for name in names:
        channels += TRACKS[name].channels if name in TRACKS else (name,)
    return tuple(channels)


def measure_tracks(
    names: Sequence[str], tokens: Tensor, bases: slice, scales: Sequence[SignalScale] = ()
) -> Tensor:
    """Measure tracks of some bases.

    Args:
        names: Names of the tracks, at least one.
        tokens: Token ids of any integer type, shape (B, L), or (B, L, 1 + tracks) with the levels
            of signal tracks. Every base that is measured has at least the reach of every track on
            each side.
        bases: Bases to measure, with a start and an end.
        scales: Scales of the signal tracks among them.

    Returns:
        Shape (B, bases, channels), float32; 0 where a signal track has no value.

    Raises:
        InputError: The tokens lack a signal track.

    Example:
        >>> tokens = torch.full((1, 120), 8)  # C
        >>> measure_tracks(("g4hunter",), tokens, slice(50, 70)).shape
        torch.Size([1, 20, 2])
    """
    scale_of = {scale.name: scale for scale in scales}
    # In bytes, since rows are long; special tokens, which are below A, wrap to what is above N.
    codes = (ids_of(tokens).to(torch.uint8) - FIRST_BASE).clamp_max(N_CODE)
    measured = []
    for name in names:
        if name not in TRACKS:
            measured.append(signal(tokens[:, bases], scale_of[name])[..., None])
            continue
        reach = TRACK_REACH[name]
        first = bases.start - reach
        near = codes[:, first : bases.stop + reach]
        inner = slice(reach, reach + bases.stop - bases.start)
        measured.append(TRACKS[name].measure(near, inner))
    return torch.cat(measured, -1)


def signal(tokens: Tensor, scale: SignalScale) -> Tensor:
    """Return the values of a signal track: compressed, of about mean 0 and spread 1.

    Args:
        tokens: Tokens with levels, shape (B, L, 1 + tracks), integer.
        scale: Scale of the track.

    Returns:
        Shape (B, L), float32; 0 where there is no value.

    Raises:
        InputError: The tokens have no such track.
    """
    values: Tensor = scale.standardise(level_of(tokens, scale.number).float())
    return values


def composition(codes: Tensor, bases: slice, radius: int) -> Tensor:
    """Measure GC content and CpG frequency around bases; equal on both strands.

    Args:
        codes: Base codes, shape (B, L), integer; anything above 3 is unknown.
        bases: Bases to measure.
        radius: Bases on each side over which both are measured, as far as there are any.

    Returns:
        Fraction of G and C among known bases, and of CG among pairs of known bases; 0 where nothing
        is known. Shape (B, bases, 2), float32.

    Example:
        >>> composition(torch.tensor([[0, 1, 2, 3]]), slice(1, 2), radius=1).tolist()
        [[[0.6666666865348816, 0.5]]]
    """
    at = torch.arange(bases.start, bases.stop, device=codes.device)
    first, last = (at - radius).clamp_min(0), (at + radius + 1).clamp_max(codes.shape[1])
    known, gc = codes < N_CODE, (codes == 1) | (codes == 2)
    cpg = (codes[:, :-1] == 1) & (codes[:, 1:] == 2)
    pairs = known[:, :-1] & known[:, 1:]
    of_bases = _count(gc, first, last) / _count(known, first, last).clamp_min(1)
    of_pairs = _count(cpg, first, last - 1) / _count(pairs, first, last - 1).clamp_min(1)
    return torch.stack([of_bases, of_pairs], -1)


def _count(chosen: Tensor, first: Tensor, last: Tensor) -> Tensor:
    """Count what is chosen in [first, last) of each row."""
    before = F.pad(chosen.cumsum(1, dtype=torch.int32), (1, 0))
    return before[:, last] - before[:, first]


def _measure_composition(codes: Tensor, bases: slice) -> Tensor:
    measured = []
    for radius in COMPOSITION_RADII:
        gc, cpg = composition(codes, bases, radius).unbind(-1)
        measured += [gc - _USUAL_GC, cpg.sqrt() - _USUAL_CPG**0.5]
    return _COMPOSITION_SCALE * torch.stack(measured, -1)


USUAL_FREQUENCIES = {
    "AA/TT": (0.167, 0.051),
    "AC/GT": (0.102, 0.008),
    "AG/CT": (0.144, 0.014),
    "AT": (0.065, 0.023),
    "CA/TG": (0.151, 0.012),
    "CC/GG": (0.130, 0.049),
    "CG": (0.016, 0.011),
    "GA/TC": (0.120, 0.008),
    "GC": (0.052, 0.018),
    "TA": (0.053, 0.022),
}
"""Dinucleotides, each with its reverse complement, and about the mean and the standard deviation of
their frequencies along the human genome, over 4 kilobases."""
_GC_MEAN, _GC_SD = 0.456, 0.083
"""The same of the GC content."""


def dinucleotide_frequencies(codes: Tensor, bases: slice, radius: int) -> Tensor:
    """Measure the frequencies of dinucleotides around bases; equal on both strands.

    Args:
        codes: Base codes, shape (B, L), integer; `N_CODE` where unknown.
        bases: Bases to measure, with `radius` bases on each side of them.
        radius: Bases on each side over which dinucleotides are counted.

    Returns:
        Fraction of each of `USUAL_FREQUENCIES` among the dinucleotides of known bases; 0 where
        nothing is known. Shape (B, bases, 10), float32.

    Example:
        >>> codes = torch.tensor([[0, 1, 2, 3, 3]])  # AC, CG, GT, TT
        >>> found = dinucleotide_frequencies(codes, slice(2, 3), radius=2)[0, 0]
        >>> {name: float(f) for name, f in zip(USUAL_FREQUENCIES, found, strict=True) if f}
        {'AA/TT': 0.25, 'AC/GT': 0.5, 'CG': 0.25}
    """
    one_hot = _one_hot_dinucleotides(codes.device)
    numbers = (N_CODE + 1) * codes[:, :-1] + codes[:, 1:]
    around_first = numbers[:, bases.start - radius : bases.start + radius]
    at_first = F.embedding_bag(around_first.int(), one_hot, mode="sum")[:, None]
    # From one base to the next a dinucleotide comes in on the right, and one is left on the left.
    right = numbers[:, bases.start + radius : bases.stop - 1 + radius]
    left = numbers[:, bases.start - radius : bases.stop - 1 - radius]
    changes = (one_hot[right.int()] - one_hot[left.int()]).cumsum(1)
    counts = torch.cat([at_first, at_first + changes], 1)  # whole numbers: exact in any order
    return counts / counts.sum(-1, keepdim=True).clamp_min(1)


@cache
def _one_hot_dinucleotides(device: torch.device) -> Tensor:
    """Return a row of 0 and 1 for each two base codes; of 0 alone where one is unknown."""
    rows = [
        [float(first + second in name.split("/")) for name in USUAL_FREQUENCIES]
        for first, second in product("ACGTN", repeat=2)
    ]
    return torch.tensor(rows, device=device)


def _measure_surroundings(codes: Tensor, bases: slice) -> Tensor:
    usual = torch.tensor(list(USUAL_FREQUENCIES.values()), device=codes.device)
    mean, sd = usual.unbind(-1)
    gc_shares = [sum(name[:2].count(letter) for letter in "GC") / 2 for name in USUAL_FREQUENCIES]
    of_gc = torch.tensor(gc_shares, device=codes.device)
    measured = []
    for radius in SURROUNDINGS_RADII:
        frequencies = dinucleotide_frequencies(codes, bases, radius)
        gc = (frequencies * of_gc).sum(-1, keepdim=True)
        measured += [(gc - _GC_MEAN) / _GC_SD, (frequencies - mean) / sd]
    return torch.cat(measured, -1)


def _measure_zhunt(codes: Tensor, bases: slice) -> Tensor:
    scores = torch.stack([zhunt(codes, size)[:, bases] for size in DINUCLEOTIDES], -1)
    return (scores.log1p() - _ZHUNT_USUAL) / _ZHUNT_SPREAD


def zhunt(codes: Tensor, dinucleotides: int) -> Tensor:
    """Score every base by the best Z-HUNT window of one size that holds it.

    On the CPU windows are scored as they are met. A GPU reads a table of all windows, which is made
    before the first of them is scored: that of 6 dinucleotides takes 50 s of one core.

    Args:
        codes: Base codes, shape (B, L), integer; `N_CODE` where unknown.
        dinucleotides: Dinucleotides of a window.

    Returns:
        Scores as those of `genome.untrained.zhunt_scores`, shape (B, L), float32.
    """
    if codes.device.type == "cpu":
        scores = zhunt_scores(codes.numpy().astype("uint8"), (dinucleotides, dinucleotides))
        return torch.from_numpy(scores)
    return look_up_zhunt(codes, dinucleotides)


def look_up_zhunt(codes: Tensor, dinucleotides: int) -> Tensor:
    """Score bases as `zhunt` does, on any device, without the host."""
    size = 2 * dinucleotides
    starts = codes.shape[1] - size + 1
    codes = codes.int()
    number = torch.zeros_like(codes[:, :starts])
    known = torch.ones_like(number, dtype=torch.bool)
    for offset in range(size):
        letter = codes[:, offset : offset + starts]
        number, known = 4 * number + letter, known & (letter < N_CODE)
    table = _table(dinucleotides, codes.device)
    scores = torch.where(known, table[torch.where(known, number, 0)], 0.0)
    # Scores are not negative, so that zeros beyond the ends win nowhere.
    padded = F.pad(scores, (size - 1, size - 1))
    return F.max_pool1d(padded[:, None], size, stride=1)[:, 0]


@cache
def _table(dinucleotides: int, device: torch.device) -> Tensor:
    return torch.from_numpy(every_window(dinucleotides)).to(device)


def _measure_g4hunter(codes: Tensor, bases: slice) -> Tensor:
    of_g, of_c = _runs(codes == 2), _runs(codes == 1)
    return torch.stack([_best_mean(of_g - of_c, bases), _best_mean(of_c - of_g, bases)], -1)


def _runs(chosen: Tensor) -> Tensor:
    """Return the length of the run of True that holds each position, at most `LONGEST_RUN`."""
    values = chosen[:, None].float()
    runs = torch.zeros_like(values)
    for size in range(1, LONGEST_RUN + 1):
        whole = 1 - F.max_pool1d(1 - values, size, stride=1)  # runs of `size` begin here
        runs += F.max_pool1d(F.pad(whole, (size - 1, size - 1)), size, stride=1)
    return runs[:, 0]


def _best_mean(values: Tensor, bases: slice) -> Tensor:
    """Return the largest of the means of G4Hunter's windows that hold each base."""
    size = G4HUNTER_WINDOW
    means = F.avg_pool1d(values[:, None], size, stride=1)
    first = bases.start - size + 1
    holding = means[..., first : bases.stop]
    return F.max_pool1d(holding, size, stride=1)[:, 0]


TRACKS: dict[str, Track] = {
    "zhunt": Track(tuple(f"Z-HUNT of {size}" for size in DINUCLEOTIDES), _measure_zhunt),
    "g4hunter": Track(("G4Hunter of G", "G4Hunter of C"), _measure_g4hunter),
    "composition": Track(
        tuple(f"{what} within {radius}" for radius in COMPOSITION_RADII for what in ("GC", "CpG")),
        _measure_composition,
    ),
    "surroundings": Track(
        tuple(
            f"{what} within {radius}"
            for radius in SURROUNDINGS_RADII
            for what in ("GC", *USUAL_FREQUENCIES)
        ),
        _measure_surroundings,
    ),
}
"""Tracks that are measured from the letters, by name: the logarithm of Z-HUNT's score; G4Hunter's
largest mean of either sign; GC content and the square root of the CpG frequency; GC content and the
frequencies of dinucleotides in the surroundings."""


class ZeroInitLinear(nn.Linear):
    """nn.Linear whose initial weights are 0, so that its input has no effect at first."""


class TrackEmbedding(nn.Module):
    """Map the tracks of a base to a vector that is added to its token embedding.

    Args:
        channels: Numbers of a base.
        width: Channels of a token embedding.
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.dense = nn.Linear(channels, width)
        self.out_proj = ZeroInitLinear(width, width)

    def forward(self, tracks: Tensor) -> Tensor:
        """Compute the vectors.

        Args:
            tracks: Result of `measure_tracks`, shape (B, L, channels).

        Returns:
            Shape (B, L, width).
        """
        result: Tensor = self.out_proj(F.gelu(self.dense(tracks)))
        return result

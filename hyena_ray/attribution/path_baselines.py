"""Baselines of path methods, and the random numbers of attribution.

Every random number depends only on the seed and on the sequence that it is drawn for. The scores of
a window therefore do not depend on the other windows or on the order of the work. Shuffled
sequences are the same on every device. Noise is drawn on the device that uses it and differs
between device types.
"""

from __future__ import annotations

import hashlib
from itertools import product

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hyena_ray.attribution.settings import AttributionSettings
from hyena_ray.dataset.keyed_random import Words, derive_key, mixed
from hyena_ray.dataset.tokens import (
    FIRST_BASE,
    N_TOKEN,
    codes_to_tokens,
    ids_of,
    tokens_to_codes,
    without_levels,
)
from hyena_ray.genome.contigs import N_CODE
from hyena_ray.model.devices import upload

SHUFFLES, NOISE, CURVES, ORDER = range(4)
"""Names of independent draws with the same seed."""
POSITIONS = 1 << 20
"""Sequence positions that are shuffled together. Each takes about 100 bytes while it is."""
_SHORTEST = 4
"""Bases of the shortest run that can be rearranged: a shorter one is fixed by its ends and its
dinucleotides."""


def draw_keys(seed: int, what: int, keys: Words, number: int = 0) -> Words:
    """Return the key of a draw for each sequence.

    Args:
        seed: Seed of the attribution.
        what: Name of the draw, such as `SHUFFLES`.
        keys: Keys of the sequences, shape (M,); see `sequence_keys`.
        number: Number of the draw among those of the same name for a sequence.

    Returns:
        Keys, shape (M,), uint64.
    """
    return mixed(keys, derive_key(seed, what, number))


def sequence_keys(tokens: NDArray[np.uint8]) -> Words:
    """Return a number for every sequence, the same for equal ones.

    Args:
        tokens: Token ids, shape (N, L), uint8.

    Returns:
        Keys, shape (N,), uint64.
    """
    digests = (hashlib.blake2b(row.tobytes(), digest_size=8).digest() for row in tokens)
    return np.frombuffer(b"".join(digests), np.uint64)


def make_baselines(
    tokens: NDArray[np.uint8],
    read: slice,
    keys: Words,
    settings: AttributionSettings,
    device: torch.device,
) -> list[Tensor]:
    """Return the tokens of the baselines of windows.

    A baseline has no value in the signal tracks, so that a path goes from none to the value of a
    base, and the tracks get their share. Tracks that are measured from letters are those of the
    baseline's own letters.

    Args:
        tokens: Token ids of the windows with their flanks, shape (M, L), uint8, or
            (M, L, 1 + tracks) with levels.
        read: Columns that the model reads as bases; only these are shuffled.
        keys: Keys of what the model reads, shape (M,); see `sequence_keys`.
        settings: `baseline`, `shuffles` and `seed` are read.
        device: Device of the result.

    Returns:
        One tensor of the shape of `tokens`, uint8, for each baseline; none for the zero embedding,
        which has no tokens.
    """
    if settings.baseline == "zero":
        return []
    whole = upload(without_levels(tokens), device)
    if settings.baseline == "n":
        ids_of(whole).fill_(N_TOKEN)
        return [whole]
    codes = tokens_to_codes(ids_of(tokens)[:, read])
    baselines = []
    for number in range(settings.shuffles):
        draws = draw_keys(settings.seed, SHUFFLES, keys, number)
        shuffled = dinucleotide_shuffles(codes, draws, device)
        baselines.append(whole.clone())
        ids_of(baselines[-1])[:, read] = shuffled + FIRST_BASE
    return baselines


def draw_noise(keys: Words, copies: int, shape: tuple[int, int], device: torch.device) -> Tensor:
    """Draw standard normal noise for the noisy copies of sequences.

    The noise of a sequence depends only on its key and on the device type.

    Args:
        keys: Key of each sequence's noise, shape (M,); see `draw_keys`.
        copies: Noisy copies of each sequence.
        shape: Positions T and dimensions d.
        device: Device that draws.

    Returns:
        Noise, shape (M, copies, T, d), float32.
    """
    noise = torch.empty(len(keys), copies, *shape, device=device)
    generator = torch.Generator(device)
    for own, key in zip(noise, keys.tolist(), strict=True):
        generator.manual_seed(key)
        own.normal_(generator=generator)
    return noise


def dinucleotide_shuffles(bases: NDArray[np.uint8], keys: Words, device: torch.device) -> Tensor:
    """Shuffle sequences while preserving their dinucleotide counts and their first and last base.

    Every sequence with the same counts and ends is equally likely. Unknown bases keep their
    positions, and each run of known bases between them is shuffled separately.

    Args:
        bases: Base codes of sequences of one length, shape (M, L), uint8; A C G T = 0 1 2 3,
            anything else is unknown.
        keys: Key of each sequence's draw, shape (M,); see `draw_keys`.
        device: Device that computes; the result does not depend on it.

    Returns:
        Base codes, shape (M, L), uint8, on the device.

    Example:
        >>> bases = np.array([[0, 1, 0, 2, 0, 3, 0]], np.uint8)  # ACAGATA
        >>> shuffled = dinucleotide_shuffles(bases, np.array([1], np.uint64), torch.device("cpu"))
        >>> pairs = [sorted(zip(x[:-1], x[1:])) for x in (bases[0].tolist(), shuffled[0].tolist())]
        >>> pairs[0] == pairs[1]
        True

    Reference: Altschul & Erickson 1985; Kandel, Matias, Unger & Winkler 1996, Shuffling biological
    sequences. A sequence is an Euler path through the graph whose edges are its dinucleotides. The
    last edges that a path takes out of each base form a spanning tree towards its last base: a
    random tree, and a random order of the other edges, give a uniformly distributed path.
    """
    shuffled = upload(bases, device).clone()
    known = np.zeros((len(bases), bases.shape[1] + 2), np.int8)
    known[:, 1:-1] = bases < N_CODE
    edges = np.diff(known, axis=1)
    row, first = np.nonzero(edges == 1)
    length = np.nonzero(edges == -1)[1] - first
    runs = np.flatnonzero(length >= _SHORTEST)
    # Runs of similar length are shuffled together, because shorter ones are padded.
    runs = runs[np.argsort(-length[runs], kind="stable")]
    while len(runs):
        longest = int(length[runs[0]])
        some, runs = np.split(runs, [max(1, POSITIONS // longest)])
        # (run, place) is a base in the padded array of runs, `at` the same base in `bases`.
        run, place = np.nonzero(np.arange(longest) < length[some, None])
        at = row[some][run], first[some][run] + place
        known_bases = np.full((len(some), longest), N_CODE, np.uint8)
        known_bases[run, place] = bases[at]
        run_keys = mixed(first[some].astype(np.uint64), keys[row[some]])
        words = mixed(np.arange(longest, dtype=np.uint64), run_keys[:, None])
        paths = _euler_paths(known_bases, length[some], words, device)
        # Integer indices, because a boolean mask would make the host wait for its count.
        numbers = [upload(part, device) for part in (*at, run, place)]
        shuffled[numbers[0], numbers[1]] = paths[numbers[2], numbers[3]]
    return shuffled


def _spanning_trees() -> NDArray[np.int64]:
    """Return all spanning trees of the four bases, by the root that they lead to.

    Returns:
        Next base of each base on its way to the root, shape (4 roots, 16 trees, 4), int64; that of
        the root is the root itself.
    """
    trees: list[list[tuple[int, ...]]] = [[] for _ in range(4)]
    for steps in product(range(4), repeat=4):
        ends = {steps[steps[steps[base]]] for base in range(4)}
        if len(ends) == 1 and steps[end := ends.pop()] == end:
            trees[end].append(steps)
    return np.array(trees)


_TREES = _spanning_trees()


def _euler_paths(
    bases: NDArray[np.uint8], lengths: NDArray[np.int64], words: Words, device: torch.device
) -> Tensor:
    """Draw uniformly distributed Euler paths over the dinucleotides of runs of known bases.

    Args:
        bases: Base codes of R runs, shape (R, L), uint8, padded with `N_CODE`.
        lengths: Length of each run in bases, at least 2, shape (R,).
        words: Random words, shape (R, L): the first for the tree, the others for the dinucleotides.
        device: Device that computes.

    Returns:
        Base codes, shape (R, L), uint8; the values of the padding are arbitrary.
    """
    path = upload(bases, device).long()
    end = path.gather(1, upload(lengths[:, None] - 1, device))
    following = path[:, 1:]
    # The last base of a run starts no dinucleotide.
    base = torch.where(following == N_CODE, N_CODE, path[:, :-1])
    # torch has no arithmetic for uint64: 59 of the 64 bits leave room for the base in int64.
    drawn = upload((words >> np.uint64(5)).astype(np.int64), device)
    pairs = path.new_zeros(len(path), 25).scatter_add_(
        1, 5 * base + following, torch.ones_like(base)
    )
    counts = pairs.view(-1, 5, 5)[:, :4, :4]
    last_steps = _draw_trees(counts, end, drawn[:, 0])
    # The last edge out of each base is the one in the tree. Equal edges are interchangeable, so the
    # first of them is kept for last.
    is_last = (following == last_steps.gather(1, base)) & (base != end)
    number = torch.arange(base.shape[1], device=device).expand_as(base)
    first = torch.full_like(last_steps, base.shape[1]).scatter_reduce_(
        1, base, torch.where(is_last, number, base.shape[1]), "amin"
    )
    is_last = number == first.gather(1, base)
    # Sort the edges by base, and those of a base by their random order with the tree's edge last.
    # The padding, code 4, comes after all of them.
    order = torch.argsort((base << 60) | (is_last.long() << 59) | drawn[:, 1:], dim=1)
    steps = following.gather(1, order)
    out_of = torch.nn.functional.pad(counts.sum(2), (1, 0))
    taken = out_of.cumsum(1)
    one = torch.ones_like(end)
    at, last = path[:, :1], steps.shape[1] - 1
    codes = [at]
    for _ in range(steps.shape[1]):
        turn = taken.gather(1, at)
        taken = taken.scatter_add(1, at, one)
        at = steps.gather(1, turn.clamp(max=last))
        codes.append(at)
    return torch.cat(codes, 1).to(torch.uint8)


def _draw_trees(counts: Tensor, end: Tensor, words: Tensor) -> Tensor:
    """Draw the spanning tree of last edges, with a probability proportional to its multiplicity.

    Args:
        counts: Dinucleotide counts, shape (R, 4, 4).
        end: Last base of each run, the root of its tree, shape (R, 1).
        words: Random words of 59 bits, shape (R,).

    Returns:
        Next base of each base, and 4 for the padding, shape (R, 5), int64.
    """
    code = torch.arange(4, device=counts.device)
    # The root, and a base that does not occur, have a single edge, which leads to the root.
    absent = (counts.sum(2) == 0) | (code == end)
    to_end = (code == end).long()[:, None, :].expand_as(counts)
    ways = torch.where(absent[..., None], to_end, counts).double()
    trees = upload(_TREES, counts.device)[end[:, 0]]
    # These are integers below 2^53, so products and sums are exact and equal on every device.
    weights = ways.flatten(1).gather(1, (4 * code + trees).flatten(1)).view(trees.shape).prod(2)
    reached = weights.cumsum(1)
    threshold = (words >> 27).double() * 2.0**-32 * reached[:, -1]
    chosen = (reached <= threshold[:, None]).sum(1)
    steps = trees[torch.arange(len(trees), device=counts.device), chosen]
    return torch.nn.functional.pad(steps, (0, 1), value=N_CODE)


def shuffle_tokens(tokens: NDArray[np.uint8], keys: Words) -> NDArray[np.uint8]:
    """Shuffle token ids on the CPU; see `dinucleotide_shuffles`.

    Args:
        tokens: Token ids of bases, shape (M, L), uint8.
        keys: Key of each sequence's draw, shape (M,); see `draw_keys`.

    Returns:
        Token ids, shape (M, L), uint8.
    """
    codes = dinucleotide_shuffles(tokens_to_codes(tokens), keys, torch.device("cpu"))
    return codes_to_tokens(codes.numpy())

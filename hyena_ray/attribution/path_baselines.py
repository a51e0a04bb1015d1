"""Reference sequences that attribution starts from, and the noise and orders that it draws.

Every draw is fixed by the sequence that it belongs to, so that scores of a window do not depend on
what else is attributed or on the order of the work. Shuffles are the same on every device. Noise is
drawn on the device that uses it, and differs between types of devices.
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
from hyena_ray.dataset.tokens import FIRST_BASE, N_TOKEN, codes_to_tokens, tokens_to_codes
from hyena_ray.genome.contigs import N_CODE
from hyena_ray.model.devices import upload

SHUFFLES, NOISE, CURVES, ORDER = range(4)
"""Names of independent draws with the same seed."""
POSITIONS = 1 << 20
"""Sequence positions that are shuffled together: numbers of 8 bytes, of which a dozen are in memory
at once."""
_SHORTEST = 4
"""Bases of the shortest run that has another arrangement with the same pairs and ends."""


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

    Args:
        tokens: Token ids of the windows with their flanks, shape (M, L), uint8.
        read: Columns that the model reads as bases; only these are shuffled.
        keys: Keys of what the model reads, shape (M,); see `sequence_keys`.
        settings: `baseline`, `shuffles` and `seed` are read.
        device: Device of the result.

    Returns:
        One tensor of shape (M, L), uint8, for each baseline; none for the zero embedding, which has
        no tokens.
    """
    if settings.baseline == "zero":
        return []
    whole = upload(tokens, device)
    if settings.baseline == "n":
        return [torch.full_like(whole, N_TOKEN)]
    baselines = []
    for number in range(settings.shuffles):
        draws = draw_keys(settings.seed, SHUFFLES, keys, number)
        shuffled = dinucleotide_shuffles(tokens_to_codes(tokens[:, read]), draws, device)
        baselines.append(whole.clone())
        baselines[-1][:, read] = shuffled + FIRST_BASE
    return baselines


def draw_noise(keys: Words, copies: int, shape: tuple[int, int], device: torch.device) -> Tensor:
    """Draw the standard normal noise of copies of sequences.

    The noise of a sequence depends on nothing but its key and the type of the device.

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
    """Draw for every sequence one with the same dinucleotide counts and the same ends.

    All such sequences are equally likely. Unknown bases keep their places, and each run of known
    bases between them is shuffled by itself.

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

    Reference: Kandel, Matias, Unger & Winkler 1996, Shuffling biological sequences, after Altschul
    & Erickson 1985: a sequence is a path over its pairs, and a uniform one follows from a random
    tree of the last steps out of every base.
    """
    shuffled = upload(bases, device).clone()
    known = np.zeros((len(bases), bases.shape[1] + 2), np.int8)
    known[:, 1:-1] = bases < N_CODE
    edges = np.diff(known, axis=1)
    row, first = np.nonzero(edges == 1)
    length = np.nonzero(edges == -1)[1] - first
    runs = np.flatnonzero(length >= _SHORTEST)
    # Of about one length together, since short ones are filled up.
    runs = runs[np.argsort(-length[runs], kind="stable")]
    while len(runs):
        longest = int(length[runs[0]])
        some, runs = np.split(runs, [max(1, POSITIONS // longest)])
        # Bases of the runs by number of the run and place in it, and where they are in a sequence.
        run, place = np.nonzero(np.arange(longest) < length[some, None])
        at = row[some][run], first[some][run] + place
        known_bases = np.full((len(some), longest), N_CODE, np.uint8)
        known_bases[run, place] = bases[at]
        run_keys = mixed(first[some].astype(np.uint64), keys[row[some]])
        words = mixed(np.arange(longest, dtype=np.uint64), run_keys[:, None])
        paths = _euler_paths(known_bases, length[some], words, device)
        # By number, since a mask on a GPU has to be counted, for which the host would wait.
        numbers = [upload(part, device) for part in (*at, run, place)]
        shuffled[numbers[0], numbers[1]] = paths[numbers[2], numbers[3]]
    return shuffled


def _spanning_trees() -> NDArray[np.int64]:
    """Return for each base as the end all ways in which one step from each other base leads there.

    Returns:
        Next base of each base, shape (ends, trees, 4), int64; that of the end is the end itself.
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
    """Draw paths over the same pairs, with the same ends, all equally likely.

    Args:
        bases: Codes of runs of known bases, shape (R, L), uint8; `N_CODE` after the end of a run.
        lengths: Bases of each run, at least 2, shape (R,).
        words: Random words, shape (R, L): one for the tree, and one for every pair.
        device: Device that computes.

    Returns:
        Codes, shape (R, L), uint8; anything after the end of a run.
    """
    path = upload(bases, device).long()
    end = path.gather(1, upload(lengths[:, None] - 1, device))
    following = path[:, 1:]
    # The last base of a run begins no pair.
    base = torch.where(following == N_CODE, N_CODE, path[:, :-1])
    # Integers as large as the words lose no bit as int64, and those shifted stay positive.
    drawn = upload((words >> np.uint64(5)).astype(np.int64), device)
    pairs = path.new_zeros(len(path), 25).scatter_add_(
        1, 5 * base + following, torch.ones_like(base)
    )
    counts = pairs.view(-1, 5, 5)[:, :4, :4]
    last_steps = _draw_trees(counts, end, drawn[:, 0])
    # A base that is left for the last time goes on as the tree says: by its first pair that does,
    # since it does not matter which of several equal ones that is.
    is_last = (following == last_steps.gather(1, base)) & (base != end)
    number = torch.arange(base.shape[1], device=device).expand_as(base)
    first = torch.full_like(last_steps, base.shape[1]).scatter_reduce_(
        1, base, torch.where(is_last, number, base.shape[1]), "amin"
    )
    is_last = number == first.gather(1, base)
    # The steps from each base in the order in which they are taken, one base after the other; the
    # filling, code 4, comes last.
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
    """Draw the last step out of every base, each tree of steps as often as pairs allow it.

    Args:
        counts: Numbers of the pairs, shape (R, 4, 4).
        end: Last base, shape (R, 1).
        words: Random words of 59 bits, shape (R,).

    Returns:
        Next base of each base, and 4 for the filling, shape (R, 5), int64.
    """
    code = torch.arange(4, device=counts.device)
    # A base that does not occur, and the end itself, have one step: to the end.
    absent = (counts.sum(2) == 0) | (code == end)
    to_end = (code == end).long()[:, None, :].expand_as(counts)
    ways = torch.where(absent[..., None], to_end, counts).double()
    trees = upload(_TREES, counts.device)[end[:, 0]]
    # Products of integers below 2^53, and their sums, are exact: the same on every device.
    weights = ways.flatten(1).gather(1, (4 * code + trees).flatten(1)).view(trees.shape).prod(2)
    reached = weights.cumsum(1)
    threshold = (words >> 27).double() * 2.0**-32 * reached[:, -1]
    chosen = (reached <= threshold[:, None]).sum(1)
    steps = trees[torch.arange(len(trees), device=counts.device), chosen]
    return torch.nn.functional.pad(steps, (0, 1), value=N_CODE)


def shuffle_tokens(tokens: NDArray[np.uint8], keys: Words) -> NDArray[np.uint8]:
    """Return `dinucleotide_shuffles` of token ids, in memory.

    Args:
        tokens: Token ids of bases, shape (M, L), uint8.
        keys: Key of each sequence's draw, shape (M,); see `draw_keys`.

    Returns:
        Token ids, shape (M, L), uint8.
    """
    codes = dinucleotide_shuffles(tokens_to_codes(tokens), keys, torch.device("cpu"))
    return codes_to_tokens(codes.numpy())

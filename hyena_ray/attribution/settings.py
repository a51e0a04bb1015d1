"""Settings of an attribution: methods, target, baseline, noise, and the tables made of the scores.

Two sets of values matter, and `definition` returns them by name: `default`, the corrected
definitions, and `original`, those of Bokhyan, *Identification of biological interrelations in the
human genome by methods of language model interpretation*, HSE University, 2025 ("the original
work"). The command line reads this module to check its options, so it imports neither torch nor
scipy.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from hyena_ray.errors import unknown_name
from hyena_ray.settings import Settings
from hyena_ray.tasks import Kind

MethodName = Literal["ig", "noisy_ig", "smoothgrad", "input_x_gradient", "ism", "tp"]
"""Name of a method; `hyena_ray.attribution.methods.METHODS` describes them."""

Ranking = Literal["shrunken_score", "score"]
"""Column by which a k-mer table is sorted."""

MAX_K = 12
"""Longest k-mer: 4**12 rows of sums take 1.6 GB."""


class AttributionSettings(Settings):
    """Settings of one attribution; the default values are the corrected definitions.

    Example:
        >>> AttributionSettings(methods=("ig", "ism"), k=6).shuffles
        4
    """

    methods: Annotated[tuple[MethodName, ...], Field(min_length=1)] = ("ig", "smoothgrad", "tp")
    """Attribution methods, each of which gives one k-mer table: Integrated Gradients (`ig`), the
    same under noise (`noisy_ig`), SmoothGrad (`smoothgrad`), `input_x_gradient`, in-silico
    saturation mutagenesis (`ism`), true-positive importance (`tp`)."""
    k: Annotated[int, Field(ge=1, le=MAX_K)] = 5
    """Length of the k-mers, in bases."""
    kmer_score: Literal["sum", "mean"] = "sum"
    """How the scores of a k-mer's bases are combined: `sum`, or `mean`, as the original work did
    for promoters."""
    normalise: bool = True
    """Divide the attributed logit of a window by its number of true-positive bases, so that long
    regions weigh no more than short ones. The original work did not."""
    baseline: Literal["shuffle", "n", "zero"] = "shuffle"
    """Reference sequence of Integrated Gradients: `shuffle`, the window shuffled with its
    dinucleotide counts preserved; `n`, all bases unknown; `zero`, the zero embedding, as in the
    original work."""
    shuffles: Annotated[int, Field(ge=1)] = 4
    """Shuffled reference sequences of each window, over which its scores are averaged. One is
    enough for k-mers seen in many windows, but leaves much to chance in the score of a single
    base."""
    steps: Annotated[int, Field(ge=1)] = 16
    """Points on the path from the reference to the window at which Integrated Gradients are
    computed. With a tolerance this is where it starts, and must be a multiple of 4."""
    tolerance: Annotated[float, Field(gt=0, lt=1)] | None = 1e-3
    """Largest error of Integrated Gradients, relative to the largest score of the path; the number
    of steps is doubled until the estimated error is within it. `null` takes `steps` points and no
    more, as the original work did."""
    max_steps: Annotated[int, Field(ge=1)] = 1024
    """Upper limit of the steps of one path. Windows that are not within the tolerance by then are
    counted and reported."""
    samples: Annotated[int, Field(ge=1)] = 50
    """Noisy copies of each window, for SmoothGrad and noisy Integrated Gradients."""
    noise: Annotated[float, Field(ge=0)] = 0.5
    """Standard deviation of the noise, in `noise_unit`. Half a spread is about a fifth of the range
    of the four base embeddings, the most that the authors of SmoothGrad recommend."""
    noise_unit: Literal["spread", "absolute"] = "spread"
    """Unit of `noise`: `spread`, the root mean square distance of the embeddings of A, C, G and T
    from their mean, so that a value means the same for every model; or `absolute`, embedding units.
    The 0.1 of the original work is a sixth of a spread of preset `zdna/best`, and five spreads of
    weights drawn as the published ones were."""
    smoothgrad: Literal["signed", "absolute"] = "signed"
    """Score of SmoothGrad: `signed`, the mean gradient times the difference between the embedding
    of the base and the mean of the four; `absolute`, the sum of the absolute gradient, as in the
    original work."""
    merge_strands: bool = False
    """Count each k-mer together with its reverse complement, under the alphabetically first of the
    two. Meant for labels that hold for both strands."""
    ranking: Ranking = "shrunken_score"
    """Column by which k-mer tables are sorted: `shrunken_score` pulls the score of a k-mer seen in
    few windows towards what a k-mer has by chance, and hardly moves one that is seen in many;
    `score` is the plain mean, as in the original work."""
    ism_substitute: Literal["bases", "n"] = "bases"
    """Substitution of in-silico mutagenesis: `bases`, each of the other three bases in turn; `n`,
    an unknown base."""
    consensus: Literal["rank", "deviation"] = "rank"
    """Order of the consensus of all methods: by mean `rank`, or by mean per cent `deviation`, as in
    the original work, which breaks down where the mean score of a method is near zero."""
    positive_only: bool = False
    """Restrict the consensus to k-mers that score above zero under every method, as the original
    work did for promoters."""
    min_count: Annotated[int, Field(ge=1)] = 5
    """Fewest occurrences of a k-mer that is listed; one that is seen once can lead any ranking by
    chance. The original work listed all."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of the noise and the shuffles, combined with the sequence of each window."""
    batch: Annotated[int, Field(ge=1)] | None = None
    """Sequence positions of one pass through the model, at least one window. `null` takes 4,096 on
    a CPU and 65,536 on a GPU. If a GPU runs out of memory, the number is halved until a pass fits.
    The last bits of the scores depend on it."""

    @model_validator(mode="after")
    def _steps_can_double(self) -> Self:
        if self.tolerance is not None and (self.steps % 4 or self.steps > self.max_steps):
            raise ValueError(
                f"steps {self.steps} with a tolerance must be a multiple of 4 and at most "
                f"max_steps, {self.max_steps}"
            )
        return self

    @field_validator("methods")
    @classmethod
    def _methods_are_distinct(cls, methods: tuple[MethodName, ...]) -> tuple[MethodName, ...]:
        if len(set(methods)) < len(methods):
            raise ValueError("a method is named twice")
        return methods


DEFINITIONS = ("default", "original")
"""Names that `definition` takes: the corrected definitions, and those of the original work."""


def definition(name: str, kind: Kind, place: str = "definition") -> AttributionSettings:
    """Return the settings of a named definition.

    Args:
        name: One of `DEFINITIONS`.
        kind: Whether the model labels single bases (`base`) or whole sequences (`sequence`).
        place: Option or setting that holds the name, for the message.

    Returns:
        The settings, which callers may still change with `updated`.

    Raises:
        InputError: There is no definition of that name.

    Example:
        >>> definition("original", "base").baseline
        'zero'

    Reference: Bokhyan 2025, Algorithms 4 to 6 for labels of bases, 2 and 3 for labels of sequences.
    """
    if name not in DEFINITIONS:
        raise unknown_name(place, name, "definition", DEFINITIONS)
    if name == "default":
        return AttributionSettings()
    original = AttributionSettings(
        normalise=False,
        baseline="zero",
        steps=50,
        tolerance=None,
        noise=0.1,
        noise_unit="absolute",
        smoothgrad="absolute",
        consensus="deviation",
        ranking="score",
        min_count=1,
    )
    if kind == "base":
        return original
    # What the original work calls SmoothGrad of promoters are Integrated Gradients under noise.
    changes = {
        "methods": ("ig", "noisy_ig"),
        "noise": 0.02,
        "kmer_score": "mean",
        "positive_only": True,
    }
    return original.updated(changes, name)

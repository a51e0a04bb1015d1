"""What attribution computes: methods, target, baseline, passes.

`definition` has the two that matter: `default`, corrected, and `original`, as published.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from hyena_ray.attribution.kmers import MAX_K
from hyena_ray.attribution.tables import Background, Ranking
from hyena_ray.settings import Settings
from hyena_ray.tasks import Kind

MethodName = Literal["ig", "noisy_ig", "smoothgrad", "input_x_gradient", "ism", "tp"]


class AttributionSettings(Settings):
    """Settings of one attribution; the defaults are the corrected definitions."""

    methods: Annotated[tuple[MethodName, ...], Field(min_length=1)] = ("ig", "smoothgrad", "tp")
    """Methods to compute, each one table."""
    k: Annotated[int, Field(ge=1, le=MAX_K)] = 5
    """k-mer length in bases."""
    kmer_score: Literal["sum", "mean"] = "sum"
    """A k-mer's score: the sum over its bases, or their mean, as the study took of sequences."""
    normalise: bool = True
    """Divide a window's target by its number of true-positive bases, so that long regions do not
    weigh more than short ones; the study did not."""
    baseline: Literal["shuffle", "n", "zero"] = "shuffle"
    """Where Integrated Gradients starts: the window's own bases shuffled with their dinucleotides
    kept, all N, or the zero embedding of the study."""
    shuffles: Annotated[int, Field(ge=1)] = 4
    """Shuffled sequences of each window that its scores are averaged over. One leaves much to
    chance in the score of a single base, and little in that of a k-mer of many windows."""
    steps: Annotated[int, Field(ge=1)] = 16
    """Gauss-Legendre nodes of Integrated Gradients; with a tolerance, intervals of the first rule,
    a multiple of 4."""
    tolerance: Annotated[float, Field(gt=0, lt=1)] | None = 1e-3
    """Largest error of the scores of one path, as a share of the largest of them: where the
    estimate is above it, the intervals are doubled.  None takes `steps` nodes and no more, as the
    study did."""
    max_steps: Annotated[int, Field(ge=1)] = 1024
    """Most intervals of a path; a window with one that is not within the tolerance then is
    reported."""
    samples: Annotated[int, Field(ge=1)] = 50
    """Noisy copies of a window, for SmoothGrad and noisy Integrated Gradients."""
    noise: Annotated[float, Field(ge=0)] = 0.5
    """Standard deviation of the noise, in units of `noise_unit`.  Half a spread is about a
    fifth of the range of the four embeddings, the most that SmoothGrad's authors recommend."""
    noise_unit: Literal["spread", "absolute"] = "spread"
    """`spread`: the root mean square distance per dimension of the embeddings of A, C, G and T
    from their mean, so that noise means the same for every model; `absolute`: embedding units.
    The study's absolute 0.1 is a sixth of a spread of `zdna/best`, and five spreads of weights
    drawn as the published ones were."""
    smoothgrad: Literal["signed", "absolute"] = "signed"
    """Signed: mean gradient times (the base's embedding - the mean of the four); absolute: sum of
    the gradient's absolute values, as published."""
    merge_strands: bool = False
    """Count each k-mer together with its reverse complement, as the first of the two in the order
    of letters: for labels that hold for both strands."""
    ranking: Ranking = "shrunken_score"
    """What a table is sorted by: scores drawn towards the mean of all by as much as their windows
    are few, so that a k-mer seen twice cannot lead by chance; or the scores, as the study did."""
    background: Background = "outside"
    """What a k-mer's mean score is tested against: that of the same k-mer outside true positives,
    or of all k-mers inside them, which is all there is where sequences have one label."""
    ism_substitute: Literal["bases", "n"] = "bases"
    """What in-silico mutagenesis puts in a base's place: each of the other three, or N."""
    consensus: Literal["rank", "deviation"] = "rank"
    """What the consensus of the methods is sorted by: mean rank, or the study's mean per cent
    deviation, which breaks down where a method's mean score is near zero."""
    positive_only: bool = False
    """The consensus holds only k-mers that score above zero under every method, as the study's of
    promoters does."""
    min_count: Annotated[int, Field(ge=1)] = 5
    """k-mers with fewer occurrences are left out of the tables: a k-mer seen once can lead any
    ranking by chance. The study kept all."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of noise and shuffles, used together with a window's sequence."""
    batch: Annotated[int, Field(ge=1)] = 4096
    """Positions of every pass through the model, which on a CPU should stay in its cache; a GPU
    takes many more. The last bits of the scores depend on it."""

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
    def _each_once(cls, methods: tuple[MethodName, ...]) -> tuple[MethodName, ...]:
        if len(set(methods)) < len(methods):
            raise ValueError("a method is named twice")
        return methods


DEFINITIONS = ("default", "original")
"""The corrected definitions, and the published ones."""


def definition(name: str, kind: Kind) -> AttributionSettings:
    """The settings of a definition, one of `DEFINITIONS`, for labels of bases or of sequences.

    Source: Algorithms 4 to 6 of the study for bases, 2 and 3 for sequences.
    """
    of_sequences: dict[str, Any] = {"background": "inside"}
    if name == "default":
        changes = {} if kind == "base" else of_sequences
        return AttributionSettings().updated(changes, name)
    bases = AttributionSettings(
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
        return bases
    # What the study calls SmoothGrad of promoters are Integrated Gradients under noise.
    of_sequences |= {
        "methods": ("ig", "noisy_ig"),
        "noise": 0.02,
        "kmer_score": "mean",
        "positive_only": True,
    }
    return bases.updated(of_sequences, name)

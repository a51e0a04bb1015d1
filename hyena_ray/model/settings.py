"""Settings of a classifier, its readout on windows and its adapters.

Neither torch nor transformers is imported here: a command line is checked in less time than it
takes to load them.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from hyena_ray.errors import InputError
from hyena_ray.genome.signal_scale import MOST_TRACKS, TRACK_NAME, TRACK_REACH, SignalScale
from hyena_ray.settings import Settings, UsedWhere
from hyena_ray.tasks import TASKS

Architecture = Literal[
    "hyenadna",
    "transformer",
    "nucleotide_transformer",
    "mamba",
    "dilated_cnn",
    "bilstm",
    "kmer_logistic",
    "rule",
    "zhunt",
    "trees",
]
Filters = Literal["published", "local"]
Head = Literal["linear", "electra", "lookahead"]
Pooling = Literal["last", "mean", "attention", "position"]
"""How the hidden states of a sequence become one: that of the last token as published; their mean;
their mean under learnt weights; or their mean where every position has learnt weights of its own,
for aligned sequences of one length, such as around a transcription start site."""
Precision = Literal["float32", "tf32", "bfloat16", "float16"]
"""Arithmetic of matrix products and activations; weights are float32. `tf32` multiplies float32
matrices with a mantissa of 10 bits, on GPUs; the last two are types of activations (autocast)."""
Strands = Literal["forward", "both"]
Per = Literal["sequence", "base"]
"""What gets an embedding: each sequence, the mean over its bases; or each base."""
TREES_MEASURE = ("zhunt", "g4hunter", "composition")
"""Tracks whose place the features of boosted trees take."""
Targets = Literal["mixer", "ffn", "mixer+ffn", "short_filter", "embeddings"]

CARD = "README.md"
"""Name of the card in a model's folder."""
READOUT = "readout.json"
"""Name of the file that makes a folder a trained model: which positions are read, and the
threshold."""
HEADLESS = ("kmer_logistic", "rule", "zhunt", "trees")
"""Architectures whose score of a base is a sum, without hidden states that a head could read."""
TASKS_OF: dict[Architecture, tuple[str, ...]] = {"zhunt": ("zdna",), "trees": ("zdna", "g4")}
"""Tasks of the architectures that are made for some of them; the others serve all."""
WIDEST, DEEPEST, LONGEST = 1 << 16, 64, 1 << 24
"""Most channels and other widths, layers, and tokens: far beyond what is of use, and small enough
that a file of somebody else takes neither memory nor time."""
WIDEST_RADIUS, MOST_TREES = 10_000, 100_000

HYENADNA: dict[str, tuple[Any, ...]] = {"model.architecture": ("hyenadna",)}
"""Where settings of HyenaDNA have an effect."""
PRETRAINABLE = ("hyenadna", "transformer", "nucleotide_transformer", "mamba")
"""Architectures that can have pretrained weights, and adapters."""
CAUSAL = ("hyenadna", "mamba")
"""Those that see nothing to the right of a base."""
WITH_BACKBONE: dict[str, tuple[Any, ...]] = {"model.architecture": PRETRAINABLE}
NEW = {"model.backbone": (None,)}
RANDOM_WEIGHTS = WITH_BACKBONE | NEW
"""Where a backbone has no pretrained weights, whose sizes are their own."""
ATTENTION = {"model.architecture": ("transformer", "nucleotide_transformer")} | NEW
NETWORKS: dict[str, tuple[Any, ...]] = {"model.architecture": ("dilated_cnn", "bilstm")}
KMERS: dict[str, tuple[Any, ...]] = {"model.architecture": ("kmer_logistic",)}
ZHUNT: dict[str, tuple[Any, ...]] = {"model.architecture": ("zhunt",)}
TREES: dict[str, tuple[Any, ...]] = {"model.architecture": ("trees",)}
FITTED: dict[str, tuple[Any, ...]] = {"model.architecture": ("zhunt", "trees")}
"""Architectures that are fitted to all training windows at once, without steps."""
OWN_TOKENS = ("nucleotide_transformer",)
"""Architectures whose tokens are not single bases."""
NO_TOKEN_AFTER: dict[str, tuple[Any, ...]] = {
    "model.architecture": (*CAUSAL, *OWN_TOKENS, *HEADLESS)
}
NO_TOKENS: dict[str, tuple[Any, ...]] = {"model.architecture": (*OWN_TOKENS, *HEADLESS)}
NO_HEAD: dict[str, tuple[Any, ...]] = {"model.architecture": HEADLESS}
LORA: dict[str, tuple[Any, ...]] = WITH_BACKBONE | {"lora.enabled": (True,)}
SEQUENCES: dict[str, tuple[Any, ...]] = {
    "task": tuple(name for name, task in TASKS.items() if task.kind == "sequence")
}
NO_TRACKS = SEQUENCES | {"model.architecture": tuple(name for name in HEADLESS if name != "trees")}


class ModelSettings(Settings):
    """Which classifier is built.

    Example:
        >>> ModelSettings(architecture="dilated_cnn", channels=32).channels
        32
    """

    architecture: Architecture = "hyenadna"
    """HyenaDNA; another backbone under the same heads (model/backbone_table.py): `transformer`,
    bidirectional, with a token for every base, `nucleotide_transformer`, with tokens of 6 bases, or
    causal `mamba`; or a baseline, see model/baseline_models.py. Two baselines are fitted to all
    training windows at once: `zhunt`, the thermodynamic model of Z-DNA (model/zhunt.py), and
    boosted `trees` on Z-HUNT's scores or runs of G, with composition (model/boosted_trees.py)."""
    backbone: Annotated[str | None, UsedWhere(WITH_BACKBONE)] = None
    """Folder or hub id of pretrained weights of the architecture, whose sizes override those below;
    None starts from random weights."""
    revision: Annotated[
        str | None, UsedWhere(WITH_BACKBONE, unless={"model.backbone": (None,)})
    ] = None
    """Commit of the hub id; required with one."""
    d_model: Annotated[int, UsedWhere(RANDOM_WEIGHTS)] = Field(default=128, ge=8, le=WIDEST)
    """Channels of the backbone."""
    n_layer: Annotated[int, UsedWhere(RANDOM_WEIGHTS)] = Field(default=2, ge=1, le=DEEPEST)
    """Layers of the backbone."""
    n_head: Annotated[int, UsedWhere(ATTENTION)] = Field(default=4, ge=1, le=WIDEST)
    """Attention heads of a transformer; `d_model` is a multiple of twice their number."""
    max_seq_len: Annotated[int | None, UsedWhere(HYENADNA | NEW)] = Field(
        default=None, ge=2, le=LONGEST
    )
    """Longest input of HyenaDNA in tokens, and the time scale of its filters; None takes the power
    of two, at least 256, that holds a window with its flanks."""
    filters: Annotated[Filters, UsedWhere(HYENADNA | NEW)] = "local"
    """HyenaDNA's filters. `published` are made for 1,000 bases and more: in tiny-1k no channel
    decays within 300 bases, and the finest feature of a time step spans 1,000. `local` have finer
    features and channels that decay within 5 bases and upward, and learn from far fewer windows."""
    channels: Annotated[int, UsedWhere(NETWORKS)] = Field(default=64, ge=1, le=WIDEST)
    """Channels of the dilated CNN and, in each direction, of the BiLSTM."""
    k: Annotated[int, UsedWhere(KMERS)] = Field(default=6, ge=1, le=8)
    """k-mer length of the logistic regression."""
    radius: Annotated[int, UsedWhere(KMERS, unless=SEQUENCES)] = Field(
        default=12, ge=0, le=WIDEST_RADIUS
    )
    """Bases on each side of a base whose k-mers the logistic regression counts."""
    zhunt_windows: Annotated[tuple[tuple[int, int], ...], UsedWhere(ZHUNT)] = Field(
        default=((4, 4), (5, 5), (6, 6), (7, 7), (8, 8), (3, 6), (4, 8)), min_length=1
    )
    """Fewest and most dinucleotides of Z-HUNT's windows, of which validation chooses one pair."""
    trees: Annotated[int, UsedWhere(TREES)] = Field(default=200, ge=1, le=MOST_TREES)
    """Number of boosted trees."""
    tree_depth: Annotated[int, UsedWhere(TREES)] = Field(default=5, ge=1, le=10)
    """Most comparisons from the root of a boosted tree to a leaf."""
    tree_shrinkage: Annotated[float, UsedWhere(TREES)] = Field(default=0.05, gt=0, le=1)
    """Factor of what a boosted tree adds: the smaller, the more trees are needed."""
    tree_fraction: Annotated[float, UsedWhere(TREES)] = Field(default=1.0, gt=0, le=1)
    """Fraction of the training bases that a boosted tree is fitted to, drawn anew for each."""
    tree_features: Annotated[float, UsedWhere(TREES)] = Field(default=0.5, gt=0, le=1)
    """Fraction of the features that a comparison of a boosted tree is chosen from, drawn anew for
    each."""
    smallest_leaf: Annotated[float, UsedWhere(TREES)] = Field(default=50.0, ge=0, le=LONGEST)
    """Least weight of a leaf of a boosted tree: the sum over its bases of their class weight and
    p (1 - p), where p is the probability from the trees before."""
    dropout: Annotated[float, UsedWhere(unless=NO_HEAD)] = Field(default=0.0, ge=0, lt=1)
    """Dropout inside the layers, and of all heads but the linear one."""
    head: Annotated[Head | None, UsedWhere(unless=NO_HEAD)] = None
    """Map from hidden state to labels: one matrix; dense, GELU, dropout and projection; or the same
    with the next `readout.lookahead` positions. None takes `lookahead` for labels of bases, a
    causal model and a lookahead above 0, else `linear`."""
    pooling: Annotated[Pooling, UsedWhere(SEQUENCES, unless=NO_HEAD)] = "last"
    """Which hidden state labels a whole sequence: that of the last token as published, the mean of
    all, their mean under learnt weights, or that under weights of each position."""

    @field_validator("zhunt_windows")
    @classmethod
    def _windows_exist(cls, windows: tuple[tuple[int, int], ...]) -> tuple[tuple[int, int], ...]:
        from hyena_ray.genome.untrained import MOST_DINUCLEOTIDES  # imports NumPy

        for shortest, longest in windows:
            if not 1 <= shortest <= longest <= MOST_DINUCLEOTIDES:
                raise ValueError(
                    f"[{shortest}, {longest}] is not ascending within 1 to {MOST_DINUCLEOTIDES}"
                )
        return windows

    @model_validator(mode="after")
    def _heads_divide_channels(self) -> ModelSettings:
        attends = self.architecture in ATTENTION["model.architecture"] and self.backbone is None
        if attends and self.d_model % (2 * self.n_head):
            raise ValueError(
                f"d_model {self.d_model} is no multiple of {2 * self.n_head}, twice n_head"
            )
        return self

    @property
    def fits(self) -> int | None:
        """Number of fits of which validation chooses one; None for an architecture that is trained
        by steps along a gradient."""
        return {"zhunt": len(self.zhunt_windows), "trees": 1}.get(self.architecture)


class ReadoutSettings(Settings):
    """How labels are read from a classifier's output."""

    flank: Annotated[int, UsedWhere(unless=SEQUENCES)] = Field(default=32, ge=0, le=LONGEST)
    """Real bases given on each side of a window; a causal model gets `lookahead` on the right."""
    lookahead: Annotated[int, UsedWhere({"model.architecture": CAUSAL}, unless=SEQUENCES)] = Field(
        default=32, ge=0, le=LONGEST
    )
    """Bases to the right of base i that a causal model sees, at most `flank`: its label is read
    there, or at i by a head that looks ahead. Models that see both sides do not need it."""
    tracks: Annotated[
        tuple[Annotated[str, Field(pattern=TRACK_NAME)], ...], UsedWhere(unless=NO_TRACKS)
    ] = ()
    """Numbers for every base that a model reads beside its letter. Networks read those that are
    measured from the letters: `zhunt`, how readily DNA turns into Z-DNA; `g4hunter`, runs of G and
    C; `composition`, GC content and CpG frequency within half a kilobase. Networks and trees read
    `surroundings`, the frequencies of dinucleotides within 2,048 and 8,192 bases, and
    signal tracks, by the names that `prepare --track` gave them."""
    strands: Strands = "both"
    """Predict from the given strand, or average the logits of both."""
    special_tokens: Annotated[
        bool, UsedWhere(unless=NO_TOKEN_AFTER), UsedWhere(SEQUENCES, unless=NO_TOKENS)
    ] = False
    """Append [SEP] to each strand, as the published tokenizer does. Bases of a causal model do not
    see it; a sequence that is read at its last token is read there."""

    @property
    def required_flank(self) -> int:
        """Bases that stored windows need on each side."""
        return self.flank + max((TRACK_REACH.get(name, 0) for name in self.tracks), default=0)

    @property
    def signal_tracks(self) -> tuple[str, ...]:
        """Names of the tracks that are not measured from the letters."""
        return tuple(name for name in self.tracks if name not in TRACK_REACH)

    @field_validator("tracks")
    @classmethod
    def _tracks_differ(cls, tracks: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(tracks)) < len(tracks):
            raise ValueError("a track is given twice")
        return tracks


class Readout(ReadoutSettings):
    """The readout of windows of one length.

    Example:
        >>> Readout(window=100, flank=32, tracks=("composition",)).required_flank
        544
    """

    window: int = Field(ge=1, le=LONGEST)
    """Bases of a window, each with a label."""
    scales: tuple[SignalScale, ...] = Field(
        default=(), max_length=MOST_TRACKS, exclude_if=lambda scales: not scales
    )
    """Scale of each of the signal tracks, in the order of their names in `tracks`; of an ensemble,
    of each that a member reads."""

    @property
    def most_tokens(self) -> int:
        """Tokens of a window with both flanks."""
        return self.window + 2 * self.flank + self.special_tokens

    @property
    def causal_tokens(self) -> int:
        """Tokens of a window with as much of the right flank as a causal model gets."""
        return self.flank + self.window + self.lookahead + self.special_tokens

    @model_validator(mode="after")
    def _lookahead_within_flank(self) -> Readout:
        if self.lookahead > self.flank:
            raise ValueError(f"lookahead {self.lookahead} is above flank {self.flank}")
        return self


class LoraSettings(Settings):
    """Which matrices get adapters, and how large."""

    enabled: Annotated[bool, UsedWhere(WITH_BACKBONE)] = False
    """Train adapters and the head alone."""
    rank: Annotated[int, UsedWhere(LORA)] = Field(default=8, ge=1, le=WIDEST)
    """Inner width of an adapter."""
    alpha: Annotated[int, UsedWhere(LORA)] = Field(default=32, ge=1)
    """Numerator of the scale of an adapter's output, alpha / rank."""
    dropout: Annotated[float, UsedWhere(LORA, unless={"lora.targets": ("embeddings",)})] = Field(
        default=0.1, ge=0, lt=1
    )
    """Dropout on an adapter's input; embeddings have none."""
    targets: Annotated[Targets, UsedWhere(LORA)] = "mixer+ffn"
    """The mixers' or attention's input and output projections, the MLPs, both, HyenaDNA's short
    convolution, or the table of embeddings."""
    biases: Annotated[bool, UsedWhere(LORA, unless={"model.architecture": ("transformer",)})] = (
        False
    )
    """Train all biases next to the adapters; the transformer has none."""


def refuse_other_tasks(settings: ModelSettings, task: str, place: str) -> None:
    """Refuse an architecture that is not made for a task.

    Args:
        settings: The classifier's.
        task: Name of the task.
        place: Where the settings come from, for the message.

    Raises:
        InputError: It is made for others, which are named.
    """
    tasks = TASKS_OF.get(settings.architecture)
    if tasks is not None and task not in tasks:
        raise InputError(
            f"{place}: model.architecture",
            settings.architecture,
            f"is made for {' and '.join(tasks)}, and the task is {task}",
            "use another architecture",
        )


def refuse_unused(settings: ModelSettings, tracks: tuple[str, ...], place: str) -> None:
    """Refuse settings that the architecture has no use for.

    Args:
        settings: The classifier's.
        tracks: The readout's setting of that name.
        place: Where the settings come from, for the message.

    Raises:
        InputError: A setting without effect is given; names `place` and the setting.
    """
    architecture = settings.architecture
    given: dict[str, object] = {}
    if architecture not in PRETRAINABLE:
        given["model.backbone"] = settings.backbone
    if architecture in HEADLESS:
        refused = [name for name in tracks if architecture != "trees" or name in TREES_MEASURE]
        given["readout.tracks"] = ",".join(refused)
    if architecture in HEADLESS or (settings.head == "lookahead" and architecture not in CAUSAL):
        given["model.head"] = settings.head
    for key, value in given.items():
        if value:
            raise InputError(
                f"{place}: {key}", value, f"{architecture} has nothing of the kind", "leave it out"
            )

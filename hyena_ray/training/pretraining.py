"""Pretrain one backbone on a genome: its objectives, its held-out perplexity, and its plan."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer

from hyena_ray.dataset.tokens import IGNORED, codes_to_tokens
from hyena_ray.errors import InputError
from hyena_ray.files import atomic_folder, write_json
from hyena_ray.model.backbone import HyenaDNALanguageModel
from hyena_ray.model.configuration import LANGUAGE_MODEL, HyenaConfig, time_scale
from hyena_ray.model.devices import arithmetic, default_device, upload
from hyena_ray.model.filters import frozen_filters
from hyena_ray.model.heads import LookaheadHead
from hyena_ray.model.pretrained import load_pretrained, write_model
from hyena_ray.model.provenance import PROVENANCE, Provenance
from hyena_ray.storage import AnyPath
from hyena_ray.training.checkpoint import CHECKPOINT
from hyena_ray.training.data_parallel import ALONE, Workers
from hyena_ray.training.genome_stream import KEPT, Batch, draw_mask, masked, next_bases
from hyena_ray.training.markov import Loss, perplexities
from hyena_ray.training.schedules import Schedule
from hyena_ray.training.settings import PretrainSettings, StepSettings
from hyena_ray.training.stages import adamw, filter_parameters
from hyena_ray.training.trainer import Optimization, Phase, Record, StepBatch, Trainer

SPECIAL_TOKENS = 2
"""Tokens next to the bases for which the published models have room in `max_seq_len`."""
_MASK_SEED = 20_231_127
"""Seed of the masks of held-out windows: the same ones whatever the run's seed."""

HeldOutCodes = Mapping[str, NDArray[np.uint8]]
"""Base codes of the held-out windows of each contig, shape (W, L)."""
Feed = Callable[[Iterable[int], Workers], Iterator[Batch]]
"""From steps to a worker's batches of them, such as `WindowStream.batches`."""


class NextBase(nn.Module):
    """Language model that predicts the next base.

    p(x[i+1] | x[0..i]) = softmax(W h[i]), where h are the last hidden states of the causal backbone
    and W is the language-model head.

    Args:
        model: Backbone with its language-model head.

    Reference: Nguyen et al. 2023, section 3.
    """

    def __init__(self, model: HyenaDNALanguageModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the logits of the token after each position.

        Args:
            inputs: Tokens, shape (B, L), integer.

        Returns:
            Logits, shape (B, L, V).
        """
        logits: Tensor = self.model(inputs.long()).logits
        return logits


class MaskedBases(nn.Module):
    """Model that predicts masked bases from both sides.

    p(x[i] | y) = softmax(g(h[i], sum over d = 0 .. k of c[d] * h[i + d])), where y is x with the
    masked bases replaced: h[i + d] has seen y[0..i + d], so that with lookahead k base i is
    predicted from all bases to its left and k to its right, and from itself where y shows it.

    g and c are the head that reads labels of bases in fine-tuning (`LookaheadHead`), which came
    further there than exchanging strands did (RESULTS.md, "Both sides"). The published weights have
    no place for it, and it is not kept.

    Args:
        model: Backbone, whose language-model head is dropped.
        lookahead: k, the bases right of a masked one that the head sees.
    """

    def __init__(self, model: HyenaDNALanguageModel, lookahead: int) -> None:
        super().__init__()
        self.hyena = model.hyena
        config = model.config
        self.head = LookaheadHead(config.d_model, lookahead, config.padded_vocab_size, dropout=0.0)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the logits of the token at each position.

        Args:
            inputs: Tokens, shape (B, L), integer.

        Returns:
            Logits, shape (B, L, V), float32.
        """
        hidden = self.hyena(inputs.long()).last_hidden_state
        logits: Tensor = self.head(hidden).float()
        return logits


PretrainModel = NextBase | MaskedBases


class StepReport(NamedTuple):
    """Report of a run after every step."""

    step: int
    """Steps that are done."""
    loss: float
    """Mean loss over the targets of the last step, in nats."""
    evaluation: dict[str, Any] | None
    """Evaluation of the held-out windows after this step, if there was one; see `Pretrained`."""


class Pretrained(NamedTuple):
    """A finished run."""

    model: PretrainModel
    """Trained model, on the device that it was trained on."""
    history: list[dict[str, Any]]
    """Every evaluation of the held-out windows: `step`, `length` of the windows trained on, the
    mean `train_loss` in nats since the evaluation before, and `perplexity` by contig."""


def pretrain(
    settings: PretrainSettings,
    feed: Feed,
    held_out: HeldOutCodes,
    folder: AnyPath,
    on_step: Callable[[StepReport], None],
    workers: Workers = ALONE,
    *,
    fingerprint: str,
) -> Pretrained:
    """Train for all steps, or resume what is in `folder`.

    A resumed run is bit-identical to an uninterrupted one on the same platform, since windows,
    strands and masks depend on (seed, step) alone and nothing else is drawn.

    Args:
        settings: Settings of the run.
        feed: Gives the batches.
        held_out: Windows that are scored.
        folder: Existing folder that takes `checkpoint.pt`.
        on_step: Called after every step, by every worker.
        workers: Processes that train together; only the first writes. Their number may change when
            a run is resumed.
        fingerprint: What identifies the run; a checkpoint with another one is refused.

    Returns:
        The trained model and the history of its evaluations.

    Raises:
        InputError: The checkpoint in `folder` is damaged, of another size or of other settings.
        DivergenceError: A loss is NaN or infinite.
    """
    trainer = new_pretrainer(settings, workers)
    plan = PretrainingPlan(settings, trainer.model, feed, held_out, workers)

    def report(steps: int, loss: float, record: Record | None) -> None:
        on_step(StepReport(steps, loss, record))

    history = trainer.fit(plan, folder, fingerprint=fingerprint, on_step=report)
    return Pretrained(trainer.model, history)


def check_start(settings: PretrainSettings, folder: AnyPath | None, fingerprint: str) -> int:
    """Refuse what `pretrain` would refuse, before anything is written.

    Args:
        settings: Settings of the run.
        folder: Folder that the run resumes from; None starts anew.
        fingerprint: What identifies the run.

    Returns:
        Steps that are done in `folder`.

    Raises:
        InputError: As `pretrain`, or the weights to start from cannot be used.
    """
    trainer = new_pretrainer(settings)
    if folder is None:
        return 0
    plan = PretrainingPlan(settings, trainer.model, lambda steps, workers: iter(()), {}, ALONE)
    trainer.resume(folder / CHECKPOINT, fingerprint)
    for phase in plan.phases(trainer.steps):
        trainer.start_phase(plan, phase, folder / CHECKPOINT)
        break
    return trainer.steps


class PretrainingPlan:
    """Plan of a pretraining for a `Trainer`: a phase has windows of one length.

    Args:
        settings: Settings of the run.
        model: Model that is trained.
        feed: Gives the batches.
        held_out: Windows that are scored.
        workers: Processes that train together.
    """

    def __init__(
        self,
        settings: PretrainSettings,
        model: PretrainModel,
        feed: Feed,
        held_out: HeldOutCodes,
        workers: Workers,
    ) -> None:
        self._settings = settings
        self._model = model
        self._device = next(model.parameters()).device
        self._feed = feed
        self._held_out = held_out
        self._workers = workers

    def phases(self, steps: int) -> Iterator[Phase]:
        """Yield the lengths of windows that remain; one optimiser trains them all."""
        for stage in self._settings.stages():
            if steps < stage.last:
                left = range(max(stage.first, steps), stage.last)
                yield Phase(stage.first, stage.last, stage=0, batches=self._batches(left))

    def _batches(self, steps: range) -> Iterator[StepBatch]:
        for batch in self._feed(steps, self._workers):
            yield step_batch(batch, self._settings.training, self._device)

    def optimization(self, stage: int) -> Optimization:
        """Return AdamW over all weights, with a cosine schedule over the whole run."""
        recipe = self._settings.training
        optimizer = new_optimizer(self._model, recipe)
        schedule = Schedule(optimizer, "cosine", recipe.steps, recipe.warmup)
        return Optimization(optimizer, schedule, list(self._model.parameters()))

    def evaluates_after(self, steps: int) -> bool:
        """Whether the held-out windows are scored after this step."""
        recipe = self._settings.training
        return steps == recipe.steps or steps % recipe.evaluate_every == 0

    def saves_after(self, steps: int) -> bool:
        """Whether the run is saved after this step."""
        recipe = self._settings.training
        return steps == recipe.steps or steps % recipe.checkpoint_every == 0

    def evaluate(self, model: PretrainModel, steps: int, losses: list[float]) -> Record:
        """Score the held-out windows."""
        stages = self._settings.stages()
        return {
            "step": steps,
            "length": next(stage.length for stage in stages if steps <= stage.last),
            "train_loss": sum(losses) / len(losses),
            "perplexity": evaluate(model, self._held_out, self._settings, self._workers),
        }

    def after_evaluation(self, model: PretrainModel, history: list[Record]) -> None:
        """Keep nothing: the last weights are the result, and no schedule looks at perplexity."""

    def is_over(self, history: list[Record]) -> bool:
        """A pretraining takes all of its steps."""
        return False


def new_pretrainer(settings: PretrainSettings, workers: Workers = ALONE) -> Trainer[PretrainModel]:
    """Build the trainer of a pretraining, with its untrained model on the default device.

    Args:
        settings: Settings of the run.
        workers: Processes that train together.

    Raises:
        InputError: The weights to start from cannot be used, or are too small for the windows.
    """
    recipe = settings.training
    return Trainer(
        new_objective(settings).to(default_device()),
        summed_loss,
        precision=recipe.precision,
        clip_norm=recipe.clip_norm,
        workers=workers,
    )


def step_batch(batch: Batch, recipe: StepSettings, device: torch.device) -> StepBatch:
    """Cut a worker's batch of a step into passes of at most `tokens_per_pass` bases.

    Args:
        batch: Windows of the step.
        recipe: Settings of the training.
        device: Device of the training, to which the batch is copied without synchronising.
    """
    rows = max(1, recipe.tokens_per_pass // batch.inputs.shape[1])
    weight = torch.full((), float(max(1, batch.weight)), device=device)
    return StepBatch(upload(batch.inputs, device), upload(batch.targets, device), weight, rows)


def new_optimizer(model: PretrainModel, recipe: StepSettings) -> Optimizer:
    """Return AdamW over all weights of a model, the networks of its filters at their own rate.

    Args:
        model: Model to train.
        recipe: Settings of the training.
    """
    filters = filter_parameters(model)
    weights = list(model.parameters())
    rates = [
        ([p for p in weights if p not in filters], recipe.learning_rate),
        ([p for p in weights if p in filters], recipe.learning_rate * recipe.filter_rate),
    ]
    return adamw(rates, filters, recipe.weight_decay)


def new_objective(settings: PretrainSettings) -> PretrainModel:
    """Build the untrained model of a run on the CPU; torch's global generator is left as it was.

    Args:
        settings: Settings of the run.

    Raises:
        InputError: The weights to start from cannot be used, or are too small for the windows.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.training.seed)
        model = _backbone(settings)
        if settings.objective == "masked":
            return MaskedBases(model, settings.masking.lookahead)
        return NextBase(model)


def _backbone(settings: PretrainSettings) -> HyenaDNALanguageModel:
    chosen = settings.model
    if chosen.backbone is not None:
        model = load_pretrained(HyenaDNALanguageModel, chosen.backbone, chosen.revision)
        _check_holds(settings, model.config.max_seq_len, f"model.backbone: {chosen.backbone}")
        return model
    length = chosen.max_seq_len or settings.longest + SPECIAL_TOKENS
    _check_holds(settings, length, "model")
    config = HyenaConfig(
        d_model=chosen.d_model,
        d_inner=4 * chosen.d_model,
        n_layer=chosen.n_layer,
        initializer_range=chosen.initializer_range,
        **time_scale(chosen.filters, length),
    )
    return HyenaDNALanguageModel(config)


def _check_holds(settings: PretrainSettings, max_seq_len: int, place: str) -> None:
    if max_seq_len < settings.longest:
        raise InputError(
            f"{place}: max_seq_len",
            max_seq_len,
            f"below the longest window of {settings.longest} bases",
            "lower training.lengths, or take a model of another size",
        )


def summed_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the cross-entropy in nats, summed over the targets that are not `IGNORED`.

    Args:
        logits: Shape (B, L, V), any float type.
        targets: Shape (B, L), integer.

    Returns:
        A scalar, float32.
    """
    return F.cross_entropy(
        logits.flatten(0, 1).float(),
        targets.flatten().long(),
        ignore_index=IGNORED,
        reduction="sum",
    )


def save_backbone(model: PretrainModel, folder: AnyPath, provenance: Provenance) -> None:
    """Write config.json, model.safetensors and what the weights have seen, whole or not at all.

    The names are those of the published Hugging Face layout, with the language-model head where the
    objective trained one.

    Args:
        model: Trained model.
        folder: Folder to write; a backbone in it is replaced.
        provenance: What the weights have seen.
    """
    with atomic_folder(folder, last=PROVENANCE, replace=True) as temporary:
        hyena = model.model.hyena if isinstance(model, NextBase) else model.hyena
        weights = {f"hyena.{name}": value for name, value in hyena.state_dict().items()}
        if isinstance(model, NextBase):
            weights["lm_head.weight"] = model.model.lm_head.weight
        write_model(temporary, hyena.config, weights, LANGUAGE_MODEL)
        write_json(temporary / PROVENANCE, provenance.model_dump(mode="json"))


def evaluate(
    model: PretrainModel,
    windows: HeldOutCodes,
    settings: PretrainSettings,
    workers: Workers = ALONE,
) -> dict[str, float]:
    """Return the perplexity of every contig and of all; empty where nothing is held out.

    Next base: every base of a window but the first, from those before it in the window. Masked: a
    share of the bases, always the same ones, all of which are seen as [MASK].

    Args:
        model: Model to score; it is put into evaluation mode.
        windows: Held-out windows by contig.
        settings: Settings of the run.
        workers: Processes that share the work; all get the same result.
    """
    if not windows:
        return {}
    model.eval()
    device = next(model.parameters()).device
    batches = [
        (name, batch)
        for number, (name, codes) in enumerate(windows.items())
        for batch in _batches(codes, settings, number)
    ]
    scored = []
    with torch.inference_mode(), arithmetic("float32"), frozen_filters(model):
        for name, batch in workers.share(batches):
            logits = model(upload(batch.inputs, device))
            loss = summed_loss(logits, upload(batch.targets, device))
            scored.append((name, loss.double(), batch.weight))
    # The device is synchronised only here, after all work has been queued.
    own = [(name, Loss(float(loss), bases)) for name, loss, bases in scored]
    losses: dict[str, Loss] = {}
    for name, (total, bases) in workers.merge(own):
        before = losses.get(name, Loss(0.0, 0))
        losses[name] = Loss(before.total + total, before.bases + bases)
    return perplexities(losses)


def _batches(codes: NDArray[np.uint8], settings: PretrainSettings, number: int) -> list[Batch]:
    rows = max(1, settings.training.tokens_per_pass // codes.shape[1])
    batches = []
    for first in range(0, len(codes), rows):
        tokens = codes_to_tokens(codes[first : first + rows])
        if settings.objective == "next_base":
            targets = next_bases(tokens)
            batches.append(Batch(tokens, targets, len(tokens) * (tokens.shape[1] - 1)))
            continue
        rng = np.random.default_rng([_MASK_SEED, number, first])
        shown = settings.masking.model_copy(update={"masked": 1.0, "random": 0.0})
        seen = draw_mask(tokens.shape, shown, rng)
        batches.append(masked(tokens, seen, int((seen != KEPT).sum())))
    return batches


def evaluation_text(record: Mapping[str, Any]) -> str:
    """Return an evaluation of the held-out windows as one line of the log.

    Args:
        record: Item of `Pretrained.history`.
    """
    shown = " ".join(f"{name} {value:.4f}" for name, value in record["perplexity"].items())
    return (
        f"step {record['step']} length {record['length']} train_loss {record['train_loss']:.4f}"
        f"{' held-out perplexity ' if shown else ''}{shown}"
    )

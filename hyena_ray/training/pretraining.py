"""Pretrain one backbone. Reports through a callback and knows no Ray."""

from __future__ import annotations

import math
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
from hyena_ray.model.heads import LookaheadHead
from hyena_ray.model.pretrained import load_pretrained, write_model
from hyena_ray.model.provenance import PROVENANCE, Provenance
from hyena_ray.storage import AnyPath
from hyena_ray.training.checkpoint import CHECKPOINT, load_state, save_state
from hyena_ray.training.data_parallel import ALONE, Workers
from hyena_ray.training.genome_stream import KEPT, Batch, draw_mask, masked, next_bases
from hyena_ray.training.markov import Loss, perplexities
from hyena_ray.training.schedules import Schedule
from hyena_ray.training.settings import PretrainSettings, StepSettings
from hyena_ray.training.stages import adamw, filter_parameters
from hyena_ray.training.trainer import PRECISIONS, DivergenceError

SPECIAL_TOKENS = 2
"""Tokens beside the bases for which the published models have room in `max_seq_len`."""


class NextBase(nn.Module):
    """p(x[i+1] | x[0..i]) = softmax(W h[i]): h the last hidden states of the causal backbone, W the
    language-model head.

    Source: Nguyen et al. 2023, section 3.
    """

    def __init__(self, model: HyenaDNALanguageModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, inputs: Tensor) -> Tensor:
        """(B, L) int64 tokens to (B, L, V) logits of the next one."""
        logits: Tensor = self.model(inputs).logits
        return logits


class MaskedBases(nn.Module):
    """p(x[i] | y) = softmax(g(h[i], sum over d = 0 .. k of c[d] * h[i + d])), y being x with the
    masked bases replaced: h[i + d] has seen y[0..i + d], so that with lookahead k base i is
    predicted from all bases to its left and k to its right, and from itself where y shows it.

    g and c are the head that reads labels of bases in fine-tuning (`LookaheadHead`), which came
    further there than exchanging strands did (RESULTS.md, "Both sides"). It has no place among the
    published weights, and is not kept.
    """

    def __init__(self, model: HyenaDNALanguageModel, lookahead: int) -> None:
        super().__init__()
        self.hyena = model.hyena
        config = model.config
        self.head = LookaheadHead(config.d_model, lookahead, config.padded_vocab_size, dropout=0.0)

    def forward(self, inputs: Tensor) -> Tensor:
        """(B, L) int64 tokens to (B, L, V) logits of the token that stands at each position."""
        hidden = self.hyena(inputs).last_hidden_state
        logits: Tensor = self.head(hidden).float()
        return logits


Model = NextBase | MaskedBases


def new_objective(settings: PretrainSettings) -> Model:
    """The untrained model of a run, on the CPU; torch's global generator is left as it was.

    Raises:
        InputError: the weights to go on from cannot be used, or are too small for the windows.
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
    """Cross-entropy in nats, summed over the targets that are not `IGNORED`.

    Args:
        logits: (B, L, V) float.
        targets: (B, L) integer.
    """
    return F.cross_entropy(
        logits.flatten(0, 1).float(),
        targets.flatten().long(),
        ignore_index=IGNORED,
        reduction="sum",
    )


def save_backbone(model: Model, folder: AnyPath, provenance: Provenance) -> None:
    """Write config.json, model.safetensors and what the weights have seen, whole or not at all.

    The names are those of the published Hugging Face layout, with the language-model head where the
    objective trained one. A backbone that is there is replaced.
    """
    with atomic_folder(folder, last=PROVENANCE, replace=True) as temporary:
        hyena = model.model.hyena if isinstance(model, NextBase) else model.hyena
        weights = {f"hyena.{name}": value for name, value in hyena.state_dict().items()}
        if isinstance(model, NextBase):
            weights["lm_head.weight"] = model.model.lm_head.weight
        write_model(temporary, hyena.config, weights, LANGUAGE_MODEL)
        write_json(temporary / PROVENANCE, provenance.model_dump(mode="json"))


_MASK_SEED = 20_231_127
"""Of the masks of held-out windows: the same ones whatever the run's seed."""

Codes = Mapping[str, NDArray[np.uint8]]
"""(W, L) codes of the held-out windows of each contig."""


def evaluate(
    model: Model, windows: Codes, settings: PretrainSettings, workers: Workers = ALONE
) -> dict[str, float]:
    """Perplexity by contig and of all; empty where nothing is held out.

    Next base: every base of a window but the first, from those before it in the window. Masked: a
    share of the bases, always the same ones, all of which are seen as [MASK].

    Args:
        model: put into evaluation mode here.
        windows: by contig.
        settings: of the run.
        workers: that share the work; all are told the same.
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
    own = []
    with torch.inference_mode():
        for name, batch in workers.share(batches):
            logits = model(torch.from_numpy(batch.inputs).to(device).long())
            loss = summed_loss(logits, torch.from_numpy(batch.targets).to(device))
            own.append((name, Loss(float(loss.double()), batch.weight)))
    losses: dict[str, Loss] = {}
    for name, (total, bases) in workers.merge(own):
        before = losses.get(name, Loss(0.0, 0))
        losses[name] = Loss(before.total + total, before.bases + bases)
    return perplexities(losses)


def _batches(codes: NDArray[np.uint8], settings: PretrainSettings, number: int) -> list[Batch]:
    rows = max(1, settings.training.tokens_per_pass // codes.shape[1])
    found = []
    for first in range(0, len(codes), rows):
        tokens = codes_to_tokens(codes[first : first + rows])
        if settings.objective == "next_base":
            targets = next_bases(tokens)
            found.append(Batch(tokens, targets, len(tokens) * (tokens.shape[1] - 1)))
            continue
        rng = np.random.default_rng([_MASK_SEED, number, first])
        shown = settings.masking.model_copy(update={"masked": 1.0, "random": 0.0})
        seen = draw_mask(tokens.shape, shown, rng)
        found.append(masked(tokens, seen, int((seen != KEPT).sum())))
    return found


Feed = Callable[[Iterable[int], Workers], Iterator[Batch]]
"""A worker's batches of these steps, such as `WindowStream.batches`."""


class StepReport(NamedTuple):
    """What a run says after every step."""

    step: int
    """Steps that are done."""
    loss: float
    """Mean over the targets of the last step, in nats."""
    evaluation: dict[str, Any] | None
    """At the held-out windows after this step, if any; see `Pretrained`."""


class PretrainState(NamedTuple):
    """What `pretrain` needs to go on after `step`."""

    fingerprint: str
    step: int
    """Steps that are done."""
    model: dict[str, Any]
    optimizer: dict[str, Any]
    schedule: dict[str, Any]
    losses: list[float]
    """Of the steps since the last evaluation."""
    history: list[dict[str, Any]]
    """See `Pretrained`."""


class Pretrained(NamedTuple):
    """A finished run."""

    model: Model
    history: list[dict[str, Any]]
    """Of every look at the held-out windows: `step`, `length` of the windows trained on, the mean
    `train_loss` in nats since the look before, and `perplexity` by contig."""


def pretrain(
    settings: PretrainSettings,
    feed: Feed,
    held_out: Codes,
    folder: AnyPath,
    on_step: Callable[[StepReport], None],
    workers: Workers = ALONE,
    *,
    fingerprint: str,
) -> Pretrained:
    """Train for all steps, or go on from what is in `folder`.

    A resumed run ends in the same bits as an uninterrupted one on the same platform, since windows,
    strands and masks depend on (seed, step) alone and nothing else is drawn.

    Args:
        settings: of the run.
        feed: gives the batches.
        held_out: windows that are scored.
        folder: takes `checkpoint.pt`; it must be there.
        on_step: called after every step, by every worker.
        workers: that train together; the first alone writes. Their number may change when a run
            is resumed.
        fingerprint: what identifies the run; a checkpoint with another one is refused.

    Raises:
        InputError: the checkpoint in `folder` is damaged, of another size or of other settings.
        DivergenceError: a loss is NaN or infinite.
    """
    recipe, path = settings.training, folder / CHECKPOINT
    model = new_objective(settings).to("cuda" if torch.cuda.is_available() else "cpu")
    optimizer = new_optimizer(model, recipe)
    schedule = Schedule(optimizer, "cosine", recipe.steps, recipe.warmup)
    done, losses, history = 0, list[float](), list[dict[str, Any]]()
    state = load_state(path, fingerprint, PretrainState)
    if state is not None:
        _restore(state, model, optimizer, schedule, path)
        done, losses, history = state.step, state.losses, state.history
    replica = workers.replica(model)
    for stage in settings.stages():
        steps = range(max(stage.first, done), stage.last)
        for batch in feed(steps, workers) if steps else ():
            loss = take_step(replica.train(), batch, optimizer, recipe, workers)
            done += 1
            if not math.isfinite(loss):
                raise DivergenceError(f"the loss is {loss} at step {done}; lower the learning rate")
            losses.append(loss)
            schedule.after_step()
            over = done == recipe.steps
            if over or done % recipe.evaluate_every == 0:
                found: dict[str, Any] = {"step": done, "length": stage.length}
                found["train_loss"] = sum(losses) / len(losses)
                found["perplexity"] = evaluate(model, held_out, settings, workers)
                history.append(found)
                losses = []
            if workers.writes and (over or done % recipe.checkpoint_every == 0):
                save_state(
                    path,
                    PretrainState(
                        fingerprint,
                        done,
                        model.state_dict(),
                        optimizer.state_dict(),
                        schedule.state_dict(),
                        losses,
                        history,
                    ),
                )
            scored = history[-1] if history and history[-1]["step"] == done else None
            on_step(StepReport(done, loss, scored))
    return Pretrained(model, history)


def take_step(
    replica: nn.Module,
    batch: Batch,
    optimizer: Optimizer,
    recipe: StepSettings,
    workers: Workers,
) -> float:
    """Take a step, in passes of at most `tokens_per_pass`; the mean loss over all workers."""
    device = next(replica.parameters()).device
    precision = PRECISIONS[recipe.precision]
    inputs, targets = (torch.from_numpy(part).to(device) for part in (batch.inputs, batch.targets))
    rows = max(1, recipe.tokens_per_pass // inputs.shape[1])
    # The gradients of all workers are averaged, and so is the loss.
    weight = max(1, batch.weight) / workers.size
    loss = torch.zeros((), device=device)
    optimizer.zero_grad(set_to_none=True)
    for first in range(0, len(inputs), rows):
        part = slice(first, first + rows)
        with workers.passes(replica, last=part.stop >= len(inputs)):
            with torch.autocast(device.type, precision, enabled=precision != torch.float32):
                logits = replica(inputs[part].long())
            mean = summed_loss(logits, targets[part]) / weight
            mean.backward()
        loss += mean.detach()
    torch.nn.utils.clip_grad_norm_(replica.parameters(), recipe.clip_norm)
    optimizer.step()
    return float(workers.mean(loss))


def new_optimizer(model: Model, recipe: StepSettings) -> Optimizer:
    filters = filter_parameters(model)
    every = list(model.parameters())
    rates = [
        ([p for p in every if p not in filters], recipe.learning_rate),
        ([p for p in every if p in filters], recipe.learning_rate * recipe.filter_rate),
    ]
    return adamw(rates, filters, recipe.weight_decay)


def _restore(
    state: PretrainState, model: Model, optimizer: Optimizer, schedule: Schedule, path: AnyPath
) -> None:
    try:
        model.load_state_dict(state.model)
        optimizer.load_state_dict(state.optimizer)
        schedule.load_state_dict(state.schedule)
    except (RuntimeError, ValueError, KeyError) as error:
        raise InputError(
            path,
            None,
            f"the weights of a model of another size ({type(error).__name__})",
            "restore the checkpoint of this run, or delete it and start again",
        ) from None


def check_start(settings: PretrainSettings, folder: AnyPath | None, fingerprint: str) -> int:
    """Refuse what `pretrain` would refuse, before anything is written.

    Args:
        settings: of the run.
        folder: that it goes on from; None starts anew.
        fingerprint: what identifies the run.

    Returns:
        Steps that are done in `folder`.

    Raises:
        InputError: as `pretrain`, or the weights to go on from cannot be used.
    """
    model = new_objective(settings)
    path = None if folder is None else folder / CHECKPOINT
    state = None if path is None else load_state(path, fingerprint, PretrainState)
    if path is None or state is None:
        return 0
    optimizer = new_optimizer(model, settings.training)
    schedule = Schedule(optimizer, "cosine", settings.training.steps, settings.training.warmup)
    _restore(state, model, optimizer, schedule, path)
    return state.step


def text_of(found: Mapping[str, Any]) -> str:
    """A look at the held-out windows, as the log has it."""
    shown = " ".join(f"{name} {value:.4f}" for name, value in found["perplexity"].items())
    return (
        f"step {found['step']} length {found['length']} train_loss {found['train_loss']:.4f}"
        f"{' held-out perplexity ' if shown else ''}{shown}"
    )

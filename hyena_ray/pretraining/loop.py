"""Pretrain one backbone. Reports through a callback and knows no Ray."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.optim import Optimizer

from hyena_ray.errors import InputError
from hyena_ray.pretraining.evaluation import Codes, evaluate
from hyena_ray.pretraining.objectives import Model, new_objective, summed_loss
from hyena_ray.pretraining.settings import PretrainSettings, StepSettings
from hyena_ray.pretraining.stream import Batch
from hyena_ray.storage import AnyPath
from hyena_ray.training.checkpoint import CHECKPOINT, load_state, save_state
from hyena_ray.training.epoch import PRECISIONS, DivergenceError
from hyena_ray.training.schedules import Schedule
from hyena_ray.training.stages import adamw, filter_parameters
from hyena_ray.training.workers import ALONE, Workers

Feed = Callable[[Iterable[int], Workers], Iterator[Batch]]
"""A worker's batches of these steps, such as `WindowStream.batches`."""


class StepReport(NamedTuple):
    """What a run says after every step."""

    step: int
    """Steps that are done."""
    loss: float
    """Mean over the targets of the last step, in nats."""
    look: dict[str, Any] | None
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
    report: Callable[[StepReport], None],
    workers: Workers = ALONE,
) -> Pretrained:
    """Train for all steps, or go on from what is in `folder`.

    A resumed run ends in the same bits as an uninterrupted one on the same platform, since windows,
    strands and masks depend on (seed, step) alone and nothing else is drawn.

    Args:
        settings: of the run.
        feed: gives the batches.
        held_out: windows that are scored.
        folder: takes `checkpoint.pt`; it must be there.
        report: called after every step, by every worker.
        workers: that train together; the first alone writes. Their number may change when a run
            is resumed.

    Raises:
        InputError: the checkpoint in `folder` is damaged, of another size or of other settings.
        DivergenceError: a loss is NaN or infinite.
    """
    recipe, path = settings.training, folder / CHECKPOINT
    model = new_objective(settings).to("cuda" if torch.cuda.is_available() else "cpu")
    optimizer = new_optimizer(model, recipe)
    schedule = Schedule(optimizer, "cosine", recipe.steps, recipe.warmup)
    done, losses, history = 0, list[float](), list[dict[str, Any]]()
    state = load_state(path, settings.fingerprint(), PretrainState)
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
                        settings.fingerprint(),
                        done,
                        model.state_dict(),
                        optimizer.state_dict(),
                        schedule.state_dict(),
                        losses,
                        history,
                    ),
                )
            look = history[-1] if history and history[-1]["step"] == done else None
            report(StepReport(done, loss, look))
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


def check_start(settings: PretrainSettings, folder: AnyPath | None) -> int:
    """Refuse what `pretrain` would refuse, before anything is written.

    Args:
        settings: of the run.
        folder: that it goes on from; None starts anew.

    Returns:
        Steps that are done in `folder`.

    Raises:
        InputError: as `pretrain`, or the weights to go on from cannot be used.
    """
    model = new_objective(settings)
    path = None if folder is None else folder / CHECKPOINT
    state = None if path is None else load_state(path, settings.fingerprint(), PretrainState)
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

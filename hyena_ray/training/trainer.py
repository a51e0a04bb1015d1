"""The one loop that updates weights, of supervised runs and of pretraining.

A `Trainer` knows the device, precision, accumulation, data parallelism, clipping, moving average,
divergence, and how to save and resume to the bit. What is trained on, which loss, which optimiser
and when to evaluate come from a `TrainingPlan`: `supervised.SupervisedPlan` or
`pretraining.PretrainingPlan`.

A GPU has its steps queued ahead of time. A step works only on tensors of the device, is captured as
a CUDA graph if its shapes repeat, and never makes the host wait for its result. Losses are read
after every `LOOK` steps and before the weights are evaluated or saved; a loss that is not finite
stops the run.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor, nn
from torch.amp.grad_scaler import GradScaler
from torch.optim import Optimizer

from hyena_ray.errors import InputError, JobError
from hyena_ray.model.devices import (
    ACTIVATIONS,
    arithmetic,
    check_precision,
    memory_error,
    model_device,
)
from hyena_ray.model.replay import Replay
from hyena_ray.model.settings import Precision
from hyena_ray.progress import count_noun
from hyena_ray.storage import AnyPath
from hyena_ray.training.checkpoint import CHECKPOINT, TrainerState, load_state, save_state
from hyena_ray.training.data_parallel import ALONE, Workers
from hyena_ray.training.ema import WeightAverage
from hyena_ray.training.schedules import Schedule

logger = logging.getLogger(__name__)

LOOK = {"cpu": 1, "cuda": 32}
"""Number of steps between reads of the losses, by device type. Reading them synchronises a GPU with
the host; on the CPU it costs nothing."""

ModelType = TypeVar("ModelType", bound=nn.Module)
PlannedModel = TypeVar("PlannedModel", bound=nn.Module, contravariant=True)
Record = dict[str, Any]
"""Results of one evaluation by name; plain values."""
Loss = Callable[[Tensor, Tensor], Tensor]
"""From logits and targets of one pass to their summed loss, a scalar."""


class DivergenceError(JobError):
    """The loss or a metric is no longer a finite number."""


class StepBatch(NamedTuple):
    """The windows that one worker passes through the model in one optimiser step."""

    inputs: Tensor
    """Tokens on the device, shape (B, T), integer."""
    targets: Tensor
    """Labels on the device, shape (B, L), integer; or probabilities of class 1, float32."""
    weight: Tensor
    """Divisor of the summed loss of all workers, which gives the step's mean loss; a float32 scalar
    on the device."""
    rows: int
    """Rows of one pass; a step with more rows accumulates the gradients of several passes."""
    arguments: tuple[Any, ...] = ()
    """Further positional arguments of the model, hashable."""


class Optimization(NamedTuple):
    """How gradients become new weights during one stage."""

    optimizer: Optimizer
    """Optimiser of the weights that are trained."""
    schedule: Schedule
    """Learning rate of every step."""
    clipped: list[nn.Parameter]
    """Parameters whose gradients are clipped together; their order decides the norm's last bits."""

    @classmethod
    def of(cls, optimizer: Optimizer, schedule: Schedule) -> Optimization:
        """Clip what the optimiser trains, in the order of its groups.

        Args:
            optimizer: Optimiser of the weights that are trained.
            schedule: Learning rate of every step.
        """
        clipped = [p for group in optimizer.param_groups for p in group["params"]]
        return cls(optimizer, schedule, clipped)


class Phase(NamedTuple):
    """A stretch of steps whose batches come from one pass over the data."""

    first: int
    """First step of the phase, from 0, whether or not it is done already."""
    last: int
    """First step after the phase."""
    stage: int
    """First step of the stage that the phase is in: there a new optimiser starts."""
    batches: Iterator[StepBatch]
    """A worker's part of every step that is still to be done."""
    seed: int | None = None
    """Seed of torch's global generator, from which dropout draws; None leaves it alone."""


class TrainingPlan(Protocol[PlannedModel]):
    """The model and batches of a training, and when it is evaluated and saved."""

    def phases(self, steps: int) -> Iterator[Phase]:
        """Yield what remains of a run.

        Args:
            steps: Number of steps that are done.
        """
        ...

    def optimization(self, stage: int) -> Optimization:
        """Freeze and thaw weights for a stage, and return its new optimiser.

        Args:
            stage: First step of the stage.
        """
        ...

    def evaluates_after(self, steps: int) -> bool:
        """Return whether the model is evaluated now.

        Args:
            steps: Number of steps that are done.
        """
        ...

    def saves_after(self, steps: int) -> bool:
        """Return whether the run is saved now.

        Args:
            steps: Number of steps that are done.
        """
        ...

    def evaluate(self, model: PlannedModel, steps: int, losses: list[float]) -> Record:
        """Evaluate a model.

        Args:
            model: Model with the weights that are kept.
            steps: Number of steps that are done.
            losses: Loss of every step since the evaluation before.
        """
        ...

    def after_evaluation(self, model: PlannedModel, history: list[Record]) -> float | None:
        """Keep what is worth keeping of a newly evaluated model, and return the score that the
        schedule depends on, higher is better; None where it depends on none.

        Args:
            model: Model that was evaluated.
            history: Records of all evaluations, the newest last.
        """
        ...

    def is_over(self, history: list[Record]) -> bool:
        """Return whether the run ends before its last phase.

        Args:
            history: Records of all evaluations, the newest last.
        """
        ...


class Trainer(Generic[ModelType]):
    """Train a model as a plan says, alone or as one of several workers.

    Args:
        model: Model to train, on the device that it is trained on.
        loss: Summed loss of logits and targets.
        precision: Arithmetic of the passes; weights stay in float32.
        clip_norm: Largest norm of all gradients together.
        ema_decay: Decay of the moving average that is evaluated and kept; 0 keeps the last weights.
        graphs: Whether a GPU may replay steps from CUDA graphs.
        workers: Processes that train this model together; each gets its part of every batch.
    """

    def __init__(
        self,
        model: ModelType,
        loss: Loss,
        *,
        precision: Precision = "float32",
        clip_norm: float = 1.0,
        ema_decay: float = 0.0,
        graphs: bool = True,
        workers: Workers = ALONE,
    ) -> None:
        self.model = model
        self.workers = workers
        self.device = model_device(model)
        self.average = WeightAverage(model, ema_decay)
        # Keeps float16's gradients from vanishing; in other precisions it does nothing.
        self.scaler = GradScaler(self.device.type, enabled=precision == "float16")
        self.steps = 0
        self.losses: list[float] = []
        self.history: list[Record] = []
        self._loss = loss
        self._precision = precision
        self._clip_norm = clip_norm
        # Not for float16, whose scaler decides on the host after every step whether to keep it, nor
        # for several workers: the hooks of DistributedDataParallel are not only work on tensors.
        self._captures = graphs and precision != "float16" and workers.size == 1
        self._optimization: Optimization | None = None
        self._replica: nn.Module = model
        self._replay = Replay(self.device)
        self._unread: list[Tensor] = []
        self._stage = -1
        self._resumed: TrainerState | None = None

    def fit(
        self,
        plan: TrainingPlan[ModelType],
        folder: AnyPath,
        *,
        fingerprint: str,
        on_step: Callable[[int, float, Record | None], None],
    ) -> list[Record]:
        """Train to the end of a plan, or resume what is in `folder`.

        Args:
            plan: What is trained on, and when the model is evaluated and saved.
            folder: Folder of the run; takes `checkpoint.pt`, which the first worker writes.
            fingerprint: What identifies the run; a checkpoint with another one is refused.
            on_step: Called by every worker for every step, once its loss has been read, with the
                number of the step, from 1, its mean loss, and the record of the evaluation after
                it, if there was one.

        Returns:
            Records of all evaluations.

        Raises:
            InputError: The device lacks the precision; or the checkpoint is damaged, of another
                run, or of a model of another size.
            DivergenceError: A loss is NaN or infinite.
            JobError: The batches of a phase ended early.
        """
        check_precision(self._precision, self.device, "training.precision")
        path = folder / CHECKPOINT
        self.resume(path, fingerprint)

        def look(*, evaluates: bool, saves: bool) -> None:
            losses = self.read_losses()
            self.losses += losses
            for step, loss in enumerate(losses[:-1], self.steps - len(losses) + 1):
                on_step(step, loss, None)
            record = self._evaluate(plan) if evaluates else None
            if saves and self.workers.writes:
                save_state(path, self._state(fingerprint))
            on_step(self.steps, losses[-1], record)

        for phase in plan.phases(self.steps):
            if plan.is_over(self.history):
                break
            self.start_phase(plan, phase, path)
            for batch in phase.batches:
                self.step(batch)
                evaluates = plan.evaluates_after(self.steps)
                saves = plan.saves_after(self.steps)
                if evaluates or saves or len(self._unread) >= LOOK[self.device.type]:
                    look(evaluates=evaluates, saves=saves)
            if self._unread:
                look(evaluates=False, saves=False)
            if self.steps != phase.last:
                raise JobError(
                    f"the batches of steps {phase.first + 1} to {phase.last} ended after step "
                    f"{self.steps}; is the data still complete?"
                )
        return self.history

    def step(self, batch: StepBatch) -> None:
        """Queue one optimiser step, in passes of at most `batch.rows` rows, and do not wait for it.

        Args:
            batch: This worker's part of the step.

        Raises:
            DeviceError: A pass runs out of GPU memory.
        """
        if self._optimization is None:
            raise RuntimeError("no optimiser: call start_stage first")
        work = partial(self._take_step, batch.rows, batch.arguments)
        tensors = batch.inputs, batch.targets, batch.weight
        scale = self.scaler.get_scale()
        try:
            with arithmetic(self._precision):
                (loss,) = self._replay((batch.rows, batch.arguments), work, *tensors)
        except torch.OutOfMemoryError as error:
            raise memory_error(
                error,
                "training",
                f"{count_noun(batch.rows, 'window')} in a pass",
                "make passes smaller (lower batch_size and raise accumulation; in a pretraining, "
                "lower tokens_per_pass), or give the run a larger share of a GPU",
            ) from None
        self._unread.append(loss.clone())
        self.steps += 1
        # The scaler leaves out a step whose gradients overflowed, and lowers its scale.
        if self.scaler.get_scale() >= scale:
            self._optimization.schedule.after_step()
            self.average.after_step()

    def read_losses(self) -> list[float]:
        """Wait for the steps since the last call, and return their losses.

        Returns:
            Mean loss of each step over all workers, in order.

        Raises:
            DivergenceError: A loss is NaN or infinite, so the weights are useless.
        """
        losses: list[float] = self.workers.mean(torch.stack(self._unread)).tolist()
        self._unread = []
        for step, loss in enumerate(losses, self.steps - len(losses) + 1):
            if not math.isfinite(loss):
                raise DivergenceError(f"the loss is {loss} at step {step}; lower the learning rate")
        return losses

    def _take_step(
        self,
        rows: int,
        arguments: tuple[Any, ...],
        inputs: Tensor,
        targets: Tensor,
        weight: Tensor,
    ) -> tuple[Tensor]:
        """Update the weights and return the loss, working only on tensors of the device."""
        assert self._optimization is not None
        optimizer, clipped = self._optimization.optimizer, self._optimization.clipped
        dtype = ACTIVATIONS[self._precision]
        loss = torch.zeros((), device=self.device)
        optimizer.zero_grad(set_to_none=True)
        for first in range(0, len(targets), rows):
            part = slice(first, first + rows)
            with self.workers.passes(self._replica, last=part.stop >= len(targets)):
                rounded = dtype != torch.float32
                with torch.autocast(self.device.type, dtype, enabled=rounded):
                    logits = self._replica(inputs[part], *arguments)
                # The gradients of all workers are averaged, and so is the loss.
                part_loss = self._loss(logits, targets[part]) / (weight / self.workers.size)
                self.scaler.scale(part_loss).backward()
            loss += part_loss.detach()
        self.scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_(clipped, self._clip_norm)
        if self.device.type == "cuda":
            # A fused optimiser keeps its state on the device in any case. But torch captures only
            # optimisers that are marked as capturable, and warns if such a one takes eager steps.
            capturing = torch.cuda.is_current_stream_capturing()
            for group in optimizer.param_groups:
                group["capturable"] = capturing
        self.scaler.step(optimizer)
        self.scaler.update()
        return (loss,)

    def start_stage(self, optimization: Optimization) -> None:
        """Train with another optimiser from here on, and with the weights frozen as they are now.

        Args:
            optimization: Optimiser, schedule and clipped parameters of the stage.
        """
        self._optimization = optimization
        # A CUDA graph belongs to one optimiser.
        self._replay = Replay(self.device)
        self._replay.captures = self._replay.captures and self._captures
        # Which weights are frozen is settled when the replica is made.
        self._replica = self.workers.replica(self.model)
        self._replica.train()

    def start_phase(self, plan: TrainingPlan[ModelType], phase: Phase, path: AnyPath) -> None:
        """Prepare the first step of a phase.

        Args:
            plan: Gives the optimiser where a stage starts.
            phase: Phase to start or resume.
            path: Checkpoint that was resumed from, for the message.

        Raises:
            InputError: The checkpoint's optimiser is that of a model of another size.
        """
        if phase.stage != self._stage:
            self._stage = phase.stage
            self.start_stage(plan.optimization(phase.stage))
            state = self._resumed
            if state is not None and self._optimization is not None and state.steps > phase.stage:
                with _of_one_size(path):
                    self._optimization.optimizer.load_state_dict(state.optimizer)
                    self._optimization.schedule.load_state_dict(state.schedule)
            self._resumed = None
        if phase.seed is not None:
            torch.manual_seed(phase.seed)

    def resume(self, path: AnyPath, fingerprint: str) -> None:
        """Take on the state in a checkpoint, if there is one.

        Args:
            path: File of the checkpoint.
            fingerprint: What identifies the run.

        Raises:
            InputError: The checkpoint is damaged, of another run, or of a model of another size.
        """
        state = load_state(path, fingerprint)
        if state is None:
            return
        with _of_one_size(path):
            self.model.load_state_dict(state.model)
            self.scaler.load_state_dict(state.scaler)
            self.average.load_state_dict(state.average)
        self.steps, self.losses, self.history = state.steps, state.losses, state.history
        self._resumed = state
        logger.info("resuming after step %d", state.steps)

    def _evaluate(self, plan: TrainingPlan[ModelType]) -> Record:
        """Evaluate the weights that are kept, and pass the score to the schedule."""
        kept = self.average.model
        for model in dict.fromkeys((self.model, kept)):
            self.workers.agree(model)
        record = plan.evaluate(kept, self.steps, self.losses)
        self.losses = []
        self.history.append(record)
        score = plan.after_evaluation(kept, self.history)
        if score is not None and self._optimization is not None:
            self._optimization.schedule.after_epoch(score)
        self._replica.train()
        return record

    def _state(self, fingerprint: str) -> TrainerState:
        assert self._optimization is not None
        return TrainerState(
            fingerprint=fingerprint,
            steps=self.steps,
            model=self.model.state_dict(),
            optimizer=self._optimization.optimizer.state_dict(),
            schedule=self._optimization.schedule.state_dict(),
            scaler=self.scaler.state_dict(),
            average=self.average.state_dict(),
            losses=self.losses,
            history=self.history,
        )


@contextmanager
def _of_one_size(path: AnyPath) -> Iterator[None]:
    """Turn torch's errors on a state of another model into one that names the checkpoint."""
    try:
        yield
    except (RuntimeError, ValueError, KeyError) as error:
        raise InputError(
            path,
            None,
            f"the weights of a model of another size ({type(error).__name__})",
            "restore the checkpoint of this run, or delete it and start again",
        ) from None

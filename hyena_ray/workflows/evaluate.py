"""Score a trained model on a split of prepared windows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, NamedTuple

from pydantic import Field

from hyena_ray.dataset.reader import PreparedData
from hyena_ray.errors import Problems
from hyena_ray.files import sha256_file, write_json
from hyena_ray.outcomes import Outcome
from hyena_ray.progress import Progress, State
from hyena_ray.runs.plan import Plan
from hyena_ray.runs.record import MANIFEST, Record
from hyena_ray.runs.run import Output, start
from hyena_ray.settings import READ, WRITE, Location, Option
from hyena_ray.storage import AnyPath
from hyena_ray.tasks import task_named
from hyena_ray.workflows.train import EVALUATION
from hyena_ray.workflows.workflow import (
    ReadsModel,
    ReadsSplit,
    Workflow,
    WritesRun,
    outputs_in,
)

if TYPE_CHECKING:
    from hyena_ray.model.window import WindowModel
    from hyena_ray.training.evaluation import Evaluation


class EvaluateSettings(ReadsModel, ReadsSplit, WritesRun):
    """Settings of an evaluation."""

    fold: Annotated[int | None, Option("N", READ, default="data without folds"), Field(ge=0)] = None
    """Fold that the model was tested on, where the data is split into folds."""
    strands: Annotated[
        Literal["forward", "both"] | None, Option(default="as the model was trained")
    ] = None
    """Strands to read, where not those that the model was trained with; calibration and
    thresholds are then chosen anew on the validation data."""
    out: Annotated[Location | None, Option("DIR", WRITE, default="nothing is written")] = None  # type: ignore[assignment]
    """Output folder of the run."""


class EvaluatePlan(Plan):
    """Settings and inputs that determine the result of an evaluation."""

    KIND: ClassVar[str] = "evaluate"

    model: str
    """sha256 of weights, readout and threshold."""
    data: str
    """sha256 of the manifest of the prepared data."""
    split: str
    """Split that is scored."""
    fold: int | None
    """Fold that is tested, where the data is split into folds."""
    strands: Literal["forward", "both"] | None
    """Strands that are read instead of the model's own."""
    threads: int
    """torch threads, on which the last bits depend."""


class EvaluateRecord(Record):
    """The manifest of an evaluation; the figures are in `evaluation.json`."""

    KIND: ClassVar[str] = "evaluate"

    plan: EvaluatePlan
    """What was evaluated."""


class EvaluationRun(NamedTuple):
    """An evaluation that passed every check; nothing was written."""

    plan: EvaluatePlan
    output: Output | None
    model: WindowModel
    model_folder: AnyPath
    """Absolute path of the model's folder."""
    data: PreparedData
    """Prepared windows, as the fold sees them."""


def validate(settings: EvaluateSettings) -> EvaluationRun:
    """Check that model, data and split go together.

    Args:
        settings: Settings of the job.

    Raises:
        InputError: They do not, or the folder may not be written.
    """
    with Problems() as problems:
        data = settings.open_data(problems, settings.fold)
        output = None
        if settings.out is not None:
            inputs = (settings.model, settings.data)
            output = problems.collect(settings.output, EvaluatePlan.KIND, inputs)
    assert data is not None
    import torch

    from hyena_ray.model.saved import model_sha256
    from hyena_ray.training.preflight import load_fitting_model

    model = load_fitting_model(settings.model, data)
    plan = EvaluatePlan(
        model=model_sha256(model),
        data=sha256_file(data.folder / MANIFEST),
        split=settings.split,
        fold=settings.fold,
        strands=settings.strands,
        threads=torch.get_num_threads(),
    )
    return EvaluationRun(plan, output, model, settings.model.absolute(), data)


def execute(run: EvaluationRun) -> Evaluation:
    """Score the windows, and write the figures where a folder was given.

    Args:
        run: The evaluation.
    """
    from hyena_ray.dataset.origin import NAME as DATA
    from hyena_ray.dataset.origin import Origin
    from hyena_ray.model.devices import default_device, device_name
    from hyena_ray.training.evaluation import calibrate, evaluate_on_split
    from hyena_ray.training.held_out import HeldOut
    from hyena_ray.training.leaks import seen_in_training
    from hyena_ray.training.losses import class_weights
    from hyena_ray.training.settings import TrainingSettings

    plan, model, data = run.plan, run.model, run.data
    device = default_device()
    model.to(device)
    weights, length, scored = class_weights(TrainingSettings()), model.readout.window, 0

    def on_progress(windows: int) -> None:
        nonlocal scored
        scored += windows
        progress.update(State(done=scored))

    splits = [plan.split] if plan.strands is None else ["val", plan.split]
    total = sum(data.count(length, split) for split in splits)
    with Progress("scoring", total, "windows", brief=True) as progress:
        if plan.strands is not None:
            model.readout = model.readout.updated({"strands": plan.strands}, "--strands")
            calibrate(
                model,
                HeldOut.read(data, "val"),
                weights,
                task_named(data.manifest.task).threshold_metric,
                on_progress=on_progress,
            )
        evaluation = evaluate_on_split(model, data, plan.split, weights, on_progress)
    if (run.model_folder / DATA).is_file():
        trained_on = Origin.read(run.model_folder)
        seen = seen_in_training(trained_on, Origin.from_data(data), plan.split, length)
        evaluation = evaluation._replace(seen=seen)
    if run.output is not None:
        inputs = {"model": run.model_folder, "data": data.folder}
        with start(run.output, plan, inputs=inputs, ran_on=device_name(device)) as folder:
            write_json(folder.folder / EVALUATION, evaluation.as_json())
            record = EvaluateRecord.make(
                fingerprint=plan.fingerprint,
                simulated=data.manifest.simulated,
                outputs=OUTPUTS,
                plan=plan,
            )
            folder.finish(record)
    return evaluation


def present(run: EvaluationRun, evaluation: Evaluation) -> Outcome:
    """Say what the model scores.

    Args:
        run: The evaluation.
        evaluation: What it found.
    """
    folder = None if run.output is None else run.output.folder
    written = {} if folder is None else outputs_in(folder, OUTPUTS)
    simulated = run.data.manifest.simulated
    return Outcome(evaluation.table(), evaluation.as_json(), written, simulated, folder)


OUTPUTS = {"evaluation": EVALUATION, "summary": MANIFEST}
"""Name of every output, and its path in the folder of the run."""

WORKFLOW = Workflow(
    name="evaluate",
    about=__doc__,
    settings=lambda task: EvaluateSettings,
    validate=validate,
    execute=execute,
    present=present,
    found=f"what {EVALUATION} holds",
    examples=(
        "evaluate --model run/model --data prepared --split test --out scored",
        "evaluate --model run/model --data prepared --split val --strands forward",
    ),
)

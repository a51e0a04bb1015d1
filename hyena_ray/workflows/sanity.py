"""Check that an attribution can be trusted: faithfulness, untrained models, planted k-mers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, NamedTuple

from pydantic import Field, field_validator

from hyena_ray.attribution.settings import AttributionSettings
from hyena_ray.dataset.reader import PreparedData
from hyena_ray.errors import InputError, Problems
from hyena_ray.files import sha256_file, write_json
from hyena_ray.outcomes import Outcome
from hyena_ray.progress import Progress, State
from hyena_ray.runs.plan import Plan
from hyena_ray.runs.record import MANIFEST, Record
from hyena_ray.runs.run import Output, start
from hyena_ray.settings import READ, Option
from hyena_ray.tasks import task_named
from hyena_ray.workflows.workflow import (
    ComputesHere,
    ModelFolder,
    ReadsModel,
    ReadsSplit,
    Workflow,
    WritesRun,
    outputs_in,
)

if TYPE_CHECKING:
    from hyena_ray.attribution.sanity_checks import Check
    from hyena_ray.dataset.schema import Windows
    from hyena_ray.model.window import WindowModel

SANITY = "sanity.json"
"""Name of the file with the results of all checks."""
OUTPUTS = {"checks": SANITY, "summary": MANIFEST}
"""Name of every output, and its path in the folder of the run."""


class SanitySettings(ReadsModel, ReadsSplit, WritesRun, ComputesHere):
    """Settings of sanity checks."""

    random_labels: Annotated[ModelFolder | None, Option("DIR", READ)] = None
    """Model of the same run trained with --set training.permute_labels=true: its scores are
    compared with those of --model."""
    methods: Annotated[tuple[str, ...], Option("M,M")] = ("ig", "smoothgrad")
    """Attribution methods to check."""
    limit: Annotated[int, Option("N"), Field(ge=1)] = 200
    """Use at most N windows with a labelled base, sampled evenly across the split."""

    @field_validator("methods")
    @classmethod
    def _are_methods(cls, methods: tuple[str, ...]) -> tuple[str, ...]:
        AttributionSettings.check_each({"methods": methods}, lambda key: "--methods")
        return methods


class SanityPlan(Plan):
    """Settings and inputs that determine the result of sanity checks."""

    KIND: ClassVar[str] = "sanity"

    model: str
    """sha256 of weights, readout and threshold."""
    random_labels: str | None
    """The same of the model that was trained on permuted labels."""
    data: str
    """sha256 of the manifest of the prepared data."""
    split: str
    """Split that is read."""
    limit: int
    """Largest number of windows."""
    settings: AttributionSettings
    """Settings of the attribution."""
    threads: int
    """torch threads, on which the last bits depend."""


class SanityRecord(Record):
    """The manifest of sanity checks; their results are in `sanity.json`."""

    KIND: ClassVar[str] = "sanity"

    plan: SanityPlan
    """What was checked."""


class SanityRun(NamedTuple):
    """Sanity checks that passed every check of their own; nothing was written."""

    plan: SanityPlan
    output: Output
    model: WindowModel
    other: WindowModel | None
    """Model that was trained on permuted labels."""
    data: PreparedData
    windows: Windows


def validate(settings: SanitySettings) -> SanityRun:
    """Check that models, data and methods go together.

    Args:
        settings: Settings of the job.

    Raises:
        InputError: They do not, or the folder may not be written.
    """
    with Problems() as problems:
        data = settings.open_data(problems)
        chosen = problems.collect(_attribution_settings, settings)
        inputs = (settings.model, settings.data, settings.random_labels)
        output = problems.collect(settings.output, SanityPlan.KIND, inputs)
    assert data is not None
    assert chosen is not None
    assert output is not None
    from hyena_ray.attribution.targets import labelled_windows
    from hyena_ray.model.saved import load_window_model, model_sha256
    from hyena_ray.training.preflight import load_fitting_model

    model, other = load_fitting_model(settings.model, data), None
    if settings.random_labels is not None:
        other = load_window_model(settings.random_labels)
        if other.readout != model.readout:
            raise InputError(
                "--random-labels",
                settings.random_labels,
                f"a model that reads windows otherwise than {settings.model}",
                "train it with the same settings but for training.permute_labels=true",
            )
    plan = SanityPlan(
        model=model_sha256(model),
        random_labels=None if other is None else model_sha256(other),
        data=sha256_file(data.folder / MANIFEST),
        split=settings.split,
        limit=settings.limit,
        settings=chosen,
        threads=settings.threads,
    )
    windows = labelled_windows(data.read(model.readout.window, settings.split), settings.limit)
    return SanityRun(plan, output, model, other, data, windows)


def _attribution_settings(settings: SanitySettings) -> AttributionSettings:
    values = {"methods": settings.methods}
    return AttributionSettings.parse(values, "--methods", label=lambda key: "--methods")


def execute(run: SanityRun) -> list[Check]:
    """Run all checks, and write their results.

    Args:
        run: The checks.

    Raises:
        InputError: The model finds no labelled base, or another job writes the folder.
    """
    import torch

    from hyena_ray.attribution.sanity_checks import check_attribution, count_steps
    from hyena_ray.dataset.origin import Origin
    from hyena_ray.model.devices import default_device, device_name

    torch.set_num_threads(run.plan.threads)
    device = default_device()
    for model in filter(None, (run.model, run.other)):
        model.to(device)
    simulated = run.data.manifest.simulated
    planted = simulated and task_named(run.data.manifest.task).kind == "base"
    steps = 0

    def on_step(name: str) -> None:
        nonlocal steps
        steps += 1
        progress.update(State(done=steps - 1, at_work=(name,)))

    total = count_steps(run.plan.settings, random_labels=run.other is not None)
    with Progress("sanity checks", total, "steps", brief=True) as progress:
        checks = check_attribution(
            run.model,
            run.windows,
            run.plan.settings,
            planted=planted,
            permuted_label_model=run.other,
            on_progress=on_step,
        )
        progress.update(State(done=total))
    inputs = {"data": run.data.folder}
    with start(run.output, run.plan, inputs=inputs, ran_on=device_name(device)) as folder:
        Origin.from_data(run.data).write(folder.folder)
        write_json(folder.folder / SANITY, _values(run, checks))
        record = SanityRecord.make(
            fingerprint=run.plan.fingerprint, simulated=simulated, outputs=OUTPUTS, plan=run.plan
        )
        folder.finish(record)
    return checks


def _values(run: SanityRun, checks: list[Check]) -> dict[str, object]:
    simulated = run.data.manifest.simulated
    return {"simulated": simulated, "checks": [check.as_json() for check in checks]}


def present(run: SanityRun, checks: list[Check]) -> Outcome:
    """Say how the checks ended.

    Args:
        run: The checks.
        checks: Their results.
    """
    from hyena_ray.attribution.sanity_checks import format_checks

    folder = run.output.folder
    written = outputs_in(folder, OUTPUTS)
    simulated = run.data.manifest.simulated
    return Outcome(format_checks(checks), _values(run, checks), written, simulated, folder)


WORKFLOW = Workflow(
    name="sanity",
    about=__doc__,
    settings=lambda task: SanitySettings,
    validate=validate,
    execute=execute,
    present=present,
    found="simulated, checks",
    examples=(
        "sanity --model run/model --data prepared --out checked --limit 200",
        "sanity --model run/model --random-labels permuted/model --data prepared --out checked "
        "--methods ig,ism",
    ),
)

"""A whole run: data, search, best model, its test score, and the k-mers that it relies on."""

from __future__ import annotations

import importlib.metadata
import logging
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import ray
import torch
from optuna.trial import FrozenTrial

from hyena_ray.attribution.merge import MergeResult
from hyena_ray.cluster import attribute
from hyena_ray.cluster.attribute import attribute_on_actors, place_actors, plan_attribution
from hyena_ray.cluster.folder import (
    begin,
    check_output,
    data_plan,
    default_folder,
    only_writer,
)
from hyena_ray.cluster.progress import Progress
from hyena_ray.cluster.resources import Placement, place
from hyena_ray.cluster.start import Cluster, connect
from hyena_ray.cluster.windows import Key, fits, share_windows
from hyena_ray.dataset.manifest import NAME as MANIFEST
from hyena_ray.dataset.origin import Origin
from hyena_ray.dataset.prepare import prepare
from hyena_ray.dataset.reader import PreparedData
from hyena_ray.dataset.simulated import simulate
from hyena_ray.errors import InputError
from hyena_ray.files import atomic_folder, read_json, sha256_file, write_json
from hyena_ray.model.saved import READOUT, load_window_model
from hyena_ray.storage import AnyPath, local_copy, remove_folder
from hyena_ray.tasks import Task, task_named
from hyena_ray.training.evaluation import Evaluation
from hyena_ray.training.fit import check_run_fits
from hyena_ray.training.loop import new_model
from hyena_ray.training.run import EVALUATION, score_and_describe
from hyena_ray.training.settings import RunSettings
from hyena_ray.tuning.experiment import run_trials
from hyena_ray.tuning.results import STATES, TRIALS, best_trial, write_trials
from hyena_ray.tuning.search import METRICS, SETTINGS
from hyena_ray.tuning.space import SearchSpace
from hyena_ray.tuning.study import STUDY_FILE, StoredStudy, study_errors
from hyena_ray.tuning.summary import SIMULATED, TOP, RunSummary
from hyena_ray.tuning.trackers import Tracker

logger = logging.getLogger(__name__)

PACKAGES = ("hyena-ray", "torch", "ray", "optuna", "transformers", "peft", "numpy", "pyarrow")
SIMULATION_SEED = 0
MAY_CHANGE = ("trials", "threads")


class TuneOptions(NamedTuple):
    """What the command line of a tuning job says."""

    task: Task
    space: Path
    """YAML; see `SearchSpace`."""
    data: AnyPath | None = None
    """Prepared folder; None simulates a genome and prepares it."""
    out: AnyPath | None = None
    """Run folder; None makes a new one, see `default_folder`."""
    trials: int | None = None
    """In place of the number in the YAML."""
    resume: bool = False
    overwrite: bool = False
    address: str | None = None
    """Ray cluster; see `connect`."""
    trackers: tuple[Tracker, ...] = ()
    """That are told of every trial."""


class Checked(NamedTuple):
    """What passed every check but for the cluster's; nothing was written."""

    space: SearchSpace
    data: PreparedData | None
    """None: to be simulated."""
    out: AnyPath
    draws: list[RunSettings]
    """Settings that trials may have."""


def tune_task(options: TuneOptions) -> AnyPath:
    """Do a whole run, or what is left of one.

    Returns:
        The run folder; `RunSummary.read` reads what was found.

    Raises:
        InputError: bad options, files or settings, or more resources than the cluster has; nothing
            was written.
        UnfinishedError, StalledError, ShardError: what finished is kept, and --resume goes on.
    """
    space, data, out, _ = checked(options)
    with connect(options.address, dashboard=space.resources.workers > 1) as cluster:
        placement = place_trials(space, data, cluster)
        with only_writer(out, overwrite=options.overwrite):
            logger.info("writing to %s", out)
            _Run(out, space, cluster, placement, options.trackers).do(data)
    return out


def checked(options: TuneOptions) -> Checked:
    """All checks but the cluster's. Writes nothing.

    Raises:
        InputError: bad options, files or settings.
    """
    space = _space(options)
    data = None if options.data is None else PreparedData.open(options.data)
    draws = space.draws(options.space)
    if data is not None:
        for settings in draws:
            check_run_fits(settings, data, str(options.space), gpu=space.resources.gpu > 0)
    out = _output(options, data)
    if data is not None:
        data.check(space.lengths())
    for settings in {draw.model.backbone: draw for draw in draws}.values():
        # What only shows when the model is made, such as a backbone that is not there.
        new_model(settings)
    return Checked(space, data, out, draws)


def written_by(out: AnyPath, data: PreparedData, methods: Iterable[str]) -> dict[str, AnyPath]:
    """What a run leaves, to where it lies; see `attribute.written_by`."""
    names = {"trials": TRIALS, "study": STUDY_FILE, "model": "model"}
    own = {what: out / name for what, name in names.items()}
    return own | attribute.written_by(out, data, methods)


def made_of(space: SearchSpace, data: PreparedData, placement: Placement) -> dict[str, Any]:
    """What a run is made of; a resumed one may differ in `MAY_CHANGE` alone."""
    return {
        "space": space.model_dump(
            mode="json", exclude_defaults=True, exclude={"trials", "concurrent"}
        ),
        "trials": space.trials,
        "data": data_plan(data),
        "threads": placement.threads,
    }


def simulated_data(space: SearchSpace, folder: AnyPath) -> None:
    """Simulate a genome, or sequences, and prepare `folder` from it. The genome is not kept: the
    manifest of the data tells where both came from."""
    with tempfile.TemporaryDirectory(prefix="hyena_ray-") as sources:
        recipe = simulate(
            task_named(space.task),
            Path(sources),
            SIMULATION_SEED,
            lengths=space.lengths(),
            flank=max(draw.window_readout().stored for draw in space.draws()),
        )
        prepare(recipe, folder)


def _space(options: TuneOptions) -> SearchSpace:
    space = SearchSpace.load(options.space)
    if space.task != options.task.name:
        raise InputError(
            f"{options.space}: task",
            space.task,
            f"this job tunes {options.task.name}",
            "give a space of that task",
        )
    if options.trials is None:
        return space
    return space.updated({"trials": options.trials}, "--trials")


def _output(options: TuneOptions, data: PreparedData | None) -> AnyPath:
    if options.out is not None:
        return check_output(
            options.out,
            data,
            inputs=[options.space],
            resume=options.resume,
            overwrite=options.overwrite,
        )
    if options.resume or options.overwrite:
        raise InputError("--out", None, "is missing", "say which run to resume or overwrite")
    return default_folder(options.task.name)


def _keys(space: SearchSpace) -> list[Key]:
    return [(length, split) for length in space.lengths() for split in ("train", "val")]


def place_trials(space: SearchSpace, data: PreparedData | None, cluster: Cluster) -> Placement:
    """How many trials at once.

    Raises:
        InputError: the cluster cannot hold what the space asks for.
    """
    return place(
        cluster,
        space.resources,
        wanted=space.concurrent,
        useful=space.trials,
        # A simulated genome is small.
        streams=data is not None and not fits(data, _keys(space), cluster),
        name="search space: resources",
        workers=space.resources.workers,
    )


class _Run:
    """The steps of a run; each is skipped or continued where it was done before."""

    def __init__(
        self,
        out: AnyPath,
        space: SearchSpace,
        cluster: Cluster,
        placement: Placement,
        trackers: tuple[Tracker, ...],
    ) -> None:
        self.out = out
        self.space = space
        self.cluster = cluster
        self.placement = placement
        self.trackers = trackers
        self.seconds: dict[str, float] = {}

    def do(self, given: PreparedData | None) -> None:
        with self._timed("prepare"):
            data = given or self._simulate()
        if self._is_complete(data):
            logger.info("the run is complete already")
            return
        with self._timed("tune"):
            best, trials = self._tune(data)
        settings = self.space.run_settings(best.user_attrs[SETTINGS])
        with self._timed("test"):
            test = self._test(data, settings)
            write_json(self.out / EVALUATION, test.as_json())
        with self._timed("attribute"):
            found = self._attribute(data)
        RunSummary(
            task=self.space.task,
            simulated=data.manifest.simulated,
            data=sha256_file(data.folder / MANIFEST),
            trials=trials,
            best_trial=best.number,
            settings=best.user_attrs[SETTINGS],
            validation=best.user_attrs[METRICS],
            test=test.metrics._asdict(),
            attribution=found.digest,
            kmers={
                name: tuple(table["kmer"][:TOP].to_pylist()) for name, table in found.tables.items()
            },
            seconds=self.seconds,
            versions={name: importlib.metadata.version(name) for name in PACKAGES},
        ).write(self.out)

    @contextmanager
    def _timed(self, step: str) -> Iterator[None]:
        began = time.monotonic()
        yield
        self.seconds[step] = round(time.monotonic() - began, 1)

    def _simulate(self) -> PreparedData:
        logger.warning("no --data: %s", SIMULATED)
        folder = self.out / "data"
        if not (folder / MANIFEST).exists():
            simulated_data(self.space, folder)
        return PreparedData.open(folder)

    def _is_complete(self, data: PreparedData) -> bool:
        """Also writes, or compares, what the run is made of."""
        plan = made_of(self.space, data, self.placement)
        first = begin(self.out, plan, may_change=MAY_CHANGE)
        Origin.of(data).write(self.out)
        self.placement = Placement(concurrent=self.placement.concurrent, threads=first["threads"])
        if not (self.out / MANIFEST).exists():
            return False
        done = sum(RunSummary.read(self.out).trials.values())
        if done < self.space.trials:
            # More trials than before: no longer complete.
            (self.out / MANIFEST).unlink()
        return done >= self.space.trials

    def _tune(self, data: PreparedData) -> tuple[FrozenTrial, dict[str, int]]:
        with study_errors(self.out):
            stored = StoredStudy(self.out, self.space)
            study = stored.study
            try:
                windows = share_windows(data, _keys(self.space), self.cluster)
                run_trials(self.space, stored, windows, self.out, self.placement, self.trackers)
            except BaseException:
                with suppress(OSError):  # a full disk, of which the first error tells
                    write_trials(study, self.space, self.out / TRIALS)
                raise
            write_trials(study, self.space, self.out / TRIALS)
            best = best_trial(study)
        model = self.out / "model"
        with (
            local_copy(self.out / "trials" / f"{best.number:04d}" / "model") as trained,
            atomic_folder(model, last=READOUT, replace=True) as temporary,
        ):
            shutil.copytree(trained, temporary, dirs_exist_ok=True)
        states = Counter(STATES[trial.state] for trial in study.get_trials(deepcopy=False))
        return best, dict(states)

    def _attribute(self, data: PreparedData) -> MergeResult:
        model, each = self.out / "model", self.space.resources
        settings = self.space.attribution_settings()
        plan = plan_attribution(model, data, split="test", settings=settings)
        begun = self.out / "shards" / "plan.json"
        if begun.exists() and read_json(begun) != plan.model_dump(mode="json"):
            # More trials have found a better model since.
            remove_folder(begun.parent)
        actors = place_actors(plan, self.cluster, None, each).concurrent
        return attribute_on_actors(plan, model, data, self.out, actors=actors, each=each)

    def _test(self, data: PreparedData, settings: RunSettings) -> Evaluation:
        """Once, after everything is chosen; on a worker, since the driver may have no GPU. Writes
        the model's card."""
        folder, model_folder = data.folder, self.out / "model"

        def score() -> Evaluation:
            torch.set_num_threads(1)
            model = load_window_model(model_folder)
            model.to("cuda" if torch.cuda.is_available() else "cpu")
            windows = PreparedData.open(folder)
            found = score_and_describe(model, model_folder, settings, windows, test=True)
            assert found is not None
            return found

        each = self.space.resources
        task = ray.remote(num_cpus=each.cpu, num_gpus=each.gpu)(score)
        with Progress("score test windows"):
            found: Evaluation = ray.get(task.options(name="score test windows").remote())
        return found

"""A whole run: data, search, best model, its test score, and the k-mers that it relies on."""

from __future__ import annotations

import importlib.metadata
import logging
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import ray
import torch
from optuna.trial import FrozenTrial

from hyena_ray.attribution.shards import MergeResult
from hyena_ray.cluster.attribute import attribute_on_actors, place_actors, plan_attribution
from hyena_ray.cluster.folder import begin, only_writer
from hyena_ray.cluster.progress import Progress
from hyena_ray.cluster.resources import Cluster, Placement
from hyena_ray.cluster.start import connect
from hyena_ray.cluster.windows import share_windows
from hyena_ray.dataset.manifest import MANIFEST
from hyena_ray.dataset.origin import Origin
from hyena_ray.dataset.reader import PreparedData
from hyena_ray.files import atomic_folder, read_json, sha256_file, write_json
from hyena_ray.model.saved import READOUT, load_window_model
from hyena_ray.outcomes import SIMULATED
from hyena_ray.search.space import SearchSpace
from hyena_ray.search.stored_study import (
    STATES,
    StoredStudy,
    best_trial,
    study_errors,
    write_trials,
)
from hyena_ray.search.trackers import Tracker
from hyena_ray.search.trial_fields import METRICS, SETTINGS, TRIALS
from hyena_ray.search.tune_experiment import run_trials
from hyena_ray.storage import AnyPath, local_copy, remove_folder
from hyena_ray.training.evaluation import Evaluation
from hyena_ray.training.run import EVALUATION, score_and_describe
from hyena_ray.training.settings import RunSettings
from hyena_ray.tuning.plan import (
    MAY_CHANGE,
    TuneOptions,
    checked,
    keys_of,
    made_of,
    place_trials,
    simulated_data,
)
from hyena_ray.tuning.summary import TOP, RunSummary

logger = logging.getLogger(__name__)

PACKAGES = ("hyena-ray", "torch", "ray", "optuna", "transformers", "peft", "numpy", "pyarrow")


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
                windows = share_windows(data, keys_of(self.space), self.cluster)
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
        model, resources = self.out / "model", self.space.resources
        settings = self.space.attribution_settings()
        plan = plan_attribution(model, data, split="test", settings=settings)
        begun = self.out / "shards" / "plan.json"
        if begun.exists() and read_json(begun) != plan.model_dump(mode="json"):
            # More trials have found a better model since.
            remove_folder(begun.parent)
        actors = place_actors(plan, self.cluster, None, resources).concurrent
        return attribute_on_actors(plan, model, data, self.out, actors=actors, resources=resources)

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

        resources = self.space.resources
        task = ray.remote(num_cpus=resources.cpu, num_gpus=resources.gpu)(score)
        with Progress("score test windows"):
            found: Evaluation = ray.get(task.options(name="score test windows").remote())
        return found

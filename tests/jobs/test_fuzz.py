"""300 fixed variants of every file that a job reads: each is used as it was, or refused in a line.

None ends in a traceback, hangs, or takes memory without end, and none that is accepted changes a
result.
"""

from __future__ import annotations

import copy
import json
import random
import resource
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import pytest

from hyena_ray.dataset.reader import PreparedData
from hyena_ray.errors import InputError, JobError
from hyena_ray.genome.contigs import open_genome
from hyena_ray.genome.region_files import read_regions
from hyena_ray.model.saved import load_window_model, model_sha256
from hyena_ray.report.contents import read_contents
from hyena_ray.runs.plan import SEAL, sealed
from hyena_ray.runs.run import check_output, read_plan
from hyena_ray.search.space import SearchSpace
from hyena_ray.training.checkpoint import load_state
from hyena_ray.workflows.train import TrainPlan
from tests.command_line import run_command
from tests.jobs.bad_inputs import TRAIN

pytestmark = pytest.mark.slow

VARIANTS = 300
HANG = 60
"""Seconds after which a reader hangs; none takes two on a quiet machine (RESULTS.md)."""
ROOM = 6 << 30
"""Bytes that a reader may allocate besides what the process has."""
HOSTILE: tuple[Any, ...] = (
    *(None, True, False, -1, 0, 1, 2, 10**9, 10**30, 0.5, 1e308, -1e308, 5e-324),
    *("", "0", "x" * 10_000, "../../x", "/etc/passwd", "s3://x/y", "\x1b[2J", "a\nb", "\u202e"),
    *([], {}, [[]], [None], [0] * 1_000, {"": 0}, {"a": {"a": {}}}),
)
"""Values that are put in place of others."""


class File(NamedTuple):
    """A file, and what reads it."""

    name: str
    """Path in the folder of good inputs."""
    read: Callable[[Path], object]
    """Reads it from a folder; equal values give equal results."""
    exact: bool = False
    """Whether what is accepted must be what was written: the file is covered by a checksum."""


def data_of(folder: Path) -> object:
    data = PreparedData.open(folder / "data")
    data.check(data.manifest.lengths)
    return [[column.tobytes() for column in data.read(20, split)] for split in data.manifest.splits]


def model_of(folder: Path) -> object:
    return model_sha256(load_window_model(folder / "model"))


def run_of(folder: Path) -> object:
    check_output(folder / "run", "train", resume=True)
    plan = read_plan(folder / "run", TrainPlan)
    contents = read_contents(folder / "run")
    assert plan is not None
    return plan.fingerprint, type(contents)


def state_of(folder: Path) -> object:
    plan = read_plan(folder / "run", TrainPlan)
    assert plan is not None
    state = load_state(folder / "run" / "checkpoint.pt", plan.fingerprint)
    assert state is not None
    weights = {name: value.numpy().tobytes() for name, value in state.model.items()}
    return state.steps, state.history, weights


def genome_of(folder: Path) -> object:
    return [contig.codes.tobytes() for contig in open_genome(folder / "genome.fa")]


FILES = (
    File("data/manifest.json", data_of, exact=True),
    File("data/length=20/split=train/part-00000.parquet", data_of, exact=True),
    File("data/stretches/split=test/part-00000.parquet", data_of, exact=True),
    File("model/config.json", model_of, exact=True),
    File("model/readout.json", model_of, exact=True),
    File("model/model.safetensors", model_of, exact=True),
    File("run/plan.json", run_of, exact=True),
    File("run/manifest.json", run_of, exact=True),
    File("run/provenance.json", run_of),
    File("run/data.json", run_of),
    File("run/history.json", run_of),
    File("run/evaluation.json", run_of),
    File("run/checkpoint.pt", state_of, exact=True),
    File("first/manifest.json", lambda folder: type(read_contents(folder / "first"))),
    File("first/plan.json", lambda folder: type(read_contents(folder / "first"))),
    File("space.yaml", lambda folder: SearchSpace.load(folder / "space.yaml").model_dump_json()),
    File("genome.fa", genome_of),
    File("regions.bed", lambda folder: str(read_regions(folder / "regions.bed"))),
)


class Variant(NamedTuple):
    """A variant of a file."""

    content: bytes
    sealed_again: bool
    """Whether its seal fits, as a program that wrote these values on purpose would have it."""


def variants(name: str, content: bytes) -> Iterator[Variant]:
    """Yield fixed variants of a file: bytes anywhere, and values of JSON, some with a new seal."""
    chance = random.Random(name)
    values = json.loads(content) if name.endswith(".json") else None
    for number in range(VARIANTS):
        if values is None or number % 2 == 0:
            yield Variant(changed_bytes(content, chance), sealed_again=False)
            continue
        changed = changed_values(values, chance)
        again = SEAL in values and isinstance(changed, dict) and number % 4 == 3
        if again:
            changed = sealed({key: value for key, value in changed.items() if key != SEAL})
        yield Variant(json.dumps(changed).encode(), sealed_again=again)


def changed_bytes(content: bytes, chance: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(chance.choice((1, 1, 1, 2, 8))):
        at = chance.randrange(len(changed) + 1)
        end = min(len(changed), at + chance.choice((1, 1, 4, 64, 4096)))
        match chance.randrange(7):
            case 0:
                changed[at:end] = bytes(chance.randrange(256) for _ in range(end - at))
            case 1:
                del changed[at:end]
            case 2:
                changed[at:at] = changed[at:end] * chance.choice((1, 2, 100))
            case 3:
                changed[at:] = b""
            case 4:
                changed[at:at] = chance.choice(
                    (b"\0", b"\xff\xfe", b"\r", b"{", b"[" * 3_000, b'"')
                )
            case 5:
                changed[at:end] = bytes(byte ^ 1 << chance.randrange(8) for byte in changed[at:end])
            case _:
                digits = [index for index, byte in enumerate(changed) if 48 <= byte <= 57]
                if digits:
                    changed[chance.choice(digits)] = chance.choice(b"0123456789-.e")
    return bytes(changed)


def changed_values(values: Any, chance: random.Random) -> Any:
    values = copy.deepcopy(values)
    places: list[tuple[Any, Any]] = []
    waiting = [values]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict | list):
            keys = list(item) if isinstance(item, dict) else list(range(len(item)))
            places += [(item, key) for key in keys]
            waiting += [item[key] for key in keys]
    if not places:
        return chance.choice(HOSTILE)
    item, key = chance.choice(places)
    match chance.randrange(6):
        case 0:
            del item[key]
        case 1 if isinstance(item, dict):
            item[f"{key}x"] = item[key]
        case 2 if isinstance(item, list):
            item.insert(key, copy.deepcopy(item[key]))
        case 3:
            other, place = chance.choice(places)
            item[key] = copy.deepcopy(other[place])
        case 4 if isinstance(item[key], int | float) and not isinstance(item[key], bool):
            item[key] += chance.choice((-1, 1, 0.5, 1e9))
        case _:
            item[key] = copy.deepcopy(chance.choice(HOSTILE))
    return values


@contextmanager
def bounded() -> Iterator[None]:
    """Let the block neither hang nor take much memory."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise TimeoutError(f"hangs for {HANG} s")

    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (size + ROOM, before[1]))
    handler = signal.signal(signal.SIGALRM, stop)
    signal.alarm(HANG)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, handler)
        resource.setrlimit(resource.RLIMIT_AS, before)


@pytest.fixture(scope="module")
def inputs(good: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Good inputs, and a finished run of `TRAIN` in `run/`, with the state before its end."""
    folder = tmp_path_factory.mktemp("fuzz") / "inputs"
    shutil.copytree(good, folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        done = run_command(f"{TRAIN.replace('--out out', '--out run')} --test")
    assert done.code == 0, done.stderr
    return folder


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_every_variant_is_refused_in_a_line_or_changes_nothing(inputs: Path, file: File) -> None:
    path = inputs / file.name
    content = path.read_bytes()
    expected = file.read(inputs)
    wrong, slowest, refused = [], 0.0, 0
    try:
        for number, variant in enumerate(variants(file.name, content)):
            path.write_bytes(variant.content)
            began = time.monotonic()
            try:
                with bounded():
                    found = file.read(inputs)
            except (InputError, JobError) as error:
                refused += 1
                if any(not line.isprintable() for line in str(error).splitlines()):
                    wrong.append((number, "not printable", str(error)))
            except Exception as error:
                wrong.append((number, type(error).__name__, str(error)[:200]))
            else:
                if file.exact and not variant.sealed_again and found != expected:
                    wrong.append((number, "accepted", "another result"))
            slowest = max(slowest, time.monotonic() - began)
    finally:
        path.write_bytes(content)
    print(f"{file.name}: {refused} of {VARIANTS} refused, {slowest:.2f} s at most")
    assert not wrong, f"{len(wrong)} of {VARIANTS}: {wrong[:8]}"

"""Run a job as far as its first work, and print when it got where.

    python first_work.py WORK WORKER JOB ARGUMENT...

WORK is the function that begins the work, such as `package.module:function` or
`package.module:Class.method`; in its place the times are printed, as JSON, and the job ends. WORKER
is the module that a worker of Ray imports for that work, or - where there is none.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import sys
import time
from collections.abc import Callable, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, NoReturn

marks: dict[str, float] = {}
"""Times on this machine's monotonic clock, which its processes share; `ray_s` is a duration."""
Change = Callable[[ModuleType], None]


class Changed(MetaPathFinder, Loader):
    """Change modules as soon as they are imported, so that nothing is imported for it earlier."""

    def __init__(self, changes: dict[str, Change]) -> None:
        self._changes = changes
        self._loaders: dict[str, Loader] = {}

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Find one of the modules, and take the place of its loader."""
        if fullname not in self._changes or fullname in self._loaders:
            return None
        self._loaders[fullname] = self  # this finder is asked again
        spec = importlib.util.find_spec(fullname)
        assert spec is not None
        assert spec.loader is not None
        self._loaders[fullname] = spec.loader
        spec.loader = self
        return spec

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """Leave it to the module's own loader."""
        return self._loaders[spec.name].create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        """Import the module, then change it."""
        self._loaders[module.__name__].exec_module(module)
        self._changes[module.__name__](module)


def time_init(ray: ModuleType) -> None:
    """Take the time of `ray.init`."""
    module: Any = ray
    init = module.init

    def timed(*given: Any, **named: Any) -> object:
        started = time.monotonic()
        context: object = init(*given, **named)
        marks["ray_s"] = time.monotonic() - started
        return context

    module.init = timed


def stop_at(function: str, worker: str) -> Change:
    """Stop in the place of a function of a module.

    Args:
        function: Its name in the module, such as `function` or `Class.method`.
        worker: What a worker imports for it, or -.
    """

    def stop(*given: Any, **named: Any) -> NoReturn:
        marks["work"] = time.monotonic()
        if worker != "-":
            ray: Any = sys.modules["ray"]
            # A worker that can do the work has imported its module.
            ray.get(ray.remote(num_cpus=1)(load).remote(worker))
            marks["worker"] = time.monotonic()
        print(json.dumps(marks), flush=True)
        sys.exit(0)

    def change(module: ModuleType) -> None:
        *owners, name = function.split(".")
        owner: Any = module
        for part in owners:
            owner = getattr(owner, part)
        setattr(owner, name, stop)

    return change


def load(module: str) -> None:
    """Import a module in a worker of Ray."""
    importlib.import_module(module)


def main() -> None:
    work, worker, *words = sys.argv[1:]
    module, function = work.split(":")
    sys.meta_path.insert(0, Changed({module: stop_at(function, worker), "ray": time_init}))
    from hyena_ray.cli import main as run_command_line

    run_command_line(words)


if __name__ == "__main__":
    main()

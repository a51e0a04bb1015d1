"""Plans, manifests and readouts that are changed together with their seal."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hyena_ray.runs.plan import SEAL, sealed


def edit_sealed(path: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    """Edit the content of a file in place, and seal it as a program that wrote it so would."""
    values = json.loads(path.read_text())
    values.pop(SEAL)
    edit(values)
    path.write_text(json.dumps(sealed(values)))

"""Files and folders that this user may not read, or not write to."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def allowed(path: Path, mode: int) -> Iterator[None]:
    """Leave a path no more permissions than these; to root, who has all, by being another user.

    Args:
        path: File or folder of this user.
        mode: Permissions.
    """
    before = stat.S_IMODE(path.stat().st_mode)
    path.chmod(mode)
    user = os.geteuid()
    if user == 0:
        for folder in path.parents:
            if folder.stat().st_uid == 0 and not folder.stat().st_mode & stat.S_IXOTH:
                folder.chmod(0o755)  # pytest's own, of this test run
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)
        path.chmod(before)

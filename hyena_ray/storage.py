"""Where data and results are: a folder of a disk that every node sees, or S3.

`location` reads what a user gave. An `S3Path` has as much of `pathlib.Path` as this project needs,
so that code reads, lists and removes both alike; files.py writes both. Credentials, region
and endpoint come from the environment (`AWS_ACCESS_KEY_ID`, `AWS_REGION`, `AWS_ENDPOINT_URL`, ...)
or from the machine's role, never from a command line.
"""

from __future__ import annotations

import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from io import BufferedReader
from pathlib import Path, PurePath, PurePosixPath
from typing import IO, TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias
from urllib.parse import unquote, urlsplit

from hyena_ray.errors import InputError, require_type

# Imported where it is used: a command line is checked before Arrow and NumPy are loaded.
if TYPE_CHECKING:
    import pyarrow as pa
    from pyarrow import fs

S3 = "s3://"
_PIPES: dict[tuple[int, int], IO[bytes]] = {}
"""Copies of the pipes that were read, by device and inode."""
OTHER_VERSION = ("NoSuchKey", "PreconditionFailed", "ConditionalRequestConflict")
"""Answers to a request that an object does not meet the condition of."""


class Version(NamedTuple):
    """The content of an object on S3, and the name of its version."""

    version: str
    """Entity tag."""
    content: str


class S3Path(PurePosixPath):
    """An object on S3, or the folder of the objects whose names start alike; without the scheme.

    An object appears whole or not at all, and so do changes to one. Folders need not be made.

    Example:
        >>> str(S3Path("bucket/run") / "manifest.json")
        's3://bucket/run/manifest.json'
    """

    __slots__ = ()

    def __str__(self) -> str:
        return S3 + self._key

    def __fspath__(self) -> str:
        # os.PathLike is what opens files of a disk; there is none.
        raise TypeError(f"{self} is not on a disk")

    @property
    def _key(self) -> str:
        return "/".join(self.parts)

    @property
    def _store(self) -> fs.FileSystem:
        return _store(self.parts[0])

    def absolute(self) -> S3Path:
        return self

    def expanduser(self) -> S3Path:
        return self

    def resolve(self) -> S3Path:
        return self

    def _type(self) -> str:
        return str(self._store.get_file_info(self._key).type.name)

    def exists(self) -> bool:
        return self._type() != "NotFound"

    def is_file(self) -> bool:
        return self._type() == "File"

    def is_dir(self) -> bool:
        return self._type() == "Directory"

    def is_symlink(self) -> Literal[False]:
        return False

    def iterdir(self) -> Iterator[S3Path]:
        return self._list(recursive=False)

    def glob(self, pattern: str) -> Iterator[S3Path]:
        """Yield the objects below this folder that match a pattern of as many parts.

        Args:
            pattern: Pattern relative to this folder.
        """
        depth = len(self.parts) + len(PurePosixPath(pattern).parts)
        for path in self._list(recursive=True):
            if len(path.parts) == depth and path.match(pattern):
                yield path

    def files(self) -> list[S3Path]:
        """Return all objects below this folder."""
        return [path for path in self._list(recursive=True) if path.is_file()]

    def _list(self, *, recursive: bool) -> Iterator[S3Path]:
        from pyarrow import fs

        selector = fs.FileSelector(self._key, allow_not_found=True, recursive=recursive)
        for found in self._store.get_file_info(selector):
            yield S3Path(found.path)

    def mkdir(self, *, parents: bool = False, exist_ok: bool = False) -> None:
        """Do nothing: a folder exists once an object does.

        Args:
            parents: As of `Path.mkdir`.
            exist_ok: As of `Path.mkdir`.
        """

    def open(self, mode: Literal["rb"] = "rb") -> BufferedReader:
        """Open the object for reading.

        Args:
            mode: Only `rb`.
        """
        return BufferedReader(arrow_file(self))

    def read_bytes(self) -> bytes:
        with self.open() as stream:
            return stream.read()

    def read_text(self, encoding: str = "utf-8") -> str:
        return self.read_bytes().decode(encoding)

    def write_bytes(self, content: bytes) -> None:
        # Not in a with block, which would complete an upload that failed in between.
        stream = self._store.open_output_stream(self._key)
        stream.write(content)
        stream.close()

    def write_text(self, content: str, encoding: str = "utf-8") -> None:
        self.write_bytes(content.encode(encoding))

    def upload(self, file: Path) -> None:
        """Upload a file of this machine.

        Args:
            file: The file.
        """
        stream = self._store.open_output_stream(self._key)
        with file.open("rb") as content:
            shutil.copyfileobj(content, stream, 1 << 24)
        stream.close()

    def unlink(self, *, missing_ok: bool = False) -> None:
        try:
            self._store.delete_file(self._key)
        except FileNotFoundError:
            if not missing_ok:
                raise

    def read_version(self) -> Version | None:
        """Read a small object, or return None where there is none.

        Raises:
            OSError: The storage cannot be reached, or refuses.
        """
        found = self._request("get_object")
        return None if found is None else Version(found["ETag"], found["Body"].read().decode())

    def write_version(self, content: str, version: str | None) -> str | None:
        """Write a small object only if it is as it was read.

        Args:
            content: New content.
            version: Version that it must have; None if there must be none.

        Returns:
            The new version, or None if the object is another one, or is there already.

        Raises:
            OSError: The storage cannot be reached, or refuses.
        """
        condition = {"IfNoneMatch": "*"} if version is None else {"IfMatch": version}
        written = self._request("put_object", Body=content.encode(), **condition)
        return None if written is None else str(written["ETag"])

    def remove_version(self, version: str) -> None:
        """Remove an object only if it has a version.

        Args:
            version: The version.

        Raises:
            OSError: The storage cannot be reached, or refuses.
        """
        self._request("delete_object", IfMatch=version)

    def _request(self, name: str, **values: Any) -> dict[str, Any] | None:
        """Send a request; None stands for an object that is not there, or not as required."""
        from botocore.exceptions import BotoCoreError, ClientError

        bucket, *key = self.parts
        send: Callable[..., dict[str, Any]] = getattr(_client(bucket), name)
        try:
            return send(Bucket=bucket, Key="/".join(key), **values)
        except ClientError as error:
            if error.response["Error"]["Code"] in OTHER_VERSION:
                return None
            raise OSError(f"{self}: {error}") from None
        except BotoCoreError as error:
            raise OSError(f"{self}: {error}") from None


AnyPath: TypeAlias = Path | S3Path


@cache
def _store(bucket: str) -> fs.FileSystem:
    from pyarrow import fs

    # Unlike S3FileSystem(), this reads AWS_ENDPOINT_URL.
    return fs.FileSystem.from_uri(S3 + bucket)[0]


@cache
def _client(bucket: str) -> Any:
    """Return a client for conditional writes, which Arrow has not."""
    import boto3

    # Unlike Arrow's, it does not read AWS_REGION.
    return boto3.client("s3", region_name=_store(bucket).region)


def location(text: str | PurePath) -> AnyPath:
    """Read a path, or a URI of scheme `file` or `s3`.

    Args:
        text: What a user gave, where `~` is the home folder; `-` is the standard input.

    Raises:
        InputError: It is no path, the scheme is another one, or the bucket is missing.

    Example:
        >>> location("s3://bucket/run").name
        'run'
    """
    if isinstance(text, PurePath):
        return text if isinstance(text, S3Path) else _at_home(Path(text))
    remedy = "give a path, file:///folder or s3://bucket/folder"
    require_type(text, str, "location", "is no path", remedy)
    if not text:
        raise InputError("location", "''", "is no path", remedy)
    scheme, separator, rest = text.partition("://")
    if not separator:
        return Path("/dev/stdin") if text == "-" else _at_home(Path(text))
    parts = urlsplit(text)
    if scheme == "file" and parts.netloc in ("", "localhost"):
        return Path(unquote(parts.path))
    if scheme != "s3" or parts.query or parts.fragment:
        raise InputError("location", text, "not a place that can be read and written", remedy)
    path = S3Path(rest)
    if not parts.netloc or ".." in path.parts or rest.startswith("/"):
        raise InputError("location", text, "names no bucket, or leaves it", remedy)
    return path


def _at_home(path: Path) -> Path:
    try:
        return path.expanduser()
    except RuntimeError:
        remedy = "give the whole path"
        raise InputError("location", path, "names no user of this machine", remedy) from None


def arrow_file(path: AnyPath) -> pa.NativeFile:
    """Open a file for Arrow's own readers, which are slow on any other.

    Args:
        path: The file.

    Raises:
        OSError: The file cannot be opened.
    """
    if isinstance(path, S3Path):
        return path._store.open_input_file(path._key)
    import pyarrow as pa

    return pa.OSFile(str(path))


def recorded_name(path: AnyPath) -> str:
    """Return the name of an input for a record of what was read, without its folder.

    The pipe of `<(...)` is called pipe: its number, that of a descriptor, is another one each time,
    and equal inputs must have equal records.

    Args:
        path: The file or pipe.

    Example:
        >>> recorded_name(Path("folder/zdna.bed")), recorded_name(Path("/dev/fd/63"))
        ('zdna.bed', 'pipe')
    """
    return "pipe" if str(path).startswith(("/dev/fd/", "/proc/")) else path.name


def reopenable(path: AnyPath) -> AnyPath:
    """Return a file that can be opened again and again, from its first byte on.

    A pipe can be read once, and inputs are opened to see what they are, to read them, and some to
    read them again. What a pipe holds is copied to a temporary file, which the process removes when
    it ends.

    Args:
        path: The file, a pipe such as `/dev/stdin` or that of `<(...)`, or a missing file.

    Raises:
        OSError: The pipe cannot be read.
    """
    if not isinstance(path, Path):
        return path
    try:
        status = path.stat()
    except OSError:
        return path  # whoever opens it says why it cannot be
    if stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode):
        return path
    key = status.st_dev, status.st_ino
    if key not in _PIPES:
        with path.open("rb") as pipe:
            copy = tempfile.NamedTemporaryFile(prefix="hyena_ray-")  # noqa: SIM115 (kept open)
            shutil.copyfileobj(pipe, copy, 1 << 20)
            copy.flush()
        _PIPES[key] = copy
    return Path(_PIPES[key].name)


@contextmanager
def local_copy(path: AnyPath) -> Iterator[Path]:
    """Yield a file or folder on this machine's disk, for libraries that know no other.

    What is on S3 is copied, and the copy is removed after the block; for a pipe see `reopenable`.

    Args:
        path: The file or folder.

    Raises:
        FileNotFoundError: There is none.
    """
    path = reopenable(path)
    if isinstance(path, Path):
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="hyena_ray-") as folder:
        copy = Path(folder) / path.name
        for item in path.files() or [path]:
            target = copy / item.relative_to(path)
            target.parent.mkdir(parents=True, exist_ok=True)
            with item.open() as content, target.open("wb") as stream:
                shutil.copyfileobj(content, stream, 1 << 24)
        yield copy


def move_folder(path: AnyPath, target: AnyPath, *, besides: str) -> None:
    """Move a folder on the storage that it is on: at once on a disk, object by object on S3.

    Args:
        path: The folder.
        target: Its new path, where nothing is yet.
        besides: Name of an object that stays on S3: the lease of the job that moves the others.
    """
    if isinstance(path, Path):
        path.rename(target)
        return
    moved = [item for item in path.files() if item != path / besides]
    for item in moved:
        copy = target / item.relative_to(path)
        path._store.copy_file(item._key, S3Path(copy)._key)
    for item in moved:
        item.unlink(missing_ok=True)


def remove_folder(path: AnyPath) -> None:
    """Remove a folder with everything in it, where there is one.

    Args:
        path: The folder.
    """
    if isinstance(path, Path):
        shutil.rmtree(path, ignore_errors=True)
        return
    for item in path.files():
        item.unlink(missing_ok=True)
    if path.is_dir():  # an empty folder that the bucket itself has made
        path._store.delete_dir(path._key)

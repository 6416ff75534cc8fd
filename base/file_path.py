"""Files that commands read and write: local ones, and objects at a URL.

`file_path` turns what a user gave into a ``Path`` or an ``ObjectPath``. Both have the part of
pathlib's interface that `FilePath` names, so what reads a file knows no difference.
"""

from __future__ import annotations

import io
import tempfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, Literal, Protocol

from base.errors import (
    ConfigurationError,
    DependencyUnavailableError,
    StoreRefusedError,
)
from base.object_store import BUCKETS, Objects, is_url
from base.output_file import move_into_place, require_file_or_nothing

_BUFFER_BYTES = 4 * 1024 * 1024


class FilePath(Protocol):
    """The part of ``pathlib.Path`` that is used of files that may be at a URL."""

    @property
    def name(self) -> str: ...

    @property
    def suffix(self) -> str: ...

    def exists(self) -> bool: ...

    def is_dir(self) -> bool: ...

    def is_file(self) -> bool: ...

    def open(self, mode: Literal["rb"]) -> io.BufferedReader: ...


@dataclass(frozen=True)
class ObjectPath:
    """A file that is an object at a URL.

    Attributes:
        url: The URL.
    """

    url: str

    def __str__(self) -> str:
        return self.url

    @property
    def name(self) -> str:
        return PurePosixPath(self.url).name

    @property
    def suffix(self) -> str:
        return PurePosixPath(self.url).suffix

    def with_name(self, name: str) -> ObjectPath:
        return ObjectPath(f"{self.url.rpartition('/')[0]}/{name}")

    def exists(self) -> bool:
        return self.is_file() or self.is_dir()

    def is_dir(self) -> bool:
        """Return True if objects lie below the URL; a web server does not list them."""
        return self._scheme in BUCKETS and bool(Objects(self.url).sizes("", 1))

    def is_file(self) -> bool:
        try:
            self._objects.state(self.name)
        except FileNotFoundError:
            return False
        return True

    def open(self, mode: Literal["rb"]) -> io.BufferedReader:
        """Open to read, with seeks; parts are transferred as they are read."""
        if mode != "rb":
            raise ValueError(f"{self.url}: {mode}")
        reader = _Reader(self._objects, self.name)
        return io.BufferedReader(reader, _BUFFER_BYTES)

    def write(self, complete: Path) -> None:
        """Upload a file; the object appears with its last byte."""
        self._objects.upload(self.name, complete)

    def require_bucket(self, setting: str) -> None:
        """Raise ConfigurationError, naming the option, for a URL that is read only."""
        if self._scheme not in BUCKETS:
            raise ConfigurationError(
                f"{setting}: {self.url} is read only; write to a local file or "
                f"{', '.join(f'{scheme}://' for scheme in BUCKETS)}"
            )

    @property
    def _scheme(self) -> str:
        return self.url.partition(":")[0].lower()

    @cached_property
    def _objects(self) -> Objects:
        folder, slash, name = self.url.rpartition("/")
        if not name or folder.endswith(("/", ":")) or not slash:
            raise ConfigurationError(f"{self.url}: names no file; add its key after the bucket")
        return Objects(folder)


class _Reader(io.RawIOBase):
    """Reads an object in parts, all of the same version of it."""

    def __init__(self, objects: Objects, key: str) -> None:
        self._objects = objects
        self._key = key
        self._state = objects.state(key)
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._state.size}[whence]
        self._at = max(0, start + offset)
        return self._at

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        end = min(self._at + len(view), self._state.size)
        if end <= self._at:
            return 0
        part = self._objects.part(self._key, self._at, end, self._state)
        view[: len(part)] = part
        self._at += len(part)
        return len(part)


def file_path(text: str) -> Path | ObjectPath:
    """Local path or URL that a user gave.

    Raises:
        ConfigurationError: The URL's scheme is not known.
    """
    if not is_url(text):
        return Path(text)
    path = ObjectPath(text.rstrip("/"))
    Objects(path.url)
    return path


def parquet_source(path: FilePath) -> Any:
    """Source for pyarrow's Parquet reader: a local path itself, which it reads faster."""
    return path if isinstance(path, Path) else path.open("rb")


def require_writable(path: FilePath, setting: str) -> None:
    """Raise ConfigurationError if a file cannot be written at ``path``, before much work is done.

    Args:
        path: Path of the output file.
        setting: Name of the option, for the message.
    """
    if isinstance(path, ObjectPath):
        path.require_bucket(setting)
    else:
        require_file_or_nothing(Path(str(path)), setting)


def make_folder_for(path: FilePath) -> Path:
    """Make a temporary folder in which a file is written before `put_into_place` is called.

    It is beside a local file, in the same file system; for an object it is in the system's folder
    of temporary files.
    """
    beside = None if isinstance(path, ObjectPath) else Path(str(path)).parent
    return Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=beside))


def put_into_place(complete: Path, path: FilePath) -> None:
    """Move or upload a complete file to ``path``, replacing an existing one.

    Raises:
        StoreRefusedError: The provider refuses the upload; the message names a copy that is kept.
        DependencyUnavailableError: The provider does not answer; likewise.
    """
    if not isinstance(path, ObjectPath):
        move_into_place(complete, Path(str(path)))
        return
    try:
        path.write(complete)
    except (StoreRefusedError, DependencyUnavailableError) as error:
        # It may have taken hours to make.
        kept = Path(tempfile.mkdtemp(prefix="fraud-worker.")) / path.name
        complete.replace(kept)
        raise type(error)(f"{error}. The file is complete: upload it from {kept}") from error

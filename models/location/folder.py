"""Location in a folder: bundles, and the name of the champion, which is the one that serves.

`CHAMPION` has one line, the name of a bundle in the same directory. `PREVIOUS` has the names of
former champions, the latest last. Both files are replaced by rename, so a reader sees either the
old or the new content.
"""

from __future__ import annotations

import itertools
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from pathlib import Path

from base.errors import BundleRefusedError
from base.output_file import sync_folder
from models.bundle.load import read_manifest
from models.bundle.manifest import Manifest
from models.bundle.sums import MAX_FILES, MAX_SUMS_BYTES, SUMS_FILE, read_plain
from models.location.champions import (
    CHAMPION_FILE,
    MAX_BYTES,
    Champions,
    format_names,
    is_name,
    parse_names,
    require_name,
)

PREVIOUS_FILE = "PREVIOUS"
LOCK_FILE = ".promote.lock"

_LOCK_S = 10.0


class FolderLocation:
    """A location of bundles, in a folder; see `models.location.Location`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __str__(self) -> str:
        return str(self.folder)

    def stamp(self) -> Hashable:
        name = self.champions().champion
        if name is None:
            return None
        with os.scandir(self.bundle(name)) as entries:
            # The files are part of it: a champion that is still being copied is checked again
            # when it is complete. One file more than a bundle may hold, so that no folder takes
            # long to check.
            looked_at = itertools.islice(entries, MAX_FILES + 1)
            files = sorted((entry.name, *_stamp(entry.stat())) for entry in looked_at)
        return (name, *files)

    def champions(self) -> Champions:
        names = self._read(CHAMPION_FILE)
        if names is None:
            return Champions(None, self._read(PREVIOUS_FILE) or ())
        if len(names) != 1:
            raise BundleRefusedError(
                f"{self.folder / CHAMPION_FILE}: holds {len(names)} lines; it must hold the name "
                "of one bundle"
            )
        return Champions(names[0], self._read(PREVIOUS_FILE) or ())

    def where(self, name: str) -> str:
        return str(self.folder / name)

    def bundle(self, name: str) -> Path:
        path = self.folder / require_name(name, str(self.folder))
        try:
            mode = path.lstat().st_mode
        except FileNotFoundError:
            known = ", ".join(self.names()) or "none"
            raise BundleRefusedError(
                f"{self.folder}: there is no bundle {name}; there are: {known}"
            ) from None
        except OSError as error:
            raise BundleRefusedError(f"{path}: cannot be read ({error.strerror})") from error
        if not stat.S_ISDIR(mode) or not (path / SUMS_FILE).is_file():
            kind = "a link" if stat.S_ISLNK(mode) else f"not a folder with a {SUMS_FILE}"
            raise BundleRefusedError(f"{path}: is {kind}; copy a whole bundle there")
        return path

    def names(self) -> list[str]:
        try:
            entries = list(os.scandir(self.folder))
        except OSError as error:
            raise BundleRefusedError(
                f"{self.folder}: cannot be read as a location of bundles ({error.strerror})"
            ) from error
        return sorted(
            entry.name
            for entry in entries
            if entry.is_dir(follow_symlinks=False)
            and is_name(entry.name)
            and (self.folder / entry.name / SUMS_FILE).exists()
        )

    def manifest(self, name: str) -> tuple[Manifest, bytes]:
        path = self.bundle(name)
        return read_manifest(path), read_plain(path / SUMS_FILE, MAX_SUMS_BYTES)

    def add(self, bundle: Path, name: str) -> str:
        target = self.folder / require_name(name, str(self.folder))
        if target.exists():
            raise BundleRefusedError(
                f"{target}: exists already; bundles never change: give another name"
            )
        temporary = Path(tempfile.mkdtemp(prefix=f".{name}.", dir=self.folder))
        try:
            shutil.copytree(bundle, temporary, dirs_exist_ok=True)
            temporary.chmod(0o755)
            temporary.rename(target)
            sync_folder(self.folder)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        return name

    def promote(self, name: str) -> str | None:
        self.bundle(name)
        with self._locked():
            now = self.champions()
            then = now.promoted(name)
            if then is not now:
                # A crash between the two writes leaves the champion named in both files. Rollback
                # ignores such an entry.
                if now.champion is not None:
                    self._write(PREVIOUS_FILE, then.former)
                self._write(CHAMPION_FILE, (name,))
            return now.champion

    def rollback(self, to: str | None = None) -> tuple[str, str]:
        with self._locked():
            now = self.champions()
            then = now.rolled_back(str(self), to)
            name = str(then.champion)
            self.bundle(name)
            self._write(CHAMPION_FILE, (name,))
            self._write(PREVIOUS_FILE, then.former)
            return name, str(now.champion)

    def _read(self, file: str) -> tuple[str, ...] | None:
        """Names in a file of the location, one on each line; None if there is no such file."""
        path = self.folder / file
        flags = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
        try:
            with os.fdopen(os.open(path, os.O_RDONLY | flags), "rb") as opened:
                if not stat.S_ISREG(os.fstat(opened.fileno()).st_mode):
                    raise BundleRefusedError(f"{path}: is not a plain file")
                content = opened.read(MAX_BYTES)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise BundleRefusedError(f"{path}: cannot be read ({error.strerror})") from error
        return parse_names(content, str(path))

    def _write(self, file: str, names: tuple[str, ...]) -> None:
        try:
            handle, temporary = tempfile.mkstemp(prefix=f".{file}.", dir=self.folder)
            try:
                with os.fdopen(handle, "wb") as opened:
                    opened.write(format_names(names))
                    opened.flush()
                    os.fsync(opened.fileno())
                # With mkstemp's mode 0600, a worker of another user could not read the file.
                Path(temporary).chmod(0o644)
                Path(temporary).replace(self.folder / file)
            except BaseException:
                Path(temporary).unlink(missing_ok=True)
                raise
            sync_folder(self.folder)
        except OSError as error:
            raise BundleRefusedError(
                f"{self.folder / file}: cannot be written ({error.strerror})"
            ) from error

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the lock for changes of the location; readers need no lock."""
        import fcntl  # noqa: PLC0415  not on Windows, where models are served but not promoted

        path = self.folder / LOCK_FILE
        # O_NOFOLLOW, because a link could name any other file. O_NONBLOCK, because the opening of a
        # FIFO would wait for a reader.
        flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
        try:
            opened = os.fdopen(os.open(path, flags, 0o666), "wb")
        except OSError as error:
            raise BundleRefusedError(f"{path}: cannot be written ({error.strerror})") from error
        deadline = time.monotonic() + _LOCK_S
        with opened:
            while True:
                try:
                    fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        raise BundleRefusedError(
                            f"{path}: another process has held the lock for {_LOCK_S:g} s; see "
                            "which one, and try again"
                        ) from None
                    time.sleep(0.02)
            yield


def _stamp(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_ino, status.st_size, status.st_mtime_ns

"""Copies of remote bundles on the local disk, by the SHA-256 of their SHA256SUMS.

A copy appears whole or not at all, and is not replaced while it is whole: another process may be
loading it. The bundles that were used last stay, older ones are removed. For each location a file
names the champion that was verified last, which stays, too: a worker that starts while the location
does not answer serves it.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NamedTuple

from base.errors import BundleRefusedError, ConfigurationError
from base.user_folders import cache_dir, locked
from models.bundle.sums import SUMS_FILE, read_verified

KEPT: Final = 4
"""Number of bundles that stay, besides champions that a start may fall back on."""
_STALE_S: Final = 3600.0
_FOLDER: Final = "bundles"


class LastChampion(NamedTuple):
    """Champion of a location that was verified last, from its copy.

    Attributes:
        name: Its name in the location.
        path: Folder of the copy.
        verified_at: Time of the verification, as ISO 8601 text.
    """

    name: str
    path: Path
    verified_at: str


class BundleCache:
    """Copies of bundles in a folder, which several processes may share."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @classmethod
    def open(cls, folder: Path | None) -> BundleCache:
        """Open a cache, and create its folder, which belongs to this user alone.

        Args:
            folder: Folder to create it in, which others may write to, as an emptyDir; None for the
                user's cache folder, or that of temporary files where it is read only, as in the
                image.

        Raises:
            ConfigurationError: Nothing can be written there, or another user has made the folder.
        """
        own = f"fraud-worker-{_FOLDER}-{os.geteuid()}"
        if folder is not None:
            return cls(_own(folder / own))
        try:
            return cls(_own(cache_dir() / _FOLDER))
        except (OSError, RuntimeError, ConfigurationError):  # RuntimeError: the user has no home
            return cls(_own(Path(tempfile.gettempdir()) / own))

    def keep(self, sums: bytes, where: str, fill: Callable[[Path], None]) -> Path:
        """Return the copy of a bundle; make it if it is not there.

        Args:
            sums: Content of the bundle's SHA256SUMS.
            where: Path or URL of the bundle, for messages.
            fill: Writes the files of the bundle into a folder.

        Returns:
            The folder of the copy, whose sums were checked.

        Raises:
            BundleRefusedError: The files are not those of the sums.
            ConfigurationError: The copy cannot be written.
        """
        kept = self._folder / hashlib.sha256(sums).hexdigest()
        try:
            with self._locked():
                whole = _use(kept)
            if not whole:
                self._copy(kept, where, fill)
            with self._locked():
                self._remove_old(kept)
        except OSError as error:
            raise _unwritable(self._folder, error) from error
        return kept

    def remember(self, location: str, name: str, path: Path) -> None:
        """Note that the champion of a location, with its copy in a folder, was verified."""
        noted = {
            "location": location,
            "name": name,
            "bundle": path.name,
            "verified_at": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        file = self._note(location)
        temporary = file.with_suffix(".new")
        try:
            with self._locked():
                temporary.write_text(json.dumps(noted) + "\n", encoding="utf-8")
                temporary.replace(file)
        except OSError as error:
            raise _unwritable(self._folder, error) from error

    def last(self, location: str) -> LastChampion | None:
        """Champion of a location that was verified last; None without a whole copy of it."""
        last = self._noted(self._note(location))
        return last if last is not None and _is_whole(last.path) else None

    def _note(self, location: str) -> Path:
        return self._folder / f"champion-{hashlib.sha256(location.encode()).hexdigest()[:16]}.json"

    def _noted(self, file: Path) -> LastChampion | None:
        """Champion that `remember` has noted in a file; None if it cannot be read."""
        try:
            noted = json.loads(file.read_text(encoding="utf-8"))
            path = self._folder / str(noted["bundle"])
            return LastChampion(str(noted["name"]), path, str(noted["verified_at"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def _locked(self) -> AbstractContextManager[None]:
        return locked(self._folder / ".lock")

    def _copy(self, kept: Path, where: str, fill: Callable[[Path], None]) -> None:
        temporary = Path(tempfile.mkdtemp(prefix=".copy-", dir=self._folder))
        try:
            fill(temporary)
            _, digest = read_verified(temporary)
            if digest != kept.name:
                raise BundleRefusedError(
                    f"{temporary}: was replaced by another bundle while it was copied; bundles "
                    "never change: put each bundle under a new name"
                )
            with self._locked():
                # Another process may have made the same copy meanwhile, and be loading it.
                if not _use(kept):
                    shutil.rmtree(kept, ignore_errors=True)
                    temporary.rename(kept)
        except BundleRefusedError as error:
            raise BundleRefusedError(str(error).replace(str(temporary), where)) from error
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    def _remove_old(self, used: Path) -> None:
        """Remove the bundles that were not used for the longest time, and copies left half made."""
        noted = map(self._noted, self._folder.glob("champion-*.json"))
        needed = {used, *(last.path for last in noted if last is not None)}
        bundles = [path for path in self._folder.iterdir() if path.is_dir()]
        copies = [path for path in bundles if not path.name.startswith(".")]
        copies.sort(key=_used_at, reverse=True)
        stale = time.time() - _STALE_S
        left = [p for p in bundles if p.name.startswith(".") and _used_at(p) < stale]
        for path in (*copies[KEPT:], *left):
            if path not in needed:
                shutil.rmtree(path, ignore_errors=True)


def _own(folder: Path) -> Path:
    """Create a folder that nobody else can write to. Raises ConfigurationError.

    Others may have made it, or a link in its place, where all may write (/tmp, an emptyDir).
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = folder.lstat()
        handle, probe = tempfile.mkstemp(prefix=".copy-", dir=folder)
        os.close(handle)
        Path(probe).unlink()
    except OSError as error:
        raise _unwritable(folder, error) from error
    is_own = stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid()
    if not is_own or status.st_mode & 0o022:
        raise ConfigurationError(
            f"model.cache: {folder} belongs to another user, is a link, or others may write to it; "
            "remove it, or name another folder"
        )
    return folder


def _unwritable(folder: Path, error: OSError) -> ConfigurationError:
    return ConfigurationError(
        f"model.cache: {folder} cannot be written ({error.strerror or error}); name a writable "
        "folder with room for some bundles, such as an emptyDir"
    )


def _is_whole(copy: Path) -> bool:
    """Return True if the folder holds the bundle whose SHA256SUMS has its name as digest."""
    if not (copy / SUMS_FILE).is_file():
        return False
    try:
        return read_verified(copy)[1] == copy.name
    except BundleRefusedError:
        return False


def _use(copy: Path) -> bool:
    """Note that a copy is used now; return False if it is not whole."""
    if not _is_whole(copy):
        return False
    os.utime(copy)
    return True


def _used_at(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:  # another process has removed it
        return 0.0

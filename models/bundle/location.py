"""A location: a directory of bundles, and the name of the one that serves.

`CHAMPION` is one line, the name of a bundle beside it. `PREVIOUS` holds the names of champions
before, the latest last. Both are replaced by rename, so a reader sees the old one or the new.
"""

from __future__ import annotations

import os
import re
import stat
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from shlex import quote

from base.errors import BundleRefusedError
from models.bundle.sums import SUMS_FILE
from models.bundle.write import sync_folder

CHAMPION_FILE = "CHAMPION"
PREVIOUS_FILE = "PREVIOUS"
LOCK_FILE = ".promote.lock"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,199}")
_REMEMBERED = 100
_MAX_BYTES = 64 * 1024
_LOCK_S = 10.0


class Location:
    """The location in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def _quoted(self) -> str:
        """The folder as a shell takes it, for commands in messages."""
        return quote(str(self.folder))

    def champion(self) -> Path:
        """Folder of the bundle that serves.

        Raises:
            BundleRefusedError: where no champion is named, or the named bundle does not exist.
        """
        name = self.champion_name()
        if name is None:
            raise BundleRefusedError(
                f"{self.folder}: has no {CHAMPION_FILE}; name one with "
                f"`fraud-worker model promote {self._quoted} NAME`"
            )
        return self.bundle(name)

    def champion_name(self) -> str | None:
        """Name in the file `CHAMPION`; None where there is no such file."""
        names = self._read(CHAMPION_FILE)
        if names is None:
            return None
        if len(names) != 1:
            raise BundleRefusedError(
                f"{self.folder / CHAMPION_FILE}: holds {len(names)} lines; it has to hold the "
                "name of one bundle"
            )
        return names[0]

    def previous(self) -> tuple[str, ...]:
        """Names of former champions, the latest last."""
        return self._read(PREVIOUS_FILE) or ()

    def bundle(self, name: str) -> Path:
        """The folder of the bundle `name`. Raises BundleRefusedError where it cannot be one."""
        path = self.folder / _plain(name, str(self.folder))
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
            what = "a link" if stat.S_ISLNK(mode) else f"no folder with a {SUMS_FILE}"
            raise BundleRefusedError(f"{path}: is {what}; copy a whole bundle there")
        return path

    def names(self) -> list[str]:
        """The folders in the location that could be bundles. Raises BundleRefusedError."""
        try:
            entries = list(os.scandir(self.folder))
        except OSError as error:
            raise BundleRefusedError(
                f"{self.folder}: cannot be read as a location of bundles ({error.strerror})"
            ) from error
        return sorted(
            entry.name
            for entry in entries
            if entry.is_dir(follow_symlinks=False) and _NAME.fullmatch(entry.name)
        )

    def promote(self, name: str) -> str | None:
        """Make the bundle `name` the champion; returns the name of the champion before.

        The bundle must exist, but is not verified. Raises BundleRefusedError.
        """
        self.bundle(name)
        with self._locked():
            before = self.champion_name()
            if before != name:
                # A crash in between leaves the champion named in both files, which rollback knows.
                if before is not None:
                    self._write(PREVIOUS_FILE, (*self.previous(), before)[-_REMEMBERED:])
                self._write(CHAMPION_FILE, (name,))
            return before

    def before(self) -> str:
        """Name of the champion that `rollback` goes back to.

        Raises BundleRefusedError where no former champion is recorded, or its bundle is gone.
        """
        return self._before()[-1]

    def rollback(self, to: str | None = None) -> tuple[str, str]:
        """Make the former champion the champion again; returns its name and the name it replaces.

        Args:
            to: The name that `before` returned; None for any.

        Raises:
            BundleRefusedError: as `before` does, and where the former champion is another than `to`
                by now.
        """
        with self._locked():
            *kept, name = self._before()
            if to not in (None, name):
                raise BundleRefusedError(
                    f"{self.folder}: another bundle was promoted or rolled back meanwhile, and the "
                    f"champion before is {name}, not {to}; look at it with "
                    f"`fraud-worker model show {self._quoted}`"
                )
            now = str(self.champion_name())
            self._write(CHAMPION_FILE, (name,))
            self._write(PREVIOUS_FILE, kept)
            return name, now

    def _before(self) -> list[str]:
        """Champions before the present one, the last of them a bundle that is there."""
        now = self.champion_name()
        kept = list(self.previous())
        while kept and kept[-1] == now:
            kept.pop()
        if now is None or not kept:
            raise BundleRefusedError(
                f"{self.folder}: remembers no champion before {now or 'the first'}; name one "
                f"with `fraud-worker model promote {self._quoted} NAME`"
            )
        self.bundle(kept[-1])
        return kept

    def _read(self, file: str) -> tuple[str, ...] | None:
        """The names in a file of the location, a line each; None where it is not there."""
        path = self.folder / file
        flags = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
        try:
            with os.fdopen(os.open(path, os.O_RDONLY | flags), "rb") as opened:
                if not stat.S_ISREG(os.fstat(opened.fileno()).st_mode):
                    raise BundleRefusedError(f"{path}: is not a plain file")
                content = opened.read(_MAX_BYTES)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise BundleRefusedError(f"{path}: cannot be read ({error.strerror})") from error
        text = content.decode("ascii", errors="replace")
        if text and not text.endswith("\n"):
            raise BundleRefusedError(f"{path}: its last line is cut off; promote a bundle again")
        return tuple(_plain(line, str(path)) for line in text.splitlines())

    def _write(self, file: str, names: Sequence[str]) -> None:
        try:
            handle, beside = tempfile.mkstemp(prefix=f".{file}.", dir=self.folder)
            try:
                with os.fdopen(handle, "w", encoding="ascii") as opened:
                    opened.write("".join(f"{name}\n" for name in names))
                    opened.flush()
                    os.fsync(opened.fileno())
                # mkstemp's 0600 would lock out a worker that runs as another user
                Path(beside).chmod(0o644)
                Path(beside).replace(self.folder / file)
            except BaseException:
                Path(beside).unlink(missing_ok=True)
                raise
            sync_folder(self.folder)
        except OSError as error:
            raise BundleRefusedError(
                f"{self.folder / file}: cannot be written ({error.strerror})"
            ) from error

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the lock for changes of the location; readers need no lock."""
        import fcntl  # noqa: PLC0415  not on Windows, where one can serve but not promote

        path = self.folder / LOCK_FILE
        # a link would have another file opened, and a FIFO would have this wait for a reader
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
                            f"{path}: another process has held it for {_LOCK_S:g} s; see what it "
                            "does, and try again"
                        ) from None
                    time.sleep(0.02)
            yield


def resolve(bundle: Path | None, location: Path | None) -> Path:
    """The folder of the bundle that settings name: itself, or the champion of a location.

    Raises BundleRefusedError.
    """
    if location is not None:
        return Location(location).champion()
    if bundle is None:
        raise BundleRefusedError("no model is named; give model.bundle or model.location")
    return bundle


def _plain(name: str, where: str) -> str:
    if _NAME.fullmatch(name) is None:
        raise BundleRefusedError(
            f"{where}: {name[:80]!r} is no name of a bundle; names are letters, digits and . _ + - "
            "without a path, as the folder in the location is called"
        )
    return name

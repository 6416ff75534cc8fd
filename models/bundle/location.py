"""Location: a directory of bundles, with the name of the champion, which is the one that serves.

`CHAMPION` has one line, the name of a bundle in the same directory. `PREVIOUS` has the names of
former champions, the latest last. Both files are replaced by rename, so a reader sees either the
old or the new content.
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
from base.output_file import sync_folder
from models.bundle.sums import SUMS_FILE

CHAMPION_FILE = "CHAMPION"
PREVIOUS_FILE = "PREVIOUS"
LOCK_FILE = ".promote.lock"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,199}")
_REMEMBERED = 100
_MAX_BYTES = 64 * 1024
_LOCK_S = 10.0


class Location:
    """A location of bundles, in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def _quoted(self) -> str:
        """The folder, quoted for a shell, for commands in messages."""
        return quote(str(self.folder))

    def champion(self) -> Path:
        """Folder of the champion.

        Raises:
            BundleRefusedError: if no champion is named, or the named bundle does not exist.
        """
        name = self.champion_name()
        if name is None:
            raise BundleRefusedError(
                f"{self.folder}: has no {CHAMPION_FILE}; name one with "
                f"`fraud-worker model promote {self._quoted} NAME`"
            )
        return self.bundle(name)

    def champion_name(self) -> str | None:
        """Name in the file `CHAMPION`; None if there is no such file."""
        names = self._read(CHAMPION_FILE)
        if names is None:
            return None
        if len(names) != 1:
            raise BundleRefusedError(
                f"{self.folder / CHAMPION_FILE}: holds {len(names)} lines; it must hold the name "
                "of one bundle"
            )
        return names[0]

    def previous(self) -> tuple[str, ...]:
        """Names of former champions, the latest last."""
        return self._read(PREVIOUS_FILE) or ()

    def bundle(self, name: str) -> Path:
        """Folder of the bundle `name`. Raises BundleRefusedError if it cannot be a bundle."""
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
            kind = "a link" if stat.S_ISLNK(mode) else f"not a folder with a {SUMS_FILE}"
            raise BundleRefusedError(f"{path}: is {kind}; copy a whole bundle there")
        return path

    def names(self) -> list[str]:
        """Names of the folders that may be bundles. Raises BundleRefusedError."""
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
        """Make the bundle `name` the champion; the bundle must exist, but is not verified.

        Returns:
            Name of the former champion; None if there was none.

        Raises:
            BundleRefusedError: if there is no such bundle, or the files cannot be written.
        """
        self.bundle(name)
        with self._locked():
            former = self.champion_name()
            if former != name:
                # A crash between the two writes leaves the champion named in both files. Rollback
                # ignores such an entry.
                if former is not None:
                    self._write(PREVIOUS_FILE, (*self.previous(), former)[-_REMEMBERED:])
                self._write(CHAMPION_FILE, (name,))
            return former

    def before(self) -> str:
        """Name of the former champion that `rollback` restores.

        Raises:
            BundleRefusedError: if no former champion is recorded, or its bundle is gone.
        """
        return self._former()[-1]

    def rollback(self, to: str | None = None) -> tuple[str, str]:
        """Make the former champion the champion again.

        Args:
            to: The expected name, as `before` returned it; None for any.

        Returns:
            Names of the champion, and of the one that it replaces.

        Raises:
            BundleRefusedError: as for `before`, and if the former champion is not `to`.
        """
        with self._locked():
            *remaining, name = self._former()
            if to not in (None, name):
                raise BundleRefusedError(
                    f"{self.folder}: another bundle was promoted or rolled back meanwhile, and the "
                    f"former champion is {name}, not {to}; see "
                    f"`fraud-worker model show {self._quoted}`"
                )
            current = str(self.champion_name())
            self._write(CHAMPION_FILE, (name,))
            self._write(PREVIOUS_FILE, remaining)
            return name, current

    def _former(self) -> list[str]:
        """Names of former champions, the latest last; the bundle of the latest exists."""
        current = self.champion_name()
        former = list(self.previous())
        while former and former[-1] == current:
            former.pop()
        if current is None or not former:
            raise BundleRefusedError(
                f"{self.folder}: has no champion before {current or 'the first'}; name one "
                f"with `fraud-worker model promote {self._quoted} NAME`"
            )
        self.bundle(former[-1])
        return former

    def _read(self, file: str) -> tuple[str, ...] | None:
        """Names in a file of the location, one on each line; None if there is no such file."""
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
            handle, temporary = tempfile.mkstemp(prefix=f".{file}.", dir=self.folder)
            try:
                with os.fdopen(handle, "w", encoding="ascii") as opened:
                    opened.write("".join(f"{name}\n" for name in names))
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


def resolve(bundle: Path | None, location: Path | None) -> Path:
    """Find the folder of the bundle that the settings name.

    Args:
        bundle: Setting `model.bundle`, the folder itself.
        location: Setting `model.location`, whose champion is taken.

    Raises:
        BundleRefusedError: if neither is given, or the location has no champion.
    """
    if location is not None:
        return Location(location).champion()
    if bundle is None:
        raise BundleRefusedError("no model is named; give model.bundle or model.location")
    return bundle


def _plain(name: str, where: str) -> str:
    if _NAME.fullmatch(name) is None:
        raise BundleRefusedError(
            f"{where}: {name[:80]!r} is not the name of a bundle; give the name of a folder in the "
            "location: letters, digits and . _ + - without a path"
        )
    return name

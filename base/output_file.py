"""Checks of output paths before a command writes a file, and renames that last."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final

from base.errors import ConfigurationError

_KINDS: Final = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def require_file_or_nothing(path: Path, setting: str, remedy: str = "name a file") -> None:
    """Raise ConfigurationError if ``path`` is something other than a regular file.

    A rename would replace a pipe or device that other programs use, and a write would go into it.
    Links are followed; a link without a target is refused.

    Args:
        path: Path of the output file.
        setting: Name of the setting or option, for the message.
        remedy: Advice to the user, for the message.
    """
    try:
        kind = _KINDS.get(stat.S_IFMT(path.stat().st_mode))
    except FileNotFoundError:
        kind = "a link that leads nowhere" if path.is_symlink() else None
    except OSError:  # the write itself will report the error
        kind = None
    if kind is not None:
        raise ConfigurationError(f"{setting}: {path} is {kind}; {remedy}")


def move_into_place(complete: Path, path: Path) -> None:
    """Move a file to ``path`` in the same file system, replacing an existing one, for good."""
    with complete.open("rb") as file:
        os.fsync(file.fileno())
    complete.replace(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Flush a folder to disk, so that renames in it survive a loss of power."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

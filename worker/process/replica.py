"""Name of a worker within its group, and the transactional ids that contain it."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

from base.errors import ConfigurationError

# Kafka's protocol counts the bytes of a transactional id in 16 bits.
_MOST_ID_BYTES = 32_767
_MOST_NUMBERS = 1_000


def transactional_prefix(group: str) -> str:
    """Return the prefix of all transactional ids of a group, and of no other group's.

    Access rules of Kafka name it.
    """
    return f"{_escaped(group)}/"


def transactional_id(group: str, replica: str, producer: int, *, check: bool = False) -> str:
    """Return the transactional id of one producer; different arguments give different ids.

    A restarted replica takes its predecessor's ids, and so ends the transaction that was left open.

    Args:
        group: Consumer group.
        replica: Name of the worker in the group.
        producer: Number of the producer within the worker.
        check: True for an id that no worker has, and that a prefix of the worker's own id covers:
            its use fences nobody.

    Raises:
        ConfigurationError: The names are too long for Kafka.
    """
    name = f"{transactional_prefix(group)}{_escaped(replica)}/{producer}{'/check' * check}"
    if len(name) > _MOST_ID_BYTES:
        raise ConfigurationError(
            f"kafka.group and replica: the transactional id made of them has {len(name):,} bytes, "
            f"Kafka allows {_MOST_ID_BYTES:,}; shorten them"
        )
    return name


@contextmanager
def claim_replica(group: str) -> Iterator[str]:
    """Hold the default name of a replica: the host's name, with the lowest free number.

    Each number of a group has a lock file. The system releases the lock however the process ends,
    so that a restarted worker gets its own name again.

    Raises:
        ConfigurationError: No lock file can be made, or no number is free.
    """
    host, folder = socket.gethostname(), Path(os.environ.get("TMPDIR") or "/tmp")  # noqa: S108
    # Group names may be longer than file names.
    of_group = hashlib.sha256(os.fsencode(_escaped(group))).hexdigest()[:16]
    for number in range(_MOST_NUMBERS):
        replica = f"{host}-{number}"
        path = folder / f"fraud-worker.{of_group}.{_escaped(replica)}.lock"
        try:
            lock = _locked(path)
        except OSError as error:
            raise ConfigurationError(
                f"replica: the lock file {path} cannot be made ({error.strerror}), so this worker "
                f"cannot know which names are taken; {_REMEDY}"
            ) from error
        if lock is not None:
            try:
                yield replica
            finally:
                os.close(lock)
            return
    raise ConfigurationError(
        f"replica: {folder} has a lock file for each number below {_MOST_NUMBERS:,}, and each is in "
        f"use or not accessible to this user; {_REMEDY}"
    )


_REMEDY = (
    "set replica to a name that no other worker of the group has, or TMPDIR to a folder that can "
    "be written"
)


def _locked(path: Path) -> int | None:
    """Open and lock a file; None if another process holds it. Raises OSError."""
    while True:
        try:
            lock = _opened(path)
        except FileExistsError:
            continue  # another process has just made it
        if lock is None:
            return None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # A cleaner of temporary files may have deleted the file before it was locked.
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(lock), path.stat()):
                    return lock
        except BlockingIOError:
            os.close(lock)
            return None
        except OSError:
            os.close(lock)
            raise
        os.close(lock)


def _opened(path: Path) -> int | None:
    """Open a lock file, or make it; None if another user owns it. Raises OSError."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    try:
        # Without O_CREAT, which Linux refuses in /tmp for a file of another user.
        return os.open(path, flags)
    except FileNotFoundError:
        # With the sticky bit, systemd-tmpfiles does not delete it.
        return os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o1644)
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EPERM, errno.ELOOP):
            return None
        raise


def _escaped(name: str) -> str:
    """Escape all but letters, digits and ``_.-~`` as in URLs; different names stay different."""
    # Environment variables that are not UTF-8 reach Python as surrogates.
    return quote(name, safe="", errors="surrogatepass")

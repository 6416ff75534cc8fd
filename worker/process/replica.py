"""The name of a worker within its group, and the transactional ids that are made from it."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal
from urllib.parse import quote

from base.errors import ConfigurationError

# Kafka's protocol counts the bytes of a transactional id in 16 bits.
_MOST_ID_BYTES = 32_767
_MOST_NUMBERS = 1_000


def transactional_prefix(group: str) -> str:
    """Return what the transactional ids of this group begin with, and those of no other group.

    Access rules with a prefix name it.
    """
    return f"{_escaped(group)}/"


def transactional_id(group: str, replica: str, producer: int | Literal["check"]) -> str:
    """Return the transactional id of one producer; no two triples give the same.

    A restarted replica takes its predecessor's id, and so ends the transaction that was left open.

    Args:
        group: The consumer group.
        replica: The name of the worker in the group.
        producer: The number of the producer within the worker. No worker has the id of "check":
            to take it fences nobody.

    Raises:
        ConfigurationError: The names are too long for Kafka.
    """
    name = f"{transactional_prefix(group)}{_escaped(replica)}/{producer}"
    if len(name) > _MOST_ID_BYTES:
        raise ConfigurationError(
            f"kafka.group and replica: the transactional id made of them has {len(name):,} bytes, "
            f"Kafka takes {_MOST_ID_BYTES:,}; shorten them"
        )
    return name


@contextmanager
def claim_replica(group: str) -> Iterator[str]:
    """Hold the default name of a replica: the host's, with the lowest number that is free on it.

    Each number of a group has a lock file. The system releases the lock when the process ends,
    by whatever death, so that a restarted worker gets its own name again.

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
                f"cannot tell which names are taken; {_REMEDY}"
            ) from error
        if lock is not None:
            try:
                yield replica
            finally:
                os.close(lock)
            return
    raise ConfigurationError(
        f"replica: {folder} has a lock file in use, or closed to this user, for each of the "
        f"numbers below {_MOST_NUMBERS:,}; {_REMEDY}"
    )


_REMEDY = (
    "set replica to a name that no other worker of the group has, or TMPDIR to a folder that can "
    "be written"
)


def _locked(path: Path) -> int | None:
    """Open and lock a file; None where another process holds it. Raises OSError."""
    while True:
        try:
            lock = _opened(path)
        except FileExistsError:
            continue  # made by another process just now
        if lock is None:
            return None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # A cleaner of temporary files may have deleted it before it was locked.
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
    """Open a lock file, or make it; None where another user keeps it closed. Raises OSError."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    try:
        # Without O_CREAT: in /tmp, Linux refuses it for a file of another user.
        return os.open(path, flags)
    except FileNotFoundError:
        # With the sticky bit, systemd-tmpfiles leaves it alone.
        return os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o1644)
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EPERM, errno.ELOOP):
            return None
        raise


def _escaped(name: str) -> str:
    """Escape all but letters, digits and ``_.-~`` as in URLs; different names stay different."""
    # Variables of the environment that are not UTF-8 reach Python as surrogates.
    return quote(name, safe="", errors="surrogatepass")

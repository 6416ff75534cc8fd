"""Protocol of an online store."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from base.errors import HistoriesLostError
from features.store.stored_values import StoredValues
from features.values.keys import Keys

Row = list[bytes | None]
"""Values of a hash at the requested fields, None for a missing field."""


KEYS_PER_SCAN = 1_000
"""Number of keys that a server looks at in a step of a scan, about a millisecond."""


class Hashes(NamedTuple):
    """Hashes to read, and the fields of each."""

    keys: Sequence[bytes]
    fields: Sequence[bytes]


class ServerRun(NamedTuple):
    """Run of a server: what it lost by eviction it lost in this run.

    Attributes:
        run_id: Random text that the server draws when it starts.
        evicted: Number of keys that it has evicted since.
    """

    run_id: str
    evicted: int


class ReadResult(NamedTuple):
    """Answers to one read.

    Attributes:
        values: Value of each key, in the order of the keys.
        hashes: Fields of each key of each ``Hashes``, all None if there is no such hash; None if
            the key holds something other than a hash.
        marks: Value of each key of marks; empty if there were none to read.
        server: Run of the server right after the marks were read; None without marks.
    """

    values: StoredValues
    hashes: list[list[Row | None]]
    marks: Sequence[bytes | None] = ()
    server: ServerRun | None = None


class Compaction(NamedTuple):
    """Replacement of the first bytes of the value at ``key``.

    Attributes:
        key: Key of the value.
        prefix: First bytes as they were read, not empty.
        kept: Bytes that replace them; may be empty.
    """

    key: bytes
    prefix: bytes
    kept: bytes


class MarkWrite(NamedTuple):
    """Write of one of the marks that stand end to end in the value at ``key``.

    A mark begins with a number of 8 bytes, little-endian, that is above 0; 0 stands for no mark.

    Attributes:
        key: Key of the marks.
        place: Index of the mark in the value.
        at_least: Number that the mark must have reached for the write; None replaces any mark.
        mark: Bytes of the new mark; ignored if the mark has reached a higher number.
    """

    key: bytes
    place: int
    at_least: int | None
    mark: bytes


def lost_marks(mark: MarkWrite) -> HistoriesLostError:
    """Error for a mark that is gone or has not reached the number that it had reached."""
    return HistoriesLostError(
        f"the online store has lost writes: mark {mark.place} of {mark.key.decode()} is below "
        f"{mark.at_least} or gone"
    )


@dataclass(frozen=True, slots=True, eq=False)
class Writes:
    """Writes that the online store must have before a micro-batch is committed.

    Attributes:
        appends: Pairs of a key and the members to append to its history.
        compactions: Histories with members that no later event can see.
    """

    appends: Collection[tuple[bytes, bytes]] = ()
    compactions: Collection[Compaction] = ()

    def __bool__(self) -> bool:
        return bool(self.appends or self.compactions)


class StoreReads(Protocol):
    """Reads of an online store for a micro-batch."""

    def read_all(self, keys: Sequence[Keys], hashes: Sequence[Hashes] = ()) -> ReadResult:
        """Read as `OnlineStore.read_all` does."""
        ...


class OnlineStore(Protocol):
    """Binary values by binary keys, and hashes that other programs write.

    Every method raises DependencyUnavailableError if the store does not answer now; the same call
    may succeed later. It raises ConfigurationError if an operator must act first: a missing
    permission, or a key that holds something other than a binary value.
    """

    def read(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """The value of each key, None where there is none; in one round trip."""
        ...

    def read_all(
        self, keys: Sequence[Keys], hashes: Sequence[Hashes] = (), marks: Sequence[bytes] = ()
    ) -> ReadResult:
        """Values and hashes together, in one round trip, as columns.

        The values of ``marks`` are read after all others, and the run of the server after these.
        """
        ...

    def write(self, pairs: Iterable[tuple[bytes, bytes]]) -> None:
        """Set each key to its value. Idempotent: a write that failed may be repeated."""
        ...

    def replace(self, key: bytes, expected: bytes | None, value: bytes) -> bool:
        """Set the key to ``value`` if its value is still ``expected``; return True if it was set.

        ``expected`` is None for a missing key; an empty value counts as missing. The call is atomic
        and never retried by itself: after DependencyUnavailableError it may have been done.
        """
        ...

    def append(
        self,
        appends: Collection[tuple[bytes, bytes]],
        compactions: Collection[Compaction] = (),
        expire_ms: int | None = None,
        marks: Sequence[MarkWrite] = (),
    ) -> None:
        """Apply the compactions, then append bytes to each key; one round trip.

        When all of it is acknowledged, the marks are written as by `write_marks`, on the same
        connection: a server that takes over has not lost what these marks stand for.

        A compaction applies if the value still begins with exactly its prefix, which ``kept`` then
        replaces; else it is skipped, as the value has changed since it was read. A key whose value
        becomes empty is removed. A key that is written expires ``expire_ms`` milliseconds from now;
        with None, never.

        The call is not idempotent and never retried by itself. After DependencyUnavailableError any
        part of it may have been done; the caller may repeat all of it if its readers drop repeated
        members.

        Raises:
            HistoriesLostError: As by `write_marks`.
        """
        ...

    def write_marks(self, marks: Sequence[MarkWrite], expire_ms: int | None = None) -> None:
        """Write all of the marks, or none. A repeated call changes nothing.

        Keys expire as those of `append`.

        Raises:
            HistoriesLostError: A mark has not reached its ``at_least``, or is gone.
        """
        ...

    def scan(self, prefix: bytes, cursor: int = 0) -> tuple[int, list[bytes]]:
        """Find keys with a prefix, in a step that blocks the server for a moment only.

        Args:
            prefix: First bytes of the keys.
            cursor: Cursor that the step before has returned; 0 for the first step.

        Returns:
            The cursor of the next step, 0 behind the last one; some of the keys. All steps together
            find each key that is there all the time, some of them twice.
        """
        ...

    def remove(self, keys: Collection[bytes]) -> None:
        """Remove keys, which the store may not have."""
        ...

    def require_no_eviction(self) -> None:
        """Raise ConfigurationError if the store may evict keys."""
        ...

    def ping(self) -> None:
        """Return once the store answers."""
        ...

    def close(self) -> None:
        """Close connections; the store can be used again afterwards."""
        ...

"""What the worker asks of an online store."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol

Row = list[bytes | None]
"""What a hash has at each of the fields asked for."""


class Hashes(NamedTuple):
    """Hashes to read, and the fields of each."""

    keys: Sequence[bytes]
    fields: Sequence[bytes]


class Found(NamedTuple):
    """What was read.

    values: of each key, None where there is none. hashes: of each key of each ``Hashes`` its
    fields, all None where there is no such hash; None where the key holds something else.
    """

    values: list[bytes | None]
    hashes: list[list[Row | None]]


class Compaction(NamedTuple):
    """Of the value at ``key``: the first bytes, as they were read, and those to stand for them.

    prefix is not empty; kept may be.
    """

    key: bytes
    prefix: bytes
    kept: bytes


class OnlineStore(Protocol):
    """Binary values by binary keys, and hashes that others write.

    Every method raises DependencyUnavailableError where the store does not answer now; the same
    call may succeed later. It raises ConfigurationError where somebody has to act first: a right
    that is missing, a key that holds something else than a binary value.
    """

    def read(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """The value of each key, None where there is none; in one round trip."""
        ...

    def read_all(self, keys: Sequence[bytes], hashes: Sequence[Hashes] = ()) -> Found:
        """Values and hashes together, in one round trip."""
        ...

    def write(self, pairs: Iterable[tuple[bytes, bytes]]) -> None:
        """Sets each key to its value. Idempotent: a write that failed may be repeated."""
        ...

    def replace(self, key: bytes, expected: bytes | None, value: bytes) -> bool:
        """Sets the key to ``value`` where it still has the value ``expected``; whether it did.

        expected: None where there is no such key. Atomic, and never repeated by itself: after
        DependencyUnavailableError it may have been done. An empty value is taken for none.
        """
        ...

    def append(
        self,
        appends: Sequence[tuple[bytes, bytes]],
        compactions: Sequence[Compaction] = (),
        expire_ms: int | None = None,
    ) -> None:
        """Appends to each key its bytes, after doing the compactions; one round trip.

        A compaction whose key begins with exactly its prefix gets ``kept`` in its place; another
        is left undone: the value has changed since it was read. A key of which nothing is kept,
        and to which nothing has been appended since, is removed. A key that is written expires
        ``expire_ms`` milliseconds from now; with None, never.

        Not idempotent, and never repeated by itself. After DependencyUnavailableError any part of
        it may have been done; the caller may repeat all of it where its readers drop what is there
        twice.
        """
        ...

    def ping(self) -> None:
        """Returns when the store answers."""
        ...

    def close(self) -> None:
        """Gives back connections; the store can be used again afterwards."""
        ...

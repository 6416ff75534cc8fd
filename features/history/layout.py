"""Members of histories: the values that are stored of an event, and their binary layout."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from base.arrays import Longs
from base.errors import ConfigurationError
from features.values.frame import Frame

Members = npt.NDArray[np.void]
"""Members in the dtype of a layout."""

MISSING = np.iinfo(np.int64).min
"""Sentinel for a missing value of the event."""


class StoredKind(StrEnum):
    """Kinds of a stored column.

    VALUE: a whole number within the bound of exact sums. COMPARED: any whole number, which is
    compared and never added up. HASH: the 64-bit hash of a text. CONDITION: the result of one.

    The values are part of the layouts of existing histories and do not change.
    """

    VALUE = "value"
    COMPARED = "compared"
    HASH = "name"
    CONDITION = "condition"


@dataclass(frozen=True, slots=True, eq=False)
class StoredColumn:
    """A column of a history: a value of the event that each member stores.

    Attributes:
        kind: Kind of the column.
        definition: Definition as canonical JSON.
        scale: Decimal digits of a VALUE or COMPARED number.
        read: Function from a frame to int64[N], MISSING for a missing value; for a CONDITION
            bool[N].
        key: Name of the column in a layout, a digest of its definition.
    """

    kind: StoredKind
    definition: Any
    scale: int
    read: Callable[[Frame], npt.NDArray[Any]]
    key: str = field(init=False)

    def __post_init__(self) -> None:
        text = json.dumps([self.kind, self.definition, self.scale], sort_keys=True)
        object.__setattr__(self, "key", hashlib.sha256(text.encode()).hexdigest()[:16])


@dataclass(frozen=True)
class Layout:
    """Fields of a history's members, in order: position, event time, event id, columns.

    Attributes:
        columns: The columns.
        origin: Definition of the key, and of which events are members and when, as JSON.
    """

    columns: tuple[StoredColumn, ...]
    origin: Any = None

    @classmethod
    def of(cls, columns: Sequence[StoredColumn], origin: Any = None) -> Layout:
        """Layout with each column once, in an order independent of the order of the features."""
        once = {column.key: column for column in columns}
        return cls(tuple(once[name] for name in sorted(once)), origin)

    @cached_property
    def dtype(self) -> np.dtype[np.void]:
        """The dtype of one member in the store: little-endian, packed."""
        return np.dtype(
            [
                ("partition", "<i4"),
                ("offset", "<i8"),
                ("time", "<i8"),
                ("event_id", "<u8"),
                *(
                    (column.key, "?" if column.kind is StoredKind.CONDITION else "<i8")
                    for column in self.columns
                ),
            ]
        )

    @cached_property
    def digest(self) -> str:
        """The digest of the layout; changes with what members store, and with ``origin``."""
        defined = [self.dtype.descr, self.origin]
        return hashlib.sha256(json.dumps(defined).encode()).hexdigest()[:16]


def cut(members: Members, counts: Longs) -> list[bytes]:
    """Cut concatenated members into the bytes of each run.

    Args:
        members: Members of U runs, concatenated.
        counts: int64[U], the number of members of each run.
    """
    data = members.tobytes()
    ends = (np.cumsum(counts) * members.dtype.itemsize).tolist()
    return [data[begin:end] for begin, end in pairwise((0, *ends))]


def read_members(value: bytes | None, dtype: np.dtype[np.void], what: str) -> Members:
    """Decode a stored history or its labels; None has no members.

    Raises:
        ConfigurationError: The value does not consist of members.
    """
    stored = value or b""
    check_size(np.array([len(stored)]), dtype.itemsize, what)
    return np.frombuffer(stored, dtype)


def check_size(sizes: Longs, size: int, what: str) -> None:
    """Check that stored values consist of members.

    Args:
        sizes: int64[U], bytes of each value.
        size: Bytes of a member.
        what: Name of the values in messages.

    Raises:
        ConfigurationError: One does not.
    """
    rest = sizes % size
    if rest.any():
        raise ConfigurationError(
            f"the online store holds {what} of {sizes[np.argmax(rest > 0)]} bytes, which is not a "
            f"multiple of a member's {size} bytes: another program wrote there; use another "
            "store.state"
        )

"""The members of histories: what is kept of an event, and how the online store holds it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from features.compute.frame import Frame

Members = npt.NDArray[np.void]
"""Of a layout's dtype."""

MISSING = np.iinfo(np.int64).min
"""A kept value that the event did not have."""


class Keeps(StrEnum):
    """What a kept column is: a whole number, the name of a text, or whether a condition held."""

    VALUE = "value"
    NAME = "name"
    CONDITION = "condition"


@dataclass(frozen=True, slots=True, eq=False)
class Kept:
    """A column that the members of a history keep of their events.

    definition: canonical JSON. scale: decimal digits of a VALUE. read: int64[N], MISSING where there
    is none; of a CONDITION bool[N]. key: its name in a layout, a digest of what it means.
    """

    keeps: Keeps
    definition: Any
    scale: int
    read: Callable[[Frame], npt.NDArray[Any]]
    key: str = field(init=False)

    def __post_init__(self) -> None:
        text = json.dumps([self.keeps, self.definition, self.scale], sort_keys=True)
        object.__setattr__(self, "key", hashlib.sha256(text.encode()).hexdigest()[:16])


@dataclass(frozen=True)
class Layout:
    """The fields of a history's members, in order: position, event time, event id, kept columns."""

    kept: tuple[Kept, ...]

    @classmethod
    def of(cls, kept: Sequence[Kept]) -> Layout:
        """Each column once, in an order that does not depend on that of the features."""
        once = {column.key: column for column in kept}
        return cls(tuple(once[key] for key in sorted(once)))

    @cached_property
    def dtype(self) -> np.dtype[np.void]:
        """Of one member in the store: little-endian, packed."""
        return np.dtype(
            [
                ("partition", "<i4"),
                ("offset", "<i8"),
                ("time", "<i8"),
                ("event_id", "<u8"),
                *(
                    (column.key, "?" if column.keeps is Keeps.CONDITION else "<i8")
                    for column in self.kept
                ),
            ]
        )

    @cached_property
    def digest(self) -> str:
        """Changes with what members keep."""
        return hashlib.sha256(json.dumps(self.dtype.descr).encode()).hexdigest()[:16]

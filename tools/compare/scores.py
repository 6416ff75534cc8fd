"""The scores of one worker as columns, each at the position of its event."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tools.compare.words import CategoryEncoder, Codes

Longs = npt.NDArray[np.int64]
Names = npt.NDArray[np.uint64]
_BETWEEN = "\x1f"


@dataclass(frozen=True, slots=True)
class ScoreProvenance:
    """What made scores. feature_set: its fingerprint."""

    model: str
    version: str
    policy_version: str
    feature_set: str


@dataclass(frozen=True, slots=True, eq=False)
class ScoreCategories:
    """What the numbers in the scores of both workers stand for."""

    topics: CategoryEncoder = field(default_factory=CategoryEncoder)
    decisions: CategoryEncoder = field(default_factory=CategoryEncoder)
    _makers: CategoryEncoder = field(default_factory=CategoryEncoder)

    def made_by(self, *columns: pa.StringArray) -> Codes:
        """int32[N]; StringArray[N] each: the fields of `ScoreProvenance`, in their order."""
        return self._makers.codes(pc.binary_join_element_wise(*columns, _BETWEEN))

    @property
    def makers(self) -> tuple[ScoreProvenance, ...]:
        return tuple(ScoreProvenance(*text.split(_BETWEEN)) for text in self._makers.texts)


@dataclass(frozen=True, slots=True, eq=False)
class ScoreColumns:
    """N scores.

    topics: int32[N] of the vocabulary, partitions: int32[N], offsets: int64[N], of the events.
    times: int64[N], event times in microseconds since 1970-01-01 UTC. scores: float64[N].
    decisions, makers: int32[N] of the vocabulary. events, cards: uint64[N], names of event ids and
    of the records' keys; an event without a key is a card of its own.
    labels: int8[N], 1 for a fraud, 0 for none, -1 where nobody has said.
    """

    topics: Codes
    partitions: npt.NDArray[np.int32]
    offsets: Longs
    times: Longs
    scores: npt.NDArray[np.float64]
    decisions: Codes
    makers: Codes
    events: Names
    cards: Names
    labels: npt.NDArray[np.int8]

    def __len__(self) -> int:
        return len(self.offsets)

    def take(self, rows: npt.NDArray[Any]) -> Self:
        """Those at ``rows``, in their order; or where a mask is True."""
        return type(self)(*(getattr(self, item.name)[rows] for item in fields(self)))

    @classmethod
    def merged(cls, parts: list[Self]) -> Self:
        """All of at least one part, by topic, partition and offset; equal ones in the parts' order.

        Takes the parts out of the list: a column goes when it is merged, for the sake of memory.
        """
        columns = {item.name: [getattr(part, item.name) for part in parts] for item in fields(cls)}
        parts.clear()
        keys = ("offsets", "partitions", "topics")
        order = np.lexsort([np.concatenate(columns[name]) for name in keys])
        return cls(*(np.concatenate(columns.pop(item.name))[order] for item in fields(cls)))

    def stretches(self) -> Iterator[tuple[tuple[int, int], slice]]:
        """The rows of each topic and partition, of scores in order."""
        changes = (np.diff(self.topics) != 0) | (np.diff(self.partitions) != 0)
        begins = np.flatnonzero(np.concatenate([[len(self) > 0], changes]))
        for begin, end in zip(begins, [*begins[1:], len(self)], strict=True):
            yield (int(self.topics[begin]), int(self.partitions[begin])), slice(begin, end)


def once(scores: ScoreColumns) -> tuple[ScoreColumns, int]:
    """The latest of each position, of scores in order; and how many others there were.

    The order of records with one position has to be that in which they were written.
    """
    same = np.ones(len(scores), np.bool_)
    for column in (scores.topics, scores.partitions, scores.offsets):
        same[:-1] &= column[1:] == column[:-1]
    same[-1:] = False
    again = int(same.sum())
    return (scores.take(~same), again) if again else (scores, 0)

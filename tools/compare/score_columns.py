"""Columns of one worker's scores, each at the position of its event."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from base.arrays import Longs

Codes = npt.NDArray[np.int32]
Names = npt.NDArray[np.uint64]
_BETWEEN = "\x1f"


class CategoryEncoder:
    """Encoder that numbers texts in the order of their first occurrence; for few texts."""

    def __init__(self) -> None:
        self._codes: dict[str, int] = {}

    def codes(self, values: pa.StringArray) -> Codes:
        """Encode a StringArray[N] without nulls as int32[N]."""
        encoded = values.dictionary_encode()
        own = [self.code(text) for text in encoded.dictionary.to_pylist()]
        codes: Codes = np.array(own, np.int32)[encoded.indices.to_numpy()]
        return codes

    def code(self, text: str) -> int:
        return self._codes.setdefault(text, len(self._codes))

    @property
    def texts(self) -> tuple[str, ...]:
        """Text of each code."""
        return tuple(self._codes)


@dataclass(frozen=True, slots=True)
class ScoreProvenance:
    """Model, policy and features that made a score.

    Attributes:
        model: Name of the model.
        version: Version of the model.
        policy_version: Version of the policy.
        feature_set: Fingerprint of the feature set.
    """

    model: str
    version: str
    policy_version: str
    feature_set: str


@dataclass(frozen=True, slots=True, eq=False)
class ScoreCategories:
    """Categories of the codes in both workers' scores: topics, decisions and provenances."""

    topics: CategoryEncoder = field(default_factory=CategoryEncoder)
    decisions: CategoryEncoder = field(default_factory=CategoryEncoder)
    _makers: CategoryEncoder = field(default_factory=CategoryEncoder)

    def made_by(self, *columns: pa.StringArray) -> Codes:
        """Encode provenances.

        Args:
            *columns: The fields of `ScoreProvenance` in their order, each a StringArray[N].

        Returns:
            int32[N], codes of `makers`.
        """
        return self._makers.codes(pc.binary_join_element_wise(*columns, _BETWEEN))

    @property
    def makers(self) -> tuple[ScoreProvenance, ...]:
        return tuple(ScoreProvenance(*text.split(_BETWEEN)) for text in self._makers.texts)


@dataclass(frozen=True, slots=True, eq=False)
class ScoreColumns:
    """Columns of N scores.

    Attributes:
        topics: int32[N], codes of the events' topics.
        partitions: int32[N], the events' partitions.
        offsets: int64[N], the events' offsets.
        times: int64[N], event times in microseconds since 1970-01-01 UTC.
        scores: float64[N].
        decisions: int32[N], codes of the decisions.
        makers: int32[N], codes of the provenances.
        events: uint64[N], hashes of the event ids.
        cards: uint64[N], hashes of the records' keys; an event without a key is a card of its own.
        labels: int8[N], 1 for a fraud, 0 for none, -1 where the label is unknown.
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
        """Select the scores at ``rows``, in their order, or those where a mask is True."""
        return type(self)(*(getattr(self, item.name)[rows] for item in fields(self)))

    @classmethod
    def merged(cls, parts: list[Self]) -> Self:
        """Merge one or more parts, sorted by topic, partition and offset.

        Scores with one position stay in the order of the parts. The list is emptied: each column is
        freed once it is merged, to save memory.
        """
        columns = {item.name: [getattr(part, item.name) for part in parts] for item in fields(cls)}
        parts.clear()
        keys = ("offsets", "partitions", "topics")
        order = np.lexsort([np.concatenate(columns[name]) for name in keys])
        return cls(*(np.concatenate(columns.pop(item.name))[order] for item in fields(cls)))

    def stretches(self) -> Iterator[tuple[tuple[int, int], slice]]:
        """Yield each topic and partition of sorted scores, with the slice of its rows."""
        changes = (np.diff(self.topics) != 0) | (np.diff(self.partitions) != 0)
        begins = np.flatnonzero(np.concatenate([[len(self) > 0], changes]))
        for begin, end in zip(begins, [*begins[1:], len(self)], strict=True):
            yield (int(self.topics[begin]), int(self.partitions[begin])), slice(begin, end)


def once(scores: ScoreColumns) -> tuple[ScoreColumns, int]:
    """Keep the latest score of each position, of sorted scores.

    Scores with one position have to be in the order in which they were written.

    Returns:
        The scores that were kept, and the number of the others.
    """
    same = np.ones(len(scores), np.bool_)
    for column in (scores.topics, scores.partitions, scores.offsets):
        same[:-1] &= column[1:] == column[:-1]
    same[-1:] = False
    again = int(same.sum())
    return (scores.take(~same), again) if again else (scores, 0)

"""Labels as their sources give them: fields may be missing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Longs = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

UNKNOWN = np.iinfo(np.int64).min
"""Sentinel for a missing time."""
FILE_PARTITION = -1
"""Partition of labels from a file; their offsets are row numbers."""


@dataclass(frozen=True, slots=True, eq=False)
class LabelRows:
    """N labels.

    Attributes:
        event_id: StringArray[N].
        fraud: bool[N].
        event_time: int64[N], microseconds since 1970-01-01 UTC, UNKNOWN where missing.
        label_time: int64[N], microseconds since 1970-01-01 UTC, UNKNOWN where missing.
        entity_keys: StringArray[N] by entity, "" where missing; an entity may be absent.
        partitions: int32[N], partition of the label itself.
        offsets: int64[N], offset of the label itself.
    """

    event_id: pa.StringArray
    fraud: Mask
    event_time: Longs
    label_time: Longs
    entity_keys: Mapping[str, pa.StringArray]
    partitions: npt.NDArray[np.int32]
    offsets: Longs

    def __len__(self) -> int:
        return len(self.offsets)

    def keys(self, entity: str) -> pa.StringArray:
        """StringArray[N], "" where missing."""
        found = self.entity_keys.get(entity)
        return pa.array([""] * len(self), pa.string()) if found is None else found

    def take(self, rows: npt.NDArray[np.intp]) -> Self:
        """The labels at ``rows``, in their order."""
        places = pa.array(rows)
        return type(self)(
            self.event_id.take(places),
            self.fraud[rows],
            self.event_time[rows],
            self.label_time[rows],
            {entity: keys.take(places) for entity, keys in self.entity_keys.items()},
            self.partitions[rows],
            self.offsets[rows],
        )


def concat(parts: Sequence[LabelRows], entities: Iterable[str]) -> LabelRows:
    """Concatenate labels; a key of ``entities`` that a part lacks is ""."""
    nothing = np.empty(0, np.int64)
    none = LabelRows(
        pa.array([], pa.string()),
        nothing > 0,
        nothing,
        nothing,
        {},
        nothing.astype(np.int32),
        nothing,
    )
    parts = [none, *parts]
    return LabelRows(
        pa.concat_arrays([part.event_id for part in parts]),
        np.concatenate([part.fraud for part in parts]),
        np.concatenate([part.event_time for part in parts]),
        np.concatenate([part.label_time for part in parts]),
        {entity: pa.concat_arrays([part.keys(entity) for part in parts]) for entity in entities},
        np.concatenate([part.partitions for part in parts]),
        np.concatenate([part.offsets for part in parts]),
    )

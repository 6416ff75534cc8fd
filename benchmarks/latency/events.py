"""Records of events to play, and the ids of their events.

The player and the watcher import it: neither needs the worker's packages, whose import takes
seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import pyarrow as pa
import pyarrow.parquet as pq

# Confluent's prefix is 5 bytes; then the event id: its length as zigzag (doubled), and its text.
_LENGTH_AT = 5


@dataclass(frozen=True, slots=True)
class Events:
    """Records of events in the order in which they are played.

    Attributes:
        keys: Key of each record.
        values: Value of each record; no two have the same event id.
    """

    keys: Sequence[bytes | None]
    values: Sequence[bytes | None]

    def __len__(self) -> int:
        return len(self.values)

    def first(self, count: int) -> Self:
        """Return the first ``count`` events.

        Raises:
            ValueError: There are fewer.
        """
        if count > len(self):
            raise ValueError(f"{count:,} events are to be played, and there are {len(self):,}")
        return type(self)(self.keys[:count], self.values[:count])

    def write(self, path: Path) -> None:
        columns = {"key": self.keys, "value": self.values}
        arrays = {name: pa.array(column, pa.binary()) for name, column in columns.items()}
        pq.write_table(pa.table(arrays), path)

    @classmethod
    def read(cls, path: Path) -> Self:
        table = pq.read_table(path)
        return cls(table["key"].to_pylist(), table["value"].to_pylist())


def id_of(value: bytes | None) -> bytes:
    """Event id of a framed score or event: the first field of both, shorter than 64 bytes."""
    if not value:
        return b""
    start = _LENGTH_AT + 1
    return value[start : start + value[_LENGTH_AT] // 2]

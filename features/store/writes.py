"""Writes to an online store as columns, read one by one like pairs and compactions."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from itertools import compress
from typing import NamedTuple

import numpy as np

from features.store.protocol import Compaction
from features.store.stored_values import StoredValues
from features.values.keys import Keys


class AppendColumns(NamedTuple):
    """Bytes to append to the values of U keys.

    Attributes:
        keys: The keys.
        values: The bytes for each key; absent where there are none.
    """

    keys: Keys
    values: StoredValues

    def present_keys(self) -> list[bytes]:
        """The keys with bytes to append."""
        present = (self.values.lengths >= 0).tolist()
        return list(compress(self.keys.to_list(), present))


class CompactionColumns(NamedTuple):
    """Replacements of the first bytes of the values of U keys.

    Attributes:
        keys: The keys.
        prefixes: First bytes of each value, as they were read.
        kept: Bytes that replace them; absent where the value stays as it is.
    """

    keys: Keys
    prefixes: StoredValues
    kept: StoredValues


class Appends(Collection[tuple[bytes, bytes]]):
    """Appends, each a pair of a key and the bytes to append."""

    def __init__(self, parts: Sequence[AppendColumns]) -> None:
        self.parts = parts
        self._pairs: list[tuple[bytes, bytes]] | None = None

    @classmethod
    def of(cls, appends: Collection[tuple[bytes, bytes]]) -> Appends:
        """The same appends as columns."""
        if isinstance(appends, Appends):
            return appends
        keys, values = Keys.of([key for key, _ in appends]), [value for _, value in appends]
        return cls([AppendColumns(keys, StoredValues.of(values))])

    def where(self, keeps: Callable[[bytes], bool]) -> Appends:
        """The parts whose keys have a prefix that ``keeps`` takes."""
        return type(self)([part for part in self.parts if keeps(part.keys.prefix)])

    @property
    def key_count(self) -> int:
        """Number of keys, those without bytes to append included."""
        return sum(len(part.keys) for part in self.parts)

    @property
    def byte_length(self) -> int:
        """Number of all bytes to append."""
        return sum(int(np.maximum(part.values.lengths, 0).sum()) for part in self.parts)

    def __len__(self) -> int:
        return sum(int(np.count_nonzero(part.values.lengths >= 0)) for part in self.parts)

    def __iter__(self) -> Iterator[tuple[bytes, bytes]]:
        if self._pairs is None:
            self._pairs = [
                (key, value)
                for keys, values in self.parts
                for key, value in zip(keys.to_list(), values.to_list(), strict=True)
                if value is not None
            ]
        return iter(self._pairs)

    def __contains__(self, pair: object) -> bool:
        return pair in list(self)


class Compactions(Collection[Compaction]):
    """Compactions of values."""

    def __init__(self, parts: Sequence[CompactionColumns]) -> None:
        self.parts = parts

    @classmethod
    def of(cls, compactions: Collection[Compaction]) -> Compactions:
        """The same compactions as columns."""
        if isinstance(compactions, Compactions):
            return compactions
        keys, prefixes, kept = [*zip(*compactions, strict=True)] or [(), (), ()]
        columns = CompactionColumns(Keys.of(keys), StoredValues.of(prefixes), StoredValues.of(kept))
        return cls([columns])

    def __len__(self) -> int:
        return sum(int(np.count_nonzero(part.kept.lengths >= 0)) for part in self.parts)

    def __iter__(self) -> Iterator[Compaction]:
        for keys, prefixes, kept in self.parts:
            for index in np.flatnonzero(kept.lengths >= 0).tolist():
                yield Compaction(
                    keys.key(index), prefixes.value(index) or b"", kept.value(index) or b""
                )

    def __contains__(self, compaction: object) -> bool:
        return compaction in list(self)

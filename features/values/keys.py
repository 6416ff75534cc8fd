"""Keys of an online store, as one column of bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Self

import numpy as np

from base.arrays import Bytes, Ints32


@dataclass(frozen=True, slots=True, eq=False)
class Keys:
    """U keys that share a prefix. The arrays are read-only, as in `base.arrays.text_parts`.

    Attributes:
        prefix: First bytes of each key.
        ends: int32[U + 1], begin of the first key's other bytes in ``data``, then the end of each.
        data: uint8[B].
    """

    prefix: bytes
    ends: Ints32
    data: Bytes

    @classmethod
    def of(cls, keys: Sequence[bytes]) -> Self:
        """Keys without a common prefix."""
        ends = np.fromiter(accumulate(map(len, keys), initial=0), np.int32, len(keys) + 1)
        ends.flags.writeable = False
        return cls(b"", ends, np.frombuffer(b"".join(keys), np.uint8))

    def __len__(self) -> int:
        return len(self.ends) - 1

    def __getitem__(self, some: slice) -> Self:
        return type(self)(self.prefix, self.ends[some.start : some.stop + 1], self.data)

    def behind(self, prefix: bytes) -> Self:
        """The same keys behind another prefix."""
        return type(self)(prefix, self.ends, self.data)

    def key(self, index: int) -> bytes:
        """The key at ``index``, with its prefix."""
        return self.prefix + self.data[self.ends[index] : self.ends[index + 1]].tobytes()

    def to_list(self) -> list[bytes]:
        """Each key, with its prefix."""
        prefix, text = self.prefix, self.data.tobytes()
        return [prefix + text[begin:end] for begin, end in pairwise(self.ends.tolist())]

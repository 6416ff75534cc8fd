"""Flags of events: their names, and their bits in one integer for each event."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from base.arrays import Mask

MAX_FLAGS: Final = 64
FAILED: Final = "python_failed"
"""Kind of the flags that are named after a Python feature."""

Bits = npt.NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class Flags:
    """The flags that events of a feature set can carry, at most `MAX_FLAGS`.

    A flag of one lookup, entity or feature is named after its kind and that: ``KIND:SUBJECT``.

    Attributes:
        names: Names of the flags; name i is that of bit i, from the lowest.
    """

    names: tuple[str, ...] = ()

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kind of each flag; a flag without a subject is a kind by itself."""
        return tuple(name.partition(":")[0] for name in self.names)

    def encode(self, rows: int, carried: Mapping[str, Mask]) -> Bits:
        """Encode the flags of events as uint64[rows].

        Args:
            rows: Number of events.
            carried: bool[rows] by flag; flags that are left out are not set.
        """
        bits = np.zeros(rows, np.uint64)
        for bit, name in enumerate(self.names):
            if name in carried:
                bits |= carried[name].astype(np.uint64) << np.uint64(bit)
        return bits

    def decode(self, bits: int) -> list[str]:
        """Names of the flags that are set in the bits of one event."""
        return [name for bit, name in enumerate(self.names) if bits >> bit & 1]

    def carries(self, name: str, bits: Bits) -> Mask:
        """Mark the events that carry a flag; none where there is no such flag."""
        carried: Mask = (bits & self.mask(name)) != 0
        return carried

    def mask(self, name: str) -> np.uint64:
        """The bits of the flag, or kind of flag, with this name; 0 where there is none."""
        pairs = enumerate(zip(self.names, self.kinds, strict=True))
        return np.uint64(sum(1 << bit for bit, pair in pairs if name in pair))

    def count(self, bits: Bits) -> dict[str, int]:
        """Number of events with each flag; empty if no event carries any."""
        if not bits.any():
            return {}
        one = np.uint64(1)
        return {
            name: int(np.count_nonzero(bits >> np.uint64(bit) & one))
            for bit, name in enumerate(self.names)
        }

"""A record with facts about its values in a sample."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa

from tools.init.facts import Facts
from tools.init.leaves import Leaf, Record

NEARLY = 0.99
"""Share of the rows that counts as all of them."""
_FEW_ROWS = 100
"""Below this number of rows, values prove little."""


@dataclass(frozen=True, slots=True)
class SampledRecord:
    """A record, with facts about its values in a sample.

    Attributes:
        record: The record.
        facts: Facts about the values of each field that the file has, by path.
        rows: Number of rows.
        extent: The rows, in words.
        file: Path of the file.
        names: Name of the column in the file, by path.
        stored: Type of the column in the file, by path.
        unusable: Reason why a column is no field, by its name in the file.
    """

    record: Record
    facts: Mapping[str, Facts]
    rows: int
    extent: str
    file: str
    names: Mapping[str, str]
    stored: Mapping[str, pa.DataType]
    unusable: Mapping[str, str]

    @property
    def is_small(self) -> bool:
        """True if the rows are too few to prove much."""
        return self.rows < _FEW_ROWS

    def is_proven(self, share: float) -> bool:
        """True if a share of the rows is nearly all of them, and they are not too few."""
        return share >= NEARLY and not self.is_small

    def is_in_order(self, time: Leaf) -> bool:
        """True if nearly no event is earlier than the one before."""
        return self.facts[time.path].in_order_share >= NEARLY

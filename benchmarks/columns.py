"""Columns of synthetic events."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from schemas.batch import Column, Kind


def numbered(prefix: str, numbers: npt.NDArray[np.int64], digits: int) -> pa.StringArray:
    """Strings of the prefix and a number each, padded with zeros."""
    padded = pc.utf8_lpad(pa.array(numbers).cast(pa.string()), digits, "0")
    return pc.binary_join_element_wise(prefix, padded, "")


def text(values: pa.StringArray) -> Column:
    """A column of strings without nulls."""
    return without_nulls(Kind.STRING, values)


def without_nulls(kind: Kind, values: npt.NDArray[Any] | pa.StringArray) -> Column:
    """A column that has a value in every row."""
    return Column(kind, values, np.ones(len(values), np.bool_))

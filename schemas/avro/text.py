"""Convert columns to text, in the one form that all derived strings use."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from schemas.batch import Column, Kind


def as_text(column: Column) -> Column:
    """Convert a column to a STRING column; nulls stay null.

    Numbers become decimal digits (a float the shortest digits that give it back), decimals all
    digits of their scale, times ISO 8601 in UTC with microseconds, booleans true and false.
    """
    match column.kind:
        case Kind.STRING:
            return column
        case Kind.TIME:
            moments = np.datetime_as_string(
                column.values.astype("datetime64[us]"), unit="us", timezone="UTC"
            )
            text = pa.array(moments.tolist(), pa.string())
        case Kind.DECIMAL:
            text = pa.array(
                [_decimal(units, column.scale) for units in column.values.tolist()], pa.string()
            )
        case _:
            text = pc.cast(pa.array(column.values), pa.string())
    return Column(Kind.STRING, text, column.valid)


def _decimal(units: int, scale: int) -> str:
    if scale == 0:
        return str(units)
    digits = str(abs(units)).rjust(scale + 1, "0")
    return f"{'-' if units < 0 else ''}{digits[:-scale]}.{digits[-scale:]}"

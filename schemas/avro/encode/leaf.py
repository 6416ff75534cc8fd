"""Encode a column as one Avro primitive, enum or logical type."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from base.arrays import Mask
from base.errors import ConfigurationError
from schemas.avro.encode.body import Body, Present, where_present
from schemas.batch import Column, Kind

_DAY = 86_400_000_000
# Microseconds in one unit of the logical type. A time of day is no instant: it stays a LONG.
_TIME_UNITS = {
    "date": _DAY,
    "timestamp-millis": 1_000,
    "timestamp-micros": 1,
    "local-timestamp-millis": 1_000,
    "local-timestamp-micros": 1,
}
_NANOSECOND_TIMES = {"timestamp-nanos", "local-timestamp-nanos"}
_INT = np.iinfo(np.int32)
_NANOSECOND_BOUND = np.iinfo(np.int64).max // 1_000

Held: TypeAlias = Callable[[Column], tuple[Any, Mask | None]]


@dataclass(frozen=True, slots=True)
class LeafWriter:
    """The encoder of columns for one Avro type.

    Attributes:
        kinds: Kinds of column that the type takes.
        write: Called with (body, path, column, present); raises ValueError, naming the path, for a
            value that does not fit. Values where ``present`` is False are neither written nor
            checked.
        held: Gives the column's values as they are decoded from the bytes of ``write``, and
            bool[N], False for a value that does not fit (None if all fit). Placeholders of nulls
            do not change.
    """

    kinds: tuple[Kind, ...]
    write: Callable[[Body, str, Column, Present], None]
    held: Held


def leaf_writer(schema: str | Mapping[str, Any]) -> LeafWriter | None:
    """The writer for a parsed schema that is neither a union nor a record; None if it has none.

    Plain ``bytes`` and ``fixed``, arrays and maps have no column.
    """
    if isinstance(schema, str):
        return _PRIMITIVES.get(schema)
    avro_type, logical = schema["type"], schema.get("logicalType")
    if avro_type == "enum":
        return _enum(schema["symbols"], schema.get("default"))
    if logical == "decimal" and avro_type in ("bytes", "fixed"):
        return _decimal(schema)
    if avro_type in ("int", "long"):
        if logical in _NANOSECOND_TIMES:
            return LeafWriter((Kind.TIME,), _write_nanoseconds, _held_nanoseconds)
        if logical in _TIME_UNITS:
            return _time(_TIME_UNITS[logical], avro_type)
    # An unknown logical type is to be ignored, says the specification.
    return _PRIMITIVES.get(avro_type) if isinstance(avro_type, str) else None


def _write_boolean(body: Body, _: str, column: Column, present: Present) -> None:
    body.number(column.values, "u1", present)


def _write_long(body: Body, _: str, column: Column, present: Present) -> None:
    body.varint(column.values, present)


def _write_int(body: Body, path: str, column: Column, present: Present) -> None:
    _write_int_values(body, path, column.values, present)


def _write_float(body: Body, _: str, column: Column, present: Present) -> None:
    body.number(column.values, "<f4", present)


def _write_double(body: Body, _: str, column: Column, present: Present) -> None:
    body.number(column.values, "<f8", present)


def _write_string(body: Body, _: str, column: Column, present: Present) -> None:
    body.string(column.values, present)


def _all(column: Column) -> tuple[Any, Mask | None]:
    return column.values, None


def _held_int(column: Column) -> tuple[Any, Mask | None]:
    return column.values, (column.values >= _INT.min) & (column.values <= _INT.max)


def _held_float(column: Column) -> tuple[Any, Mask | None]:
    with np.errstate(over="ignore"):  # infinite, as a float of 32 bits has it
        return column.values.astype(np.float32).astype(np.float64), None


def _held_double(column: Column) -> tuple[Any, Mask | None]:
    return column.values.astype(np.float64), None


def _held_nanoseconds(column: Column) -> tuple[Any, Mask | None]:
    fits = (column.values >= -_NANOSECOND_BOUND) & (column.values <= _NANOSECOND_BOUND)
    return column.values, fits


_PRIMITIVES = {
    "boolean": LeafWriter((Kind.BOOL,), _write_boolean, _all),
    "int": LeafWriter((Kind.LONG,), _write_int, _held_int),
    "long": LeafWriter((Kind.LONG,), _write_long, _all),
    "float": LeafWriter((Kind.DOUBLE, Kind.LONG), _write_float, _held_float),
    "double": LeafWriter((Kind.DOUBLE, Kind.LONG), _write_double, _held_double),
    "string": LeafWriter((Kind.STRING,), _write_string, _all),
}


def _write_int_values(
    body: Body, path: str, values: npt.NDArray[np.int64], present: Present
) -> None:
    values = where_present(values, present)
    if values.min() < _INT.min or values.max() > _INT.max:
        raise ValueError(f"field {path!r} is an int of 32 bits, and a value is out of its range")
    body.varint(values, present)


def _time(unit: int, avro_type: str) -> LeafWriter:
    def write(body: Body, path: str, column: Column, present: Present) -> None:
        values = column.values if unit == 1 else column.values // unit
        if avro_type == "int":
            _write_int_values(body, path, values, present)
        else:
            body.varint(values, present)

    bound = min(np.iinfo(np.int64).max // unit, _INT.max if avro_type == "int" else 2**63)

    def held(column: Column) -> tuple[Any, Mask | None]:
        if unit == 1:
            return column.values, None
        values = column.values // unit
        return values * unit, (values >= -bound) & (values <= bound)

    return LeafWriter((Kind.TIME,), write, held)


def _write_nanoseconds(body: Body, path: str, column: Column, present: Present) -> None:
    values = where_present(column.values, present)
    if max(-int(values.min()), int(values.max())) > _NANOSECOND_BOUND:
        raise ValueError(f"field {path!r} counts nanoseconds, and a time is out of its range")
    body.varint(values * 1_000, present)


def _enum(symbols: list[str], default: str | None) -> LeafWriter:
    known = pa.array(symbols, pa.string())

    def write(body: Body, path: str, column: Column, present: Present) -> None:
        codes = pc.index_in(column.values, known).fill_null(-1).to_numpy()
        if where_present(codes, present).min() < 0:
            raise ValueError(
                f"field {path!r} takes one of {', '.join(symbols)}, and a value is none"
            )
        body.varint(codes, present)

    def held(column: Column) -> tuple[Any, Mask | None]:
        # The default is what a reader makes of the symbols of a newer writer.
        fits = pc.is_in(column.values, known).to_numpy(zero_copy_only=False) | ~column.valid
        if default is None:
            return column.values, fits
        return pc.if_else(pa.array(fits), column.values, default), None

    return LeafWriter((Kind.STRING,), write, held)


def _decimal(schema: Mapping[str, Any]) -> LeafWriter:
    scale, size = schema.get("scale", 0), schema.get("size")
    limit = min(10 ** schema["precision"], 2**63)

    def write(body: Body, path: str, column: Column, present: Present) -> None:
        if column.scale > scale:
            raise ConfigurationError(
                f"field {path!r} has {scale} digits after the point, and the column {column.scale}"
            )
        values = where_present(column.values, present)
        factor = 10 ** (scale - column.scale)
        # Python integers: the product may exceed 64 bits.
        if max(-int(values.min()), int(values.max())) * factor >= limit:
            raise ValueError(
                f"field {path!r} is a decimal of precision {schema['precision']}, "
                "and a value is larger"
            )
        if size is None:
            body.decimal(values * factor, present)
        else:
            body.decimal_fixed(values * factor, size, present)

    def held(column: Column) -> tuple[Any, Mask | None]:
        factor = 10 ** (scale - column.scale)
        bound = (limit - 1) // factor
        return column.values * factor, (column.values >= -bound) & (column.values <= bound)

    return LeafWriter((Kind.DECIMAL,), write, held)

"""Avro primitives, enums and logical types, each of which takes the values of a column."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from base.arrays import Mask, text_parts
from base.errors import ConfigurationError
from schemas.avro.encode.kernel.instructions import DECIMAL, FIXED, MOST_LENGTH, MOST_LONG, WHOLE
from schemas.avro.encode.program import EncoderProgram, Read
from schemas.batch import Column, Kind

# Microseconds in one unit of the logical type. A time of day is no instant: it stays a LONG.
_TIME_UNITS = {
    "date": 86_400_000_000,
    "timestamp-millis": 1_000,
    "timestamp-micros": 1,
    "local-timestamp-millis": 1_000,
    "local-timestamp-micros": 1,
}
_NANOSECOND_TIMES = {"timestamp-nanos", "local-timestamp-nanos"}
_INT = np.iinfo(np.int32)
_LONG = np.iinfo(np.int64)

Write: TypeAlias = Callable[[EncoderProgram, str, int], object]
Held: TypeAlias = Callable[[Column], tuple[Any, Mask | None]]


@dataclass(frozen=True, slots=True)
class LeafType:
    """The encoding of columns as one Avro type.

    Attributes:
        kinds: Kinds of column that the type takes.
        write: Called with (program, path, digits): appends what writes the column of a field with
            so many digits after the point.
        held: Gives the column's values as they are decoded from the bytes of ``write``, and
            bool[N], False for a value that does not fit (None if all fit). Placeholders of nulls
            do not change.
    """

    kinds: tuple[Kind, ...]
    write: Write
    held: Held


def leaf_type(schema: str | Mapping[str, Any]) -> LeafType | None:
    """The type of a parsed schema that is neither a union nor a record; None if it has no column.

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
            return _NANOSECONDS
        if logical in _TIME_UNITS:
            return _time(_TIME_UNITS[logical], avro_type)
    # An unknown logical type is to be ignored, says the specification.
    return _PRIMITIVES.get(avro_type) if isinstance(avro_type, str) else None


def _write(
    operation: int,
    operands: tuple[int, ...],
    room: int,
    problem: str = "",
    read: Read = attrgetter("values"),
) -> Write:
    return lambda program, path, _: program.values(operation, path, operands, room, problem, read)


def _write_string(program: EncoderProgram, path: str, _: int) -> None:
    program.text(path, lambda field: text_parts(field.values), prefixed=True)


def _all(column: Column) -> tuple[Any, Mask | None]:
    return column.values, None


def _floating(size: int) -> LeafType:
    def bits(field: Any) -> Any:
        return field.values.astype(f"<f{size}", copy=False).view(f"<i{size}")

    def held(column: Column) -> tuple[Any, Mask | None]:
        with np.errstate(over="ignore"):  # infinite, as a float of 32 bits has it
            return column.values.astype(f"<f{size}").astype(np.float64), None

    write = _write(FIXED, (size,), size, read=bits)
    return LeafType((Kind.DOUBLE, Kind.LONG), write, held)


def _bounded(kind: Kind, low: int, high: int, factor: int, problem: str) -> LeafType:
    return LeafType(
        (kind,),
        _write(WHOLE, (low, high, 1, factor), MOST_LONG, problem),
        lambda column: (column.values, (column.values >= low) & (column.values <= high)),
    )


_OUT_OF_INT = "is an int of 32 bits, and a value is out of its range"
_OUT_OF_NANOSECONDS = "counts nanoseconds, and a time is out of its range"
_PRIMITIVES = {
    "boolean": LeafType((Kind.BOOL,), _write(DECIMAL, (0, 1, 1, 1), 1), _all),
    "int": _bounded(Kind.LONG, _INT.min, _INT.max, 1, _OUT_OF_INT),
    "long": LeafType((Kind.LONG,), _write(WHOLE, (_LONG.min, _LONG.max, 1, 1), MOST_LONG), _all),
    "float": _floating(4),
    "double": _floating(8),
    "string": LeafType((Kind.STRING,), _write_string, _all),
}
_MOST_MICROS = _LONG.max // 1_000
_NANOSECONDS = _bounded(Kind.TIME, -_MOST_MICROS, _MOST_MICROS, 1_000, _OUT_OF_NANOSECONDS)


def _time(unit: int, avro_type: str) -> LeafType:
    low, high = _LONG.min, _LONG.max
    if avro_type == "int":
        low, high = max(low, _INT.min * unit), min(high, (_INT.max + 1) * unit - 1)
    bound = min(_LONG.max // unit, _INT.max if avro_type == "int" else 2**63)

    def held(column: Column) -> tuple[Any, Mask | None]:
        if unit == 1:
            return column.values, None
        values = column.values // unit
        return values * unit, (values >= -bound) & (values <= bound)

    write = _write(WHOLE, (low, high, unit, 1), MOST_LONG, _OUT_OF_INT)
    return LeafType((Kind.TIME,), write, held)


def _enum(symbols: list[str], default: str | None) -> LeafType:
    known = pa.array(symbols, pa.string())
    problem = f"takes one of {', '.join(symbols)}, and a value is none"

    def places(field: Any) -> Any:
        return pc.index_in(field.values, known).fill_null(-1).to_numpy()

    def held(column: Column) -> tuple[Any, Mask | None]:
        # The default is what a reader makes of the symbols of a newer writer.
        fits = pc.is_in(column.values, known).to_numpy(zero_copy_only=False) | ~column.valid
        if default is None:
            return column.values, fits
        return pc.if_else(pa.array(fits), column.values, default), None

    write = _write(WHOLE, (0, len(symbols) - 1, 1, 1), MOST_LENGTH, problem, places)
    return LeafType((Kind.STRING,), write, held)


def _decimal(schema: Mapping[str, Any]) -> LeafType:
    scale, size, precision = schema.get("scale", 0), schema.get("size", 0), schema["precision"]
    limit = min(10**precision, 2**63)
    problem = f"is a decimal of precision {precision}, and a value is larger"

    def write(program: EncoderProgram, path: str, digits: int) -> None:
        if digits > scale:
            raise ConfigurationError(
                f"field {path!r} has {scale} digits after the point, and the column {digits}"
            )
        factor = 10 ** (scale - digits)
        bound = (limit - 1) // factor
        # A factor above 64 bits is for zeros only.
        operands = -bound, bound, size, factor if bound else 1
        program.values(DECIMAL, path, operands, MOST_LENGTH + (size or 8), problem)

    def held(column: Column) -> tuple[Any, Mask | None]:
        factor = 10 ** (scale - column.scale)
        bound = (limit - 1) // factor
        return column.values * factor, (column.values >= -bound) & (column.values <= bound)

    return LeafType((Kind.DECIMAL,), write, held)

"""Avro primitives, enums and logical types, each of which takes the values of a column."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from base.arrays import Mask
from base.errors import ConfigurationError
from schemas.avro.encode.kernel import instructions
from schemas.avro.encode.kernel.instructions import MOST_LENGTH, MOST_LONG
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
_NANOSECOND_BOUND = _LONG.max // 1_000

_VALUES = attrgetter("values")

Held: TypeAlias = Callable[[Column], tuple[Any, Mask | None]]


class Write(NamedTuple):
    """The instruction that writes values of one type.

    Attributes:
        operation: Operation, as in `instructions`.
        room: Most bytes of a value.
        operands: Operands A to D.
        problem: Message about a value that does not fit, behind the name of the field.
        error: Class of the error with this message.
    """

    operation: int
    room: int
    operands: tuple[int, ...] = ()
    problem: str = ""
    error: type[Exception] = ValueError


@dataclass(frozen=True, slots=True)
class LeafType:
    """The encoding of columns as one Avro type.

    Attributes:
        kinds: Kinds of column that the type takes.
        write: Gives the instruction for a column with this many digits after the point.
        held: Gives the column's values as they are decoded from their bytes, and bool[N], False for
            a value that does not fit (None if all fit). Placeholders of nulls do not change.
        read: Gives the integers that the instruction reads of a field; None for strings.
        symbols: Values that the type has, if they are numbered.
    """

    kinds: tuple[Kind, ...]
    write: Callable[[int], Write]
    held: Held
    read: Callable[[Any], npt.NDArray[np.integer[Any]]] | None
    symbols: tuple[str, ...] = ()


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


def _held_all(column: Column) -> tuple[Any, Mask | None]:
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


def _whole(
    low: int, high: int, divisor: int = 1, factor: int = 1, problem: str = ""
) -> Callable[[int], Write]:
    """The instruction for numbers from ``low`` to ``high``."""
    write = Write(instructions.WHOLE, MOST_LONG, (low, high, divisor, factor), problem)
    return lambda _scale: write


def _fixed(size: int) -> Callable[[int], Write]:
    write = Write(instructions.FIXED, size, (0, 1, size))
    return lambda _scale: write


_OUT_OF_INT = "is an int of 32 bits, and a value is out of its range"
_TEXT = Write(instructions.TEXT, MOST_LENGTH, problem="has strings that lie outside of their bytes")
_PRIMITIVES = {
    "boolean": LeafType((Kind.BOOL,), _fixed(1), _held_all, _VALUES),
    "int": LeafType(
        (Kind.LONG,), _whole(_INT.min, _INT.max, problem=_OUT_OF_INT), _held_int, _VALUES
    ),
    "long": LeafType((Kind.LONG,), _whole(_LONG.min, _LONG.max), _held_all, _VALUES),
    "float": LeafType(
        (Kind.DOUBLE, Kind.LONG),
        _fixed(4),
        _held_float,
        lambda field: field.values.astype(np.float32, copy=False).view(np.int32).ravel(),
    ),
    "double": LeafType(
        (Kind.DOUBLE, Kind.LONG),
        _fixed(8),
        _held_double,
        lambda field: field.values.astype(np.float64, copy=False).view(np.int64).ravel(),
    ),
    "string": LeafType((Kind.STRING,), lambda _scale: _TEXT, _held_all, None),
}
_NANOSECONDS = LeafType(
    (Kind.TIME,),
    _whole(
        -_NANOSECOND_BOUND,
        _NANOSECOND_BOUND,
        factor=1_000,
        problem="counts nanoseconds, and a time is out of its range",
    ),
    _held_nanoseconds,
    _VALUES,
)


def _time(unit: int, avro_type: str) -> LeafType:
    low, high, problem = _LONG.min, _LONG.max, ""
    if avro_type == "int":
        low, high = max(low, _INT.min * unit), min(high, (_INT.max + 1) * unit - 1)
        problem = _OUT_OF_INT
    bound = min(_LONG.max // unit, _INT.max if avro_type == "int" else 2**63)

    def held(column: Column) -> tuple[Any, Mask | None]:
        if unit == 1:
            return column.values, None
        values = column.values // unit
        return values * unit, (values >= -bound) & (values <= bound)

    return LeafType((Kind.TIME,), _whole(low, high, unit, problem=problem), held, _VALUES)


def _enum(symbols: list[str], default: str | None) -> LeafType:
    known = pa.array(symbols, pa.string())
    problem = f"takes one of {', '.join(symbols)}, and a value is none"

    def codes(field: Any) -> npt.NDArray[np.integer[Any]]:
        places: npt.NDArray[np.integer[Any]] = (
            pc.index_in(field.values, known).fill_null(-1).to_numpy()
        )
        return places

    def held(column: Column) -> tuple[Any, Mask | None]:
        # The default is what a reader makes of the symbols of a newer writer.
        fits = pc.is_in(column.values, known).to_numpy(zero_copy_only=False) | ~column.valid
        if default is None:
            return column.values, fits
        return pc.if_else(pa.array(fits), column.values, default), None

    write = Write(instructions.CHOICE, MOST_LENGTH, problem=problem)
    return LeafType((Kind.STRING,), lambda _scale: write, held, codes, tuple(symbols))


def _decimal(schema: Mapping[str, Any]) -> LeafType:
    scale, size, precision = schema.get("scale", 0), schema.get("size", 0), schema["precision"]
    limit = min(10**precision, 2**63)

    def write(digits: int) -> Write:
        factor = 10 ** max(scale - digits, 0)
        bound = (limit - 1) // factor
        # A factor above 64 bits is for zeros only.
        operands = (-bound, bound, size, factor if bound else 1)
        error: type[Exception] = ValueError
        problem = f"is a decimal of precision {precision}, and a value is larger"
        if digits > scale:
            operands = (1, 0, size, 1)  # no value is that
            error = ConfigurationError
            problem = f"has {scale} digits after the point, and the column {digits}"
        return Write(instructions.DECIMAL, MOST_LONG + (size or 8), operands, problem, error)

    def held(column: Column) -> tuple[Any, Mask | None]:
        factor = 10 ** (scale - column.scale)
        bound = (limit - 1) // factor
        return column.values * factor, (column.values >= -bound) & (column.values <= bound)

    return LeafType((Kind.DECIMAL,), write, held, _VALUES)

"""Read container bodies one by one within bounds, for schemas that do not bound their memory."""

from __future__ import annotations

import io
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final

import fastavro

from base.errors import BodyError, ErrorCode, RecordError
from schemas.avro import steps as plan
from schemas.avro.resolution import skip_value
from schemas.avro.row_decoder import RowReader
from schemas.avro.steps import Fault, Step
from schemas.avro.types import Field, Type
from schemas.fastavro_schema import FastavroSchema, decimals

MAX_ITEMS: Final = 10_000
"""Maximum items of an array or map; the same as the default of ``wire.max_collection_items``."""

_NO_BOUND: Final = 2**100
_NONE: Final = b"\0"
_PASSABLE: Final = {ErrorCode.NESTED_TOO_DEEP, ErrorCode.COLLECTION_TOO_LONG}


@dataclass(frozen=True, slots=True)
class Lost:
    """Fault of a body whose end is unknown, so that the start of the next body is unknown too."""

    message: str


@dataclass(frozen=True, slots=True)
class _Keep(Step):
    """Store ``prefix`` and then the bytes that ``steps`` skip."""

    slot: int
    prefix: bytes
    steps: tuple[Step, ...]


class BlockReader:
    """Read the values of dotted names from each body, and skip all other values.

    The bytes of these values are concatenated to the body of a flat record that fastavro decodes.
    """

    def __init__(self, tree: Type, names: Collection[str]) -> None:
        """Prepare the steps of a schema.

        Args:
            tree: Writer schema of the container.
            names: Dotted names of leaves, or of values of a map.
        """
        layout = _Layout(names)
        self._steps = tuple(layout.steps(tree, ""))
        self._passing = tuple(skip_value(tree, ""))
        self._paths = layout.paths
        schema = FastavroSchema(layout.record(), decimals)
        self._schema = fastavro.parse_schema(schema.json)
        schema.restore(self._schema)

    def read(self, data: bytes, rows: int) -> Iterator[dict[str, Any] | RecordError | Lost]:
        """Read ``rows`` bodies from the beginning of ``data``; stop after a ``Lost``."""
        position = 0
        for _ in range(rows):
            slots = [_NONE] * len(self._paths)
            begin = position
            try:
                position = _Keeper(data, MAX_ITEMS, slots).run(self._steps, position, len(data))
            except BodyError as error:
                fault = Fault(error.code, error.path, error.position - begin).as_record_error()
                try:
                    position = self._passed(error.code, data, begin)
                except BodyError:
                    yield Lost(fault.message)
                    return
                yield fault
            else:
                yield self._values(b"".join(slots))

    def _passed(self, code: ErrorCode, data: bytes, position: int) -> int:
        """Return the end of a body that exceeds the bounds, but is valid otherwise.

        Raises:
            BodyError: The body has another fault.
        """
        if code not in _PASSABLE:
            raise BodyError(code, "", position)
        return _Passer(data, _NO_BOUND, []).run(self._passing, position, len(data))

    def _values(self, body: bytes) -> dict[str, Any]:
        record: Any = fastavro.schemaless_reader(
            io.BytesIO(body), self._schema, None, handle_unicode_errors="surrogateescape"
        )
        return {
            path: None if held is None else held["v"]
            for path, held in zip(self._paths, record.values(), strict=True)
        }


class _Layout:
    """Flat record of the values in use: for each path a union of null and the possible types.

    Attributes:
        paths: Path of each field of the flat record.
    """

    def __init__(self, names: Collection[str]) -> None:
        self._names = frozenset(names)
        self._maps = {name.rpartition(".")[0] for name in names}
        self._above = {above for name in names for above in _prefixes(name)}
        self._types: dict[str, list[Type]] = {}

    @property
    def paths(self) -> list[str]:
        return list(self._types)

    def steps(self, declared: Type, path: str) -> list[Step]:
        """Steps through a value that store the parts in use and skip the rest."""
        here = declared.unfolded
        skip = skip_value(declared, path)
        used = path in self._names
        match here.base:
            case "union":
                branches = (tuple(self.steps(branch, path)) for branch in here.branches)
                return [plan.Branch(path, tuple(branches))]
            case "record" if not path or path in self._above:
                placed: list[Step] = [self._keep(path, _NO_VALUE, ())] if used else []
                for item in here.fields:
                    placed += self.steps(item.type, f"{path}.{item.name}" if path else item.name)
                return placed
            case "map" if path in self._maps and is_bounded(here):
                return [self._keep(path, here, skip)]
            case "record" | "array" | "map" if used:
                return [self._keep(path, _NO_VALUE, ()), *skip]
            case "null":
                return []
            case _:
                return [self._keep(path, here, skip)] if used else skip

    def record(self) -> Type:
        """The flat record. Each value is in its own record: a union cannot contain a union."""
        fields = (
            Field(f"f{number}", Type("union", branches=(Type("null"), *map(_boxed, types))))
            for number, types in enumerate(self._types.values())
        )
        return Type("record", fields=tuple(fields))

    def _keep(self, path: str, declared: Type, steps: Sequence[Step]) -> _Keep:
        """Step that stores the value that ``steps`` skip; _NO_VALUE is stored as an empty array."""
        slot = list(self._types).index(path) if path in self._types else len(self._types)
        types = self._types.setdefault(path, [])
        types.append(declared)
        return _Keep(
            path,
            slot,
            _varint(len(types)) + (_NONE if declared is _NO_VALUE else b""),
            tuple(steps),
        )


_NO_VALUE: Final = Type("array", item=Type("null"))
"""Sentinel for a value that is not a single value: an array, or a record beside a used branch."""


class _Keeper(RowReader):
    """Store the bytes of each value in its slot."""

    __slots__ = ()

    def _keep(self, step: _Keep, position: int, end: int) -> int:
        after = self.run(step.steps, position, end)
        self._out[step.slot] = step.prefix + self._data[position:after]
        return after

    _HANDLERS: ClassVar[Mapping[type[Step], Callable[..., int]]] = {
        **RowReader._HANDLERS,  # noqa: SLF001 - a reader of the same kind
        _Keep: _keep,
    }


class _Passer(RowReader):
    """Skip records that contain themselves, with a far larger depth limit than for reading.

    Without a limit, a body could take hundreds of times its own size in memory.
    """

    __slots__ = ()

    _MAX_NESTED: ClassVar = 100_000


def is_bounded(declared: Type) -> bool:
    """Return True if the size and schema of an encoded value bound its memory and stack.

    An array whose items take no bytes can declare billions of items, and a record that contains
    itself can exhaust the stack.
    """
    inner = [*declared.branches, *(item.type for item in declared.fields)]
    if declared.item is not None:
        if declared.base == "array" and not _takes_bytes(declared.item):
            return False
        inner.append(declared.item)
    return declared.base != "recursive" and all(map(is_bounded, inner))


def _takes_bytes(declared: Type) -> bool:
    match declared:
        case Type(base="null") | Type(base="fixed", size=0):
            return False
        case Type(base="record"):
            return any(_takes_bytes(item.type) for item in declared.fields)
        case _:
            return True


def _boxed(declared: Type) -> Type:
    return Type("record", fields=(Field("v", declared),))


def _prefixes(name: str) -> Iterator[str]:
    parts = name.split(".")
    return (".".join(parts[:count]) for count in range(1, len(parts)))


def _varint(number: int) -> bytes:
    """Encode a number above 0 as an Avro long."""
    value, written = number << 1, bytearray()
    while value > 0x7F:
        written.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*written, value])

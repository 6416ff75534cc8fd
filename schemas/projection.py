"""From a writer schema to the steps that decode the paths in use, resolved to the reader schema.

Resolution follows the Avro specification, per path in use: promotions, aliases, defaults, unions
on either side. Names of records, enums and fixed types are not compared, so that a reader schema
need not repeat the writer's namespace. What no path uses is skipped and need not resolve.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple, TypeAlias, cast

from schemas import plan
from schemas.batch import Kind
from schemas.errors import ConfigurationError
from schemas.plan import Step
from schemas.types import Field, Missing, Type

_MICROS: Final = {
    "timestamp-millis": (1_000, 1),
    "timestamp-micros": (1, 1),
    "timestamp-nanos": (1, 1_000),
    "local-timestamp-millis": (1_000, 1),
    "local-timestamp-micros": (1, 1),
    "local-timestamp-nanos": (1, 1_000),
}
_MICROS_PER_DAY: Final = 86_400_000_000
_FIXED_SIZES: Final = {"boolean": 1, "float": 4, "double": 8}
_PROMOTIONS: Final = {
    "boolean": {"boolean"},
    "int": {"int"},
    "long": {"int", "long"},
    "float": {"int", "long", "float"},
    "double": {"int", "long", "float", "double"},
    "string": {"string", "bytes"},
    "bytes": {"bytes"},
    "fixed": {"fixed"},
    "enum": {"enum"},
}


class PathType(NamedTuple):
    """What a path decodes to. scale: digits after the point, for decimals."""

    kind: Kind
    scale: int
    nullable: bool


@dataclass(frozen=True, slots=True)
class Target:
    """A path in use: its place among the columns, its type, and its leaf in the reader schema."""

    slot: int
    path: str
    type: PathType
    leaf: Type


_Wanted: TypeAlias = "Target | _Tree"
_Tree: TypeAlias = dict[str, "_Wanted"]


class IncompatibleError(Exception):
    """The writer's type at a path in use does not resolve to the reader's; says where and why."""


def targets(reader: Type, paths: Iterable[str]) -> tuple[Target, ...]:
    """The targets of ``paths`` in a reader schema, in the order of ``paths``.

    Raises ConfigurationError for a path that does not exist or has no column kind.
    """
    return tuple(_target(slot, path, reader) for slot, path in enumerate(dict.fromkeys(paths)))


def project(writer: Type, reader: Type, wanted: Iterable[Target]) -> tuple[Step, ...]:
    """The steps through a body of ``writer`` that fill the slots of ``wanted``.

    Raises IncompatibleError where no body of this writer could be read.
    """
    tree: _Tree = {}
    for target in wanted:
        *parents, leaf = target.path.split(".")
        node = tree
        for name in parents:
            node = cast("_Tree", node.setdefault(name, {}))
        node[leaf] = target
    return tuple(_record(writer, reader, tree, ""))


def _target(slot: int, path: str, reader: Type) -> Target:
    here, nullable, passed = reader, False, ""
    for name in path.split("."):
        where = f"reader schema {reader.name}, path {path!r}"
        if here.base != "record":
            raise ConfigurationError(f"{where}: {passed!r} is {here.base}, which has no fields.")
        found = next((item for item in here.fields if item.name == name), None)
        if found is None:
            known = ", ".join(item.name for item in here.fields)
            raise ConfigurationError(
                f"{where}: {here.name} has no field {name!r}. It has: {known}. Name one of these."
            )
        passed = _join(passed, name)
        here, optional = _without_null(found.type)
        nullable = nullable or optional
    kind = _kind(here)
    if kind is None:
        raise ConfigurationError(
            f"reader schema {reader.name}, path {path!r}: {_describe(here)} is not a value that a "
            "column holds. Bind a boolean, number, string, enum, time or decimal, or a nullable "
            "union of one with null; paths go through records."
        )
    scale = here.scale if kind is Kind.DECIMAL else 0
    return Target(slot, path, PathType(kind, scale, nullable), here)


def _without_null(declared: Type) -> tuple[Type, bool]:
    """The one type of a nullable union, and whether null is allowed; other types as they are."""
    if declared.base != "union":
        return declared, False
    others = [branch for branch in declared.branches if branch.base != "null"]
    if len(others) != 1:
        return declared, False
    return others[0], len(others) < len(declared.branches)


def _kind(leaf: Type) -> Kind | None:
    match leaf.base:
        case "boolean":
            return Kind.BOOL
        case "int":
            return Kind.TIME if leaf.logical == "date" else Kind.LONG
        case "long":
            return Kind.TIME if leaf.logical in _MICROS else Kind.LONG
        case "float" | "double":
            return Kind.DOUBLE
        case "string" | "enum":
            return Kind.STRING
        case "bytes" | "fixed" if leaf.logical == "decimal":
            return Kind.DECIMAL
        case _:
            return None


def _record(writer: Type, reader: Type, tree: _Tree, path: str) -> list[Step]:
    """The writer's fields in their order, then the defaults of what the writer lacks."""
    fields = {item.name: item for item in reader.fields if item.name in tree}
    declared = {item.name for item in writer.fields}
    by_writer_name = {_writer_name(item, declared): item for item in fields.values()}
    steps: list[Step] = []
    for item in writer.fields:
        here = _join(path, item.name)
        found = by_writer_name.pop(item.name, None)
        if found is None:
            _append(steps, _skip(item.type, here))
        else:
            _append(steps, _value(item.type, found.type, tree[found.name], here))
    for item in by_writer_name.values():
        here = _join(path, item.name)
        if item.default is Missing.DEFAULT:
            raise IncompatibleError(f"the writer has no field {here}, and the reader no default")
        _append(steps, _default(item.default, item.type, tree[item.name], here))
    return steps


def _writer_name(reader_field: Field, declared: set[str]) -> str:
    """The name under which the writer has this field; the reader's own where it has none."""
    names = (reader_field.name, *reader_field.aliases)
    return next((name for name in names if name in declared), reader_field.name)


def _value(writer: Type, reader: Type, wanted: _Wanted, path: str) -> list[Step]:
    if writer.base == "union":
        return [_branches(writer, reader, wanted, path)]
    into, nullable = _without_null(reader)
    if writer.base == "null":
        if nullable:
            return []
        raise IncompatibleError(f"{path} is null, and the reader allows no null")
    if isinstance(wanted, Target):
        return [_read(writer, into, wanted, path)]
    if writer.base != "record":
        raise IncompatibleError(f"{path} is {_describe(writer)}, and the reader has a record")
    return _record(writer, into, wanted, path)


def _branches(writer: Type, reader: Type, wanted: _Wanted, path: str) -> Step:
    """A union whose branches each resolve, or reject the records that take them."""
    branches: list[tuple[Step, ...]] = []
    reasons: list[str] = []
    for branch in writer.branches:
        try:
            branches.append(tuple(_value(branch, reader, wanted, path)))
        except IncompatibleError as error:
            reasons.append(str(error))
            branches.append((plan.Reject(path),))
    if len(reasons) == len(branches):
        raise IncompatibleError("; ".join(reasons))
    return plan.Branch(path, tuple(branches))


def _read(writer: Type, reader: Type, target: Target, path: str) -> Step:
    """The step that reads one leaf."""
    if writer.base not in _PROMOTIONS[reader.base]:
        raise IncompatibleError(
            f"{path} is {_describe(writer)}, and the reader has {_describe(reader)}"
        )
    slot = target.slot
    match writer.base:
        case "boolean":
            return plan.ReadBoolean(target.path, slot)
        case "int" | "long":
            return _read_long(writer, target, path)
        case "float" | "double":
            return plan.ReadFloating(target.path, slot, _FIXED_SIZES[writer.base])
        case "enum":
            return plan.ReadEnum(target.path, slot, _symbol_numbers(writer, reader))
        case "string" | "bytes" if target.type.kind is Kind.STRING:
            return plan.ReadString(target.path, slot)
        case _:
            return _read_decimal(writer, reader, target, path)


def _read_long(writer: Type, target: Target, path: str) -> Step:
    """An integer; a time is taken in the writer's own unit where the writer names one."""
    low, high = plan.LONG_MIN, plan.LONG_MAX
    if writer.base == "int":
        low, high = plan.INT_MIN, plan.INT_MAX
    if target.type.kind is not Kind.TIME:
        double = target.type.kind is Kind.DOUBLE
        return plan.ReadLong(target.path, target.slot, low, high, as_double=double)
    if writer.base == "int" and writer.logical not in (None, "date"):
        raise IncompatibleError(f"{path} is {_describe(writer)}, and the reader has a time")
    unit = writer.logical if writer.logical in _MICROS else target.leaf.logical
    if writer.logical == "date" or unit == "date":
        factor, divisor = _MICROS_PER_DAY, 1
    else:
        factor, divisor = _MICROS[unit or ""]
    if factor > 1:
        low, high = max(low, -(plan.LONG_MAX // factor)), min(high, plan.LONG_MAX // factor)
    return plan.ReadLong(target.path, target.slot, low, high, factor, divisor)


def _read_decimal(writer: Type, reader: Type, target: Target, path: str) -> Step:
    """An unscaled integer; a writer that names no decimal is read as the reader declares."""
    if writer.logical == "decimal" and writer.scale != reader.scale:
        raise IncompatibleError(
            f"{path} is a decimal of scale {writer.scale}, and the reader has scale {reader.scale}"
        )
    if writer.base == "fixed" and writer.size != reader.size:
        raise IncompatibleError(
            f"{path} is fixed of {writer.size} bytes, and the reader has {reader.size}"
        )
    return plan.ReadDecimal(
        target.path, target.slot, writer.size if writer.base == "fixed" else None
    )


def _symbol_numbers(writer: Type, reader: Type) -> tuple[int, ...]:
    fallback = -1 if reader.default is None else reader.symbols.index(reader.default)
    numbers = {symbol: number for number, symbol in enumerate(reader.symbols)}
    return tuple(numbers.get(symbol, fallback) for symbol in writer.symbols)


def _default(value: object, declared: Type, wanted: _Wanted, path: str) -> list[Step]:
    """Steps that fill the targets under a reader's field with its default."""
    if value is None:
        return []
    into, _ = _without_null(declared)
    if isinstance(wanted, Target):
        return [plan.Fill(path, wanted.slot, _constant(value, into, wanted, path))]
    steps: list[Step] = []
    given = value if isinstance(value, dict) else {}
    for item in into.fields:
        if item.name in wanted:
            here = _join(path, item.name)
            inner = given.get(item.name, item.default)
            if inner is Missing.DEFAULT:
                raise IncompatibleError(
                    f"the writer has no field {here}, and the reader no default"
                )
            steps += _default(inner, item.type, wanted[item.name], here)
    return steps


def _constant(value: object, leaf: Type, target: Target, path: str) -> plan.Constant:
    """A default as the column keeps it: micros for times, unscaled units for decimals."""
    try:
        match target.type.kind:
            case Kind.BOOL if isinstance(value, bool):
                return value
            case Kind.DOUBLE if isinstance(value, int | float):
                return float(value)
            case Kind.LONG if isinstance(value, int):
                return value
            case Kind.TIME if isinstance(value, int):
                if leaf.logical == "date":
                    return value * _MICROS_PER_DAY
                factor, divisor = _MICROS[leaf.logical or ""]
                return value * factor // divisor
            case Kind.DECIMAL if isinstance(value, str):
                return int.from_bytes(value.encode("latin-1"), "big", signed=True)
            case Kind.STRING if isinstance(value, str):
                return leaf.symbols.index(value) if leaf.base == "enum" else value
    except ValueError:
        pass
    raise IncompatibleError(f"the reader's default of {path} does not fit its type")


def _skip(declared: Type, path: str) -> list[Step]:
    """Steps that pass one value of a type that no path uses."""
    match declared.base:
        case "null":
            return []
        case "boolean" | "float" | "double":
            return [plan.SkipFixed(path, _FIXED_SIZES[declared.base])]
        case "fixed":
            return [plan.SkipFixed(path, declared.size)] if declared.size else []
        case "int" | "long" | "enum":
            return [plan.SkipLong(path)]
        case "bytes" | "string":
            return [plan.SkipBytes(path)]
        case "record":
            steps: list[Step] = []
            for item in declared.fields:
                _append(steps, _skip(item.type, _join(path, item.name)))
            return steps
        case "union":
            return [plan.Branch(path, tuple(tuple(_skip(b, path)) for b in declared.branches))]
        case _:
            return [_skip_collection(declared, path)]


def _skip_collection(declared: Type, path: str) -> Step:
    item: list[Step] = [plan.SkipBytes(f"{path}{{}}")] if declared.base == "map" else []
    _append(item, _skip(cast("Type", declared.item), f"{path}[]"))
    return plan.SkipCollection(path, tuple(item))


def _append(steps: list[Step], more: list[Step]) -> None:
    """Adds ``more``; neighbouring skips of fixed size become one."""
    for step in more:
        last = steps[-1] if steps else None
        if isinstance(step, plan.SkipFixed) and isinstance(last, plan.SkipFixed):
            steps[-1] = plan.SkipFixed(last.path, last.size + step.size)
        else:
            steps.append(step)


def _describe(declared: Type) -> str:
    return f"{declared.base} ({declared.logical})" if declared.logical else declared.base


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name

"""Resolve a writer schema to a reader schema: the steps that decode the paths in use.

Resolution follows the Avro specification, per path in use: promotions, aliases, defaults, unions
on either side. Names of types are compared only to tell apart the records of a union, so that a
reader schema need not repeat the writer's names. Fields that no path uses are skipped and need not
resolve.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Final, TypeAlias, cast

from base.errors import IncompatibleError
from schemas.avro import steps as plan
from schemas.avro.kernel import codes
from schemas.avro.paths import MICROS, Target, describe, without_null
from schemas.avro.steps import Step
from schemas.avro.types import Field, Missing, RecursiveRecords, Type
from schemas.batch import Kind

_FIXED_SIZES: Final = {"boolean": 1, "float": 4, "double": 8}
_READS: Final = {
    "boolean": codes.READ_BOOLEAN,
    "float": codes.READ_FLOAT,
    "double": codes.READ_DOUBLE,
}
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


_Wanted: TypeAlias = "Target | _Tree"
_Tree: TypeAlias = dict[str, "_Wanted"]
_Skips: TypeAlias = Mapping[str, tuple[Step, ...]]


def project(writer: Type, reader: Type, wanted: Iterable[Target]) -> tuple[Step, ...]:
    """Return the steps through a body of ``writer`` that fill the slots of ``wanted``.

    Raises:
        IncompatibleError: No body of this writer could be read.
    """
    tree: _Tree = {}
    for target in wanted:
        *parents, leaf = target.path.split(".")
        node = tree
        for name in parents:
            node = cast("_Tree", node.setdefault(name, {}))
        node[leaf] = target
    return tuple(_value(writer, reader, tree, ""))


def _record(writer: Type, reader: Type, tree: _Tree, path: str) -> list[Step]:
    """The writer's fields in their order, then the defaults of the fields that the writer lacks."""
    declared = {item.name for item in writer.fields}
    by_writer_name = _matched(declared, reader, tree)
    steps: list[Step] = []
    for item in writer.fields:
        here = _join(path, item.name)
        found = by_writer_name.pop(item.name, None)
        if found is None:
            steps += skip_value(item.type, here)
        else:
            steps += _value(item.type, found.type, tree[found.name], here)
    for item in by_writer_name.values():
        here = _join(path, item.name)
        if item.default is Missing.DEFAULT:
            raise IncompatibleError(f"the writer has no field {here}, and the reader no default")
        steps += _default(item.default, item.type, tree[item.name], here)
    return steps


def _matched(declared: set[str], reader: Type, tree: _Tree) -> dict[str, Field]:
    """The reader's fields in use, by the writer's name; by their own name if the writer lacks them.

    A name has priority over an alias, and a writer's field is used once.
    """
    free = declared - {item.name for item in reader.fields}
    matched: dict[str, Field] = {}
    for item in reader.fields:
        name = item.name
        if name not in declared:
            name = next((alias for alias in item.aliases if alias in free), name)
            free.discard(name)
        if item.name in tree:
            matched[name] = item
    return matched


def _value(writer: Type, reader: Type, wanted: _Wanted, path: str) -> list[Step]:
    writer = writer.unfolded
    if writer.base == "union":
        return [_branches(writer, reader, wanted, path)]
    into, nullable = without_null(reader)
    if writer.base == "null":
        if nullable:
            return []
        raise IncompatibleError(f"{_named(path)} is null, and the reader allows no null")
    if isinstance(wanted, Target):
        return [_read(writer, into, wanted, path)]
    if writer.base != "record":
        raise IncompatibleError(
            f"{_named(path)} is {describe(writer)}, and the reader has a record"
        )
    return _record(writer, into, wanted, path)


def _branches(writer: Type, reader: Type, wanted: _Wanted, path: str) -> Step:
    """A union whose branches each resolve, or reject the records that take them."""
    into, _ = without_null(reader)
    unfolded = [branch.unfolded for branch in writer.branches]
    several = sum(branch.base == "record" for branch in unfolded) > 1
    branches: list[tuple[Step, ...]] = []
    reasons: list[str] = []
    for branch in unfolded:
        try:
            if several and branch.base == "record" and _short(branch) != _short(into):
                raise IncompatibleError(
                    f"{_named(path)} is {branch.name}, and the reader has {into.name}"
                )
            branches.append(tuple(_value(branch, reader, wanted, path)))
        except IncompatibleError as error:
            reasons.append(str(error))
            branches.append((plan.Value(path, codes.REJECT),))
    if len(reasons) == len(branches):
        raise IncompatibleError("; ".join(reasons))
    return plan.Branch(path, tuple(branches))


def _read(writer: Type, reader: Type, target: Target, path: str) -> Step:
    """The step that reads one leaf."""
    if writer.base not in _PROMOTIONS[reader.base]:
        raise IncompatibleError(
            f"{path} is {describe(writer)}, and the reader has {describe(reader)}"
        )
    slot = target.slot
    match writer.base:
        case "int" | "long":
            return _read_long(writer, target, path)
        case "boolean" | "float" | "double":
            return plan.Value(target.path, _READS[writer.base], slot)
        case "enum":
            return plan.ReadEnum(target.path, slot, _symbols(writer, reader))
        case "string" | "bytes" if target.type.kind is Kind.STRING:
            return plan.Value(target.path, codes.READ_TEXT, slot)
        case _:
            return _read_decimal(writer, reader, target, path)


def _read_long(writer: Type, target: Target, path: str) -> Step:
    """An integer; a time is taken in the writer's own unit where the writer names one."""
    low, high = plan.LONG_MIN, plan.LONG_MAX
    if writer.base == "int":
        low, high = plan.INT_MIN, plan.INT_MAX
    if target.type.kind is not Kind.TIME:
        if target.type.kind is Kind.DOUBLE:
            return plan.Value(target.path, codes.READ_LONG_AS_DOUBLE, target.slot, (low, high))
        return plan.Value(target.path, codes.READ_LONG, target.slot, (low, high, 1, 1))
    if writer.logical in ("time-millis", "time-micros"):
        raise IncompatibleError(f"{path} is {describe(writer)}, and the reader has a time")
    unit = writer.logical if writer.logical in MICROS else target.leaf.logical
    factor, divisor = MICROS[unit or ""]
    if factor > 1:
        low, high = max(low, -(plan.LONG_MAX // factor)), min(high, plan.LONG_MAX // factor)
    return plan.Value(target.path, codes.READ_LONG, target.slot, (low, high, factor, divisor))


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
    size = writer.size if writer.base == "fixed" else codes.PREFIXED
    return plan.Value(target.path, codes.READ_DECIMAL, target.slot, (size,))


def _symbols(writer: Type, reader: Type) -> tuple[str | None, ...]:
    """The reader's symbol for each of the writer's; None if it has none and no default."""
    known = set(reader.symbols)
    default = reader.default if reader.default in known else None
    return tuple(symbol if symbol in known else default for symbol in writer.symbols)


def _default(value: object, declared: Type, wanted: _Wanted, path: str) -> list[Step]:
    """Steps that fill the targets under a reader's field with its default."""
    if value is None:
        return []
    into, _ = without_null(declared)
    if isinstance(wanted, Target):
        constant = _constant(value, into, wanted, path)
        return [plan.Value(path, codes.FILL, wanted.slot, (constant,))]
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
    """A default in the form of its column: microseconds for times, unscaled units for decimals."""
    constant: plan.Constant | None = None
    match target.type.kind:
        case Kind.BOOL if isinstance(value, bool):
            constant = value
        case Kind.DOUBLE if isinstance(value, int | float):
            constant = float(value)
        case Kind.LONG if isinstance(value, int):
            constant = value
        case Kind.TIME if isinstance(value, int):
            factor, divisor = MICROS[leaf.logical or ""]
            constant = value * factor // divisor
        case Kind.DECIMAL if isinstance(value, str):
            constant = int.from_bytes(value.encode("latin-1", "replace"), "big", signed=True)
        case Kind.STRING if isinstance(value, str):
            constant = value if leaf.base != "enum" or value in leaf.symbols else None
    fits = not isinstance(constant, int) or plan.LONG_MIN <= constant <= plan.LONG_MAX
    if constant is None or not fits:
        raise IncompatibleError(f"the reader's default of {path} does not fit its type")
    return constant


def skip_value(declared: Type, path: str, within: _Skips | None = None) -> list[Step]:
    """Steps that skip one value of a type that no path uses.

    Args:
        declared: Type of the value.
        path: Path of the value in the writer schema, for messages.
        within: Steps of the recursive records that this type is part of.
    """
    match declared.base:
        case "null":
            return []
        case "boolean" | "float" | "double" | "fixed":
            size = _FIXED_SIZES.get(declared.base, declared.size)
            return [plan.Value(path, codes.SKIP_FIXED, 0, (size,))] if size else []
        case "int" | "long" | "enum":
            return [plan.Value(path, codes.SKIP_LONG)]
        case "bytes" | "string":
            return [plan.Value(path, codes.SKIP_BYTES)]
        case "record":
            return _skip_fields(declared, path, within)
        case "recursive":
            if within is None:
                within = _recursive_skips(cast("RecursiveRecords", declared.records))
            return [plan.SkipRecursive(path, declared.name, within)]
        case "union":
            branches = (tuple(skip_value(branch, path, within)) for branch in declared.branches)
            return [plan.Branch(path, tuple(branches))]
        case _:
            return [_skip_collection(declared, path, within)]


def _skip_fields(record: Type, path: str, within: _Skips | None) -> list[Step]:
    steps: list[Step] = []
    for item in record.fields:
        steps += skip_value(item.type, _join(path, item.name), within)
    return steps


@lru_cache(maxsize=64)
def _recursive_skips(records: RecursiveRecords) -> _Skips:
    """Steps that skip each of the recursive records, by name; they refer to one another."""
    steps: dict[str, tuple[Step, ...]] = {}
    for name, record in records.types.items():
        steps[name] = tuple(_skip_fields(record, _short(record), steps))
    return steps


def _skip_collection(declared: Type, path: str, within: _Skips | None) -> Step:
    item: list[Step] = (
        [plan.Value(f"{path}{{}}", codes.SKIP_BYTES)] if declared.base == "map" else []
    )
    item += skip_value(cast("Type", declared.item), f"{path}[]", within)
    return plan.SkipCollection(path, tuple(item))


def _named(path: str) -> str:
    return path or "the record"


def _short(declared: Type) -> str:
    return declared.name.rpartition(".")[2]


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name

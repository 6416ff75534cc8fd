"""Avro schema of the records of a file, from the columns of its first rows."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from schemas.batch import Kind
from schemas.files.arrow_values import is_text
from schemas.files.values import to_column
from tools.init.first_rows import FirstRows
from tools.init.guess import names_a_key, names_a_time
from tools.init.leaves import words

_RECORD = "Transaction"
_ILLEGAL = re.compile(r"[^A-Za-z0-9_]+")
_DAY = r"^\s*\d{4}-\d{2}-\d{2}"


@dataclass(frozen=True, slots=True)
class SampleSchema:
    """Schema of the records of a sample.

    Attributes:
        schema: The schema, as JSON.
        names: Name of the column in the file, by path in the schema.
        unusable: Reason why a column is not in the schema, by its name in the file.
    """

    schema: dict[str, Any]
    names: dict[str, str]
    unusable: dict[str, str]

    @property
    def aliases(self) -> dict[str, str]:
        """Names in the file that Avro does not allow, by path."""
        return {path: name for path, name in self.names.items() if path != name}

    def without(self, paths: Iterable[str]) -> dict[str, Any]:
        """The schema without these fields, except those inside records."""
        gone = set(paths)
        fields = [field for field in self.schema["fields"] if field["name"] not in gone]
        return {**self.schema, "fields": fields}


def declared_schema(sample: FirstRows) -> SampleSchema:
    """Schema that an Avro container declares; its names are those of the file."""
    return SampleSchema(sample.declared, {name: name for name in sample.columns}, {})


def derive_schema(sample: FirstRows) -> SampleSchema:
    """Derive the schema of the columns: exact types, nullable where the sample has nulls."""
    types: dict[str, Any] = {}
    names: dict[str, str] = {}
    unusable: dict[str, str] = {}
    legal = _LegalNames(sample.columns)
    for name, array in sample.columns.items():
        kind = _avro_type(name, array)
        if kind is None:
            unusable[name] = _why_unusable(array)
        elif not name or not name.isprintable():
            unusable[name] = "its name is empty or has characters that are no text: rename it"
        elif any(other.startswith(f"{name}.") for other in sample.columns):
            unusable[name] = "some rows have a value, others an object"
        else:
            path = legal.path(name)
            names[path] = name
            types[path] = ["null", kind] if array.null_count or _has_nan(kind, array) else kind
    fields = _fields(types, _RECORD)
    return SampleSchema({"type": "record", "name": _RECORD, "fields": fields}, names, unusable)


class _LegalNames:
    """Names that Avro allows for those of a file, different for different ones."""

    def __init__(self, columns: Iterable[str]) -> None:
        self._originals = {part for name in columns for part in name.split(".")}
        self._legal: dict[tuple[str, str], str] = {}

    def path(self, name: str) -> str:
        """Path of a column; a name that Avro allows stays as it is."""
        path = ""
        for part in name.split("."):
            if (path, part) not in self._legal:
                self._legal[path, part] = self._unique(path, part)
            path = f"{path}.{self._legal[path, part]}".lstrip(".")
        return path

    def _unique(self, above: str, part: str) -> str:
        legal = _ILLEGAL.sub("_", part)
        legal = f"_{legal}" if not legal or legal[0].isdigit() else legal
        if legal == part:
            return part
        taken = {own for (parent, _), own in self._legal.items() if parent == above}
        name, number = legal, 2
        while name in taken | self._originals:
            name, number = f"{legal}_{number}", number + 1
        return name


def _fields(types: Mapping[str, Any], record: str) -> list[dict[str, Any]]:
    """Fields of a record; dotted paths become records inside it, whose names are unique."""
    inside: dict[str, dict[str, Any]] = {}
    fields: dict[str, Any] = {}
    for path, kind in types.items():
        name, _, rest = path.partition(".")
        fields[name] = kind
        if rest:
            inside.setdefault(name, {})[rest] = kind
    for name, parts in inside.items():
        own = f"{record}_{name}"
        fields[name] = {"type": "record", "name": own, "fields": _fields(parts, own)}
    return [
        {"name": name, "type": kind, **({"default": None} if isinstance(kind, list) else {})}
        for name, kind in fields.items()
    ]


def _has_nan(kind: Any, array: pa.Array) -> bool:
    """True if NaN stands for null in a column of another type than float."""
    if kind in ("float", "double") or not pa.types.is_floating(array.type):
        return False
    return bool(pc.any(pc.is_nan(array)).as_py())


def _why_unusable(array: pa.Array) -> str:
    if array.null_count == len(array):
        return "all its values are null, a list or an object"
    return f"a feature cannot have values of type {array.type}"


def _avro_type(name: str, array: pa.Array) -> Any:
    """Avro type of a column; None if no field that can be bound holds its values."""
    kind = array.type
    if array.null_count == len(array):
        return None
    if pa.types.is_boolean(kind):
        return "boolean"
    if pa.types.is_integer(kind):
        return _whole_type(array)
    if pa.types.is_floating(kind):
        return _float_type(name, array)
    if pa.types.is_decimal(kind):
        return _decimal_type(kind)
    if pa.types.is_timestamp(kind):
        return _logical("long", f"timestamp-{'millis' if kind.unit in ('s', 'ms') else 'micros'}")
    if pa.types.is_date(kind):
        return _logical("int", "date")
    return _text_type(array) if is_text(kind) else None


def _whole_type(array: pa.Array) -> str:
    if pa.types.is_uint64(array.type) and pc.max(array).as_py() >= 2**63:
        return "string"
    small = array.type.bit_width < 32 or array.type == pa.int32()
    return "int" if small else "long"


def _float_type(name: str, array: pa.Array) -> Any:
    """A float; a long or a time where data frames have made floats of keys and times."""
    if names_a_key(words(name)) and _fits(array, Kind.LONG):
        return "long"
    if names_a_time(words(name)) and _fits(array, Kind.TIME):
        return _logical("long", "timestamp-micros")
    return "double" if array.type == pa.float64() else "float"


def _fits(array: pa.Array, kind: Kind) -> bool:
    column, wrong = to_column(array, kind, 0, "")
    return bool(column.valid.any() and not wrong.any())


def _decimal_type(kind: pa.DataType) -> Any:
    if kind.scale < 0:
        return None
    return {**_logical("bytes", "decimal"), "precision": kind.precision, "scale": kind.scale}


def _text_type(array: pa.Array) -> Any:
    """Text; a time where all values are dates or times in ISO 8601."""
    if not pc.all(pc.match_substring_regex(array, _DAY)).as_py() or not _fits(array, Kind.TIME):
        return "string"
    days = pc.all(pc.match_substring_regex(array, rf"{_DAY}\s*$")).as_py()
    return _logical("int", "date") if days else _logical("long", "timestamp-micros")


def _logical(base: str, logical: str) -> dict[str, Any]:
    return {"type": base, "logicalType": logical}

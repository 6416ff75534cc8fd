"""Random Avro schemas and bodies, and what fastavro says about a body: an oracle for the decoder."""

from __future__ import annotations

import io
import random
from collections.abc import Iterable, Mapping
from typing import Any

import fastavro
from hypothesis import strategies as st

from schemas.batch import Column, Decoded, Kind

PRIMITIVES = ("boolean", "int", "long", "float", "double", "string")
MICROS = {"millis": (1_000, 1), "micros": (1, 1), "nanos": (1, 1_000)}
LOGICAL = (
    *({"type": "long", "logicalType": f"timestamp-{unit}"} for unit in MICROS),
    *({"type": "long", "logicalType": f"local-timestamp-{unit}"} for unit in MICROS),
    {"type": "int", "logicalType": "date"},
    {"type": "int", "logicalType": "time-millis"},
    {"type": "bytes", "logicalType": "decimal", "precision": 20, "scale": 3},
)

Schema = Any


class SchemaMaker:
    """Draws record schemas; every named type gets a name of its own."""

    def __init__(self, draw: st.DrawFn, *, collections: bool) -> None:
        self._draw = draw
        self._names = 0
        self._collections = collections

    def record(self, depth: int) -> Schema:
        name = self._name()
        kinds = self._draw(st.lists(st.sampled_from(self._kinds(depth)), min_size=1, max_size=6))
        fields = [
            {"name": f"f{number}", "type": self._type(kind, depth)}
            for number, kind in enumerate(kinds)
        ]
        return {"type": "record", "name": name, "fields": fields}

    def _kinds(self, depth: int) -> list[str]:
        kinds = ["primitive", "primitive", "logical", "nullable", "enum", "fixed", "decimal"]
        if depth:
            kinds += ["record", "optional record"]
        if depth and self._collections:
            kinds += ["array", "map", "union", "null", "bytes", "chain", "tree"]
        return kinds

    def _type(self, kind: str, depth: int) -> Schema:  # noqa: C901, PLR0911 - one case a kind
        match kind:
            case "primitive":
                return self._draw(st.sampled_from(PRIMITIVES))
            case "logical":
                return self._draw(st.sampled_from(LOGICAL))
            case "nullable":
                inner = self._type(self._draw(st.sampled_from(["primitive", "logical"])), 0)
                return self._draw(st.sampled_from([["null", inner], [inner, "null"]]))
            case "enum":
                symbols = [f"S{number}" for number in range(self._draw(st.integers(1, 4)))]
                return {"type": "enum", "name": self._name(), "symbols": symbols}
            case "fixed":
                size = self._draw(st.integers(0, 5))
                return {"type": "fixed", "name": self._name(), "size": size}
            case "decimal":
                size = self._draw(st.integers(1, 10))
                return {
                    "type": "fixed",
                    "name": self._name(),
                    "size": size,
                    "logicalType": "decimal",
                    "precision": 2,
                    "scale": 1,
                }
            case "record":
                return self.record(depth - 1)
            case "optional record":
                return ["null", self.record(depth - 1)]
            case "array" | "map":
                item = self._type(self._draw(st.sampled_from(self._kinds(depth - 1))), depth - 1)
                return {"type": kind, "items" if kind == "array" else "values": item}
            case "union":
                return ["null", "long", "string", self.record(depth - 1)]
            case "chain" | "tree":
                schema = self.record(depth - 1)
                name = schema["name"]
                link = ["null", name] if kind == "chain" else {"type": "array", "items": name}
                schema["fields"].insert(self._draw(st.integers(0, 1)), {"name": "r", "type": link})
                return schema
            case _:
                return kind

    def _name(self) -> str:
        self._names += 1
        return f"N{self._names}"


@st.composite
def schemas(draw: st.DrawFn, *, collections: bool = True) -> Schema:
    return SchemaMaker(draw, collections=collections).record(2)


def value_of(  # noqa: C901, PLR0911, PLR0912 - likewise
    schema: Schema, rng: random.Random, within: Mapping[str, Schema] | None = None
) -> Any:
    """A raw value (no logical types applied) of a schema. within: the records around it, by name."""
    within = within or {}
    if isinstance(schema, list):
        return value_of(rng.choice(schema), rng, within)
    schema = within.get(schema, schema) if isinstance(schema, str) else schema
    base = schema if isinstance(schema, str) else schema["type"]
    match base:
        case "null":
            return None
        case "boolean":
            return rng.random() < 0.5
        case "int":
            return rng.choice([0, -1, 5, 64, 2**31 - 1, -(2**31), rng.randrange(10**6)])
        case "long":
            return rng.choice([0, -1, 63, 64, 2**40, 10**15 + rng.randrange(99), 2**62, -(2**63)])
        case "float":
            return rng.choice([0.0, -1.5, 1e10])
        case "double":
            return rng.choice([0.0, -1.5, 1e300, rng.random()])
        case "string":
            return rng.choice(["", "a", "käse", "x" * rng.randrange(90), "\0", "😀"])
        case "bytes":
            return rng.randbytes(rng.choice([0, 1, 3, 8, 9, 12]))
        case "fixed":
            return rng.randbytes(schema["size"])
        case "enum":
            return rng.choice(schema["symbols"])
        case "array":
            item = schema["items"]
            lengths = [0, 0, 0, 2] if isinstance(item, str) and item in within else [0, 1, 2, 5]
            return [value_of(item, rng, within) for _ in range(rng.choice(lengths))]
        case "map":
            keys = [f"k{n}" for n in range(rng.choice([0, 1, 3]))]
            return {key: value_of(schema["values"], rng, within) for key in keys}
        case _:
            within = {**within, schema["name"]: schema}
            return {item["name"]: value_of(item["type"], rng, within) for item in schema["fields"]}


def raw(schema: Schema, enum: Schema = None) -> Schema:
    """The schema without logical types, for plain values; enums replaced by ``enum``."""
    if isinstance(schema, list):
        return [raw(branch, enum) for branch in schema]
    if isinstance(schema, str):
        return schema
    if schema["type"] == "enum" and enum is not None:
        return enum
    plain = {k: v for k, v in schema.items() if k not in ("logicalType", "precision", "scale")}
    for key in ("items", "values"):
        if key in plain:
            plain[key] = raw(plain[key], enum)
    if "fields" in plain:
        plain["fields"] = [{**item, "type": raw(item["type"], enum)} for item in plain["fields"]]
    return plain


def finite(schema: Schema) -> Schema:
    """The schema without the fields in which a record contains itself."""
    if isinstance(schema, list):
        return [finite(branch) for branch in schema]
    if isinstance(schema, str):
        return schema
    plain = dict(schema)
    for key in ("items", "values"):
        if key in plain:
            plain[key] = finite(plain[key])
    if "fields" in plain:
        plain["fields"] = [
            {**item, "type": finite(item["type"])}
            for item in plain["fields"]
            if item["name"] != "r"
        ]
    return plain


def careless(schema: Schema) -> Schema:
    """The same bytes under a schema with the faults that writers' schemas have."""
    if isinstance(schema, list):
        return [careless(branch) for branch in schema]
    if isinstance(schema, str):
        return schema
    faulty = dict(schema)
    for key in ("items", "values"):
        if key in faulty:
            faulty[key] = careless(faulty[key])
    match faulty["type"]:
        case "record":
            faulty["fields"] = [
                {**item, "type": careless(item["type"]), "default": [], "aliases": "-"}
                for item in faulty["fields"]
            ]
        case "enum":
            faulty |= {"symbols": [f"{symbol}-é" for symbol in faulty["symbols"]], "default": "-"}
        case "fixed" | "bytes" if faulty.get("logicalType") == "decimal":
            faulty["precision"] = 1_000
        case _ if "logicalType" not in faulty:
            faulty |= {"logicalType": "timestamp-millis", "scale": "x"}
    return faulty


def encode(schema: Schema, value: Any) -> bytes:
    buffer = io.BytesIO()
    fastavro.schemaless_writer(buffer, raw(schema), value)
    return buffer.getvalue()


def fastavro_reads(schema: Schema, body: bytes) -> Any:
    """The raw value of a body, or None where fastavro fails or leaves bytes over.

    Enums are read as their numbers: a number that no symbol has is no fault in what is skipped.
    """
    buffer = io.BytesIO(body)
    numbered = raw(schema, enum={"type": "int"})
    try:
        value = fastavro.schemaless_reader(buffer, numbered, None, handle_unicode_errors="replace")
    except Exception:  # noqa: BLE001 - whatever a decoder raises on bytes that are not Avro
        return None
    return value if buffer.tell() == len(body) else None


def leaves(schema: Schema, path: str = "") -> dict[str, Schema]:
    """The paths that a column can hold, with their types (null taken off)."""
    found: dict[str, Schema] = {}
    for item in schema["fields"]:
        here = f"{path}{item['name']}"
        declared = item["type"]
        if isinstance(declared, list):
            others = [branch for branch in declared if branch != "null"]
            if len(others) != 1:
                continue
            declared = others[0]
        base = declared if isinstance(declared, str) else declared["type"]
        if base == "record":
            found |= leaves(declared, f"{here}.")
        elif base in (*PRIMITIVES, "enum") or (
            isinstance(declared, dict) and declared.get("logicalType") == "decimal"
        ):
            found[here] = declared
    return found


def expected(schema: Schema, record: Any, paths: Iterable[str]) -> dict[str, Any]:
    """What the columns of one record hold: None for null, micros for times, unscaled decimals."""
    leaf = leaves(schema)
    return {path: _at(record, path, leaf[path]) for path in paths}


def _at(record: Any, path: str, leaf: Schema) -> Any:
    for name in path.split("."):
        if record is None:
            return None
        record = record[name]
    logical = leaf.get("logicalType", "") if isinstance(leaf, dict) else ""
    if record is None:
        return None
    if isinstance(leaf, dict) and leaf["type"] == "enum":
        return leaf["symbols"][record]
    if logical == "date":
        return record * 86_400_000_000
    if logical == "decimal":
        return int.from_bytes(record, "big", signed=True)
    if "timestamp" in logical:
        factor, divisor = MICROS[logical.rpartition("-")[2]]
        return record * factor // divisor
    return record


def mutated(body: bytes, rng: random.Random) -> bytes:
    """A body with a few of its bytes changed, lost or added."""
    data = bytearray(body)
    for _ in range(rng.choice([1, 1, 1, 2, 5])):
        place = rng.randrange(len(data) + 1)
        match rng.randrange(6):
            case 0:
                del data[place:]
            case 1:
                data[place:place] = rng.randbytes(rng.randrange(1, 4))
            case 2:
                data[place:place] = b"\xff" * rng.choice([1, 8, 9, 10, 11])
            case 3:
                del data[place : place + rng.randrange(1, 4)]
            case _ if data:
                data[place - 1] = rng.choice([0, 1, 2, 3, 0x7F, 0x80, 0xFF, rng.randrange(256)])
    return bytes(data)


def row(decoded: Decoded, number: int) -> dict[str, Any]:
    """One row of the columns: None where it is null."""
    return {path: _cell(column, number) for path, column in decoded.columns.items()}


def _cell(column: Column, number: int) -> Any:
    values = column.values
    cell = values[number].as_py() if column.kind is Kind.STRING else values[number].item()
    if column.valid[number]:
        return cell
    assert cell in ("", 0), "a null cell holds the empty value of its kind"
    return None


def same(left: Mapping[str, Any], right: Mapping[str, Any]) -> bool:
    """Equality of rows in which NaN equals itself and -0.0 differs from 0.0."""
    return left.keys() == right.keys() and all(repr(left[k]) == repr(right[k]) for k in left)

"""Fields of the reader schema, and the resolution of what features.yaml binds to them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from base.errors import ConfigurationError, SchemaRefusedError
from base.suggest import unknown
from base.yaml_document import Location, YamlDocument
from features.definition.bindings import (
    AmountBinding,
    Bindings,
    EntityBinding,
    FieldBinding,
    KeyPart,
    LabelBinding,
    TimeBinding,
)
from features.definition.event_spec import AmountSpec, EventsSpec, TimeSpec
from features.definition.spec import FeaturesFile
from features.values.tokens import TokenKey
from schemas.avro.paths import PathType, describe, targets, without_null
from schemas.avro.types import Type, parse_record_schema
from schemas.batch import Kind

_INT64_MAX = 2**63 - 1
_KEYS = "an id or key is text or a whole number"
_TIMES = "an event time is a timestamp or a long"
_AMOUNTS = "an amount is a number or a decimal"
_LEAVES = frozenset({"boolean", "int", "long", "float", "double", "string", "enum"})


class SchemaFields:
    """The reader schema of a feature set, and the types of its paths."""

    def __init__(self, schema: dict[str, Any], root: Type) -> None:
        self.schema = schema
        self._root = root
        self.known = {path: self.type_of(path) for path in _usable(root, "")}

    @classmethod
    def read(cls, path: Path) -> SchemaFields:
        """Read the schema file at ``path``; ConfigurationError if it is missing or invalid."""
        try:
            schema = json.loads(path.read_text(encoding="utf-8-sig"))
        except OSError as error:
            raise ConfigurationError(f"schema {path} cannot be read: {error.strerror}") from error
        except (ValueError, RecursionError) as error:
            raise ConfigurationError(f"schema {path} is not JSON: {error}") from error
        try:
            return cls(schema, parse_record_schema(schema))
        except SchemaRefusedError as error:
            raise ConfigurationError(f"schema {path} cannot be used: {error}") from error

    def type_of(self, path: str) -> PathType:
        """The type that ``path`` decodes to; ConfigurationError if it has no column kind."""
        return targets(self._root, (path,))[0].type

    def read_as_text(self, paths: Iterable[str]) -> None:
        """Take the fields at ``paths`` for text, as their values are replaced by tokens."""
        self.known |= {path: self.known[path]._replace(kind=Kind.STRING) for path in paths}

    def describe_unusable(self, path: str) -> str:
        """Reason that the type of the field at ``path`` cannot be used; "" for an unknown field."""
        here, passed = self._root, ""
        for name in path.split("."):
            if here.base != "record":
                return f"{passed} is of type {describe(here)}, which has no fields to name"
            field = next((field for field in here.fields if field.name == name), None)
            if field is None:
                return ""
            passed = f"{passed}.{name}" if passed else name
            here, _ = without_null(field.type)
        inner = next(iter(here.fields), None)
        hint = "" if inner is None else f": name a field in it, such as {path}.{inner.name}"
        return f"{path} is of type {describe(here)}, not a value that a column holds{hint}"


def _usable(record: Type, prefix: str) -> Iterator[str]:
    """Dotted paths, through records and nullable records, whose leaf has a column kind."""
    for field in record.fields:
        path = f"{prefix}{field.name}"
        inner = field.type
        if inner.base == "union":
            others = [branch for branch in inner.branches if branch.base != "null"]
            if len(others) != 1:
                continue
            inner = others[0]
        if inner.base == "record":
            yield from _usable(inner, f"{path}.")
        elif inner.base in _LEAVES or inner.logical == "decimal":
            yield path


def path_type(
    document: YamlDocument,
    location: Location,
    path: str,
    fields: SchemaFields,
    takes: str = "bind a boolean, number, text, enum, time or decimal",
) -> PathType:
    """The type that ``path`` decodes to.

    Args:
        document: features.yaml.
        location: Place of ``path`` in the document.
        path: Dotted path of the field.
        fields: Fields of the reader schema.
        takes: Description of the accepted types, for the message.

    Raises:
        ConfigurationError: The path has no type that can be decoded; points at ``location``.
    """
    if path in fields.known:
        return fields.known[path]
    try:
        return fields.type_of(path)
    except ConfigurationError as error:
        if unusable := fields.describe_unusable(path):
            raise document.refuse(location, f"{unusable}; {takes}") from error
        hint = unknown("field", path, fields.known)
        message = hint if "did you mean" in hint else str(error)
        raise document.refuse(location, message) from error


def resolve_bindings(document: YamlDocument, file: FeaturesFile, fields: SchemaFields) -> Bindings:
    """Resolve the bindings of ``file``; ConfigurationError points at the first invalid one."""
    events = file.events
    _check_aliases(document, events, fields)
    tokens: dict[str, str] = {}
    for name, spec in file.entities.items():
        if spec.field is not None and spec.token is not None:
            tokens.setdefault(spec.field, name)
    key = _token_key(document, file, tokens)
    entities = {
        name: _entity(document, name, file, fields, dict.fromkeys(tokens, key))
        for name in file.entities
    }
    partition_key = None
    if events.partition_key is not None:
        location: Location = ("events", "partition_key")
        partition_key = _key(document, location, events.partition_key, fields)
    return Bindings(
        event_id=_key(document, ("events", "id"), events.id, fields),
        event_time=_time(document, events.time, fields),
        amount=_amount(document, events.amount, fields) if events.amount else None,
        partition_key=partition_key,
        entities=entities,
        label=LabelBinding(events.label.field, events.label.delay) if events.label else None,
        tokens=tokens,
        token_key=key,
    )


def _entity(
    document: YamlDocument,
    name: str,
    file: FeaturesFile,
    fields: SchemaFields,
    tokens: Mapping[str, TokenKey | None],
) -> EntityBinding:
    location: Location = ("entities", name)
    parts = file.entities[name].parts
    places: Sequence[str | int] = range(len(parts)) if len(parts) > 1 else ["field"]
    entity = EntityBinding(
        tuple(
            KeyPart(
                _key(document, (*location, place), part.field, fields),
                part.nullable,
                tokens.get(part.field),
            )
            for place, part in zip(places, parts, strict=True)
        )
    )
    if entity.is_made and (name in fields.known or name in file.events.aliases.values()):
        raise document.refuse_key(
            location,
            f"{name} is a field of the events, and in files the name of an entity whose key has "
            "several fields or a token is that of a column with its keys: rename the entity",
        )
    return entity


def _token_key(
    document: YamlDocument, file: FeaturesFile, tokens: Mapping[str, str]
) -> TokenKey | None:
    """The key of all tokens; ``tokens`` has the entity of each field with tokens."""
    key, first = None, ""
    for name, spec in file.entities.items():
        if spec.token is None or spec.field is None:
            continue
        location: Location = ("entities", name, "token", "key_file")
        if tokens[spec.field] != name:
            raise document.refuse(
                ("entities", name),
                f"{spec.field} has a token in {tokens[spec.field]} already, which holds wherever "
                f"the field is used: write {name}: {spec.field}",
            )
        if key is not None:
            if spec.token.key_file != first:
                raise document.refuse(location, f"all tokens have one key: name {first} here, too")
            continue
        first = spec.token.key_file
        try:
            key = TokenKey.read(document.path.parent / first)
        except ConfigurationError as error:
            raise document.refuse(location, f"{name}: {error}") from error
    events = file.events
    # Labels name their events by the id.
    others = {"id": events.id, "time": events.time.field}
    others |= {"amount": events.amount.field} if events.amount else {}
    for place, path in others.items():
        if path in tokens:
            raise document.refuse(
                ("events", place), f"{path} has a token in entities.{tokens[path]}: bind another"
            )
    return key


def _key(
    document: YamlDocument, location: Location, path: str, fields: SchemaFields
) -> FieldBinding:
    bound = path_type(document, location, path, fields, _KEYS)
    if bound.kind not in (Kind.STRING, Kind.LONG):
        raise document.refuse(location, f"{path} is {bound.kind.value}; {_KEYS}")
    return FieldBinding(path, bound.kind)


def _time(document: YamlDocument, time: TimeSpec, fields: SchemaFields) -> TimeBinding:
    location: Location = ("events", "time")
    bound = path_type(document, location, time.field, fields, _TIMES)
    if bound.kind is Kind.TIME:
        if time.unit is not None:
            raise document.refuse(
                (*location, "unit"),
                f"{time.field} is a timestamp, which has a unit: remove unit",
            )
        return TimeBinding(time.field, bound.kind, None)
    if bound.kind is not Kind.LONG:
        raise document.refuse(location, f"{time.field} is {bound.kind.value}; {_TIMES}")
    if time.unit is None:
        raise document.refuse(
            location,
            f"{time.field} is a plain number: add its unit, "
            f"time: {{field: {time.field}, unit: ms}} (s, ms, us or ns)",
        )
    return TimeBinding(time.field, bound.kind, time.unit)


def _amount(document: YamlDocument, amount: AmountSpec, fields: SchemaFields) -> AmountBinding:
    location: Location = ("events", "amount")
    bound = path_type(document, location, amount.field, fields, _AMOUNTS)
    if bound.kind not in (Kind.DOUBLE, Kind.DECIMAL, Kind.LONG):
        raise document.refuse(location, f"{amount.field} is {bound.kind.value}; {_AMOUNTS}")
    minimum = None
    if amount.min is not None:
        minor = amount.min.scaleb(amount.scale)
        if minor != minor.to_integral_value() or abs(minor) > _INT64_MAX:
            raise document.refuse(
                (*location, "min"),
                f"{amount.min} is not a whole number of minor units at scale {amount.scale}",
            )
        minimum = int(minor)
    source = FieldBinding(amount.field, bound.kind, bound.scale)
    return AmountBinding(source, amount.scale, minimum)


def _check_aliases(document: YamlDocument, events: EventsSpec, fields: SchemaFields) -> None:
    label = {events.label.field} if events.label else set()
    for path, alias in events.aliases.items():
        location: Location = ("events", "aliases", path)
        if path not in fields.known and path not in label:
            hint = unknown("field", path, set(fields.known) | label)
            raise document.refuse_key(location, fields.describe_unusable(path) or hint)
        if alias in fields.known:
            raise document.refuse(location, f"{alias} is itself a field of the schema")

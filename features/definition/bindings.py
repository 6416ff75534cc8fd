"""Event fields that features.yaml binds: id, time, amount, keys and label."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import pyarrow as pa

from base.arrays import Mask
from features.values.key_texts import are_keys
from schemas.batch import Kind


@dataclass(frozen=True, slots=True)
class FieldBinding:
    """A field, by its dotted path, and the kind and scale of its column."""

    path: str
    kind: Kind
    scale: int = 0

    def canonical(self) -> dict[str, Any]:
        """Definition for fingerprints: the parts of the binding that change values."""
        return {"path": self.path, "kind": self.kind.value, "scale": self.scale}


class KeyPart(NamedTuple):
    """Field of an entity key, and True if the key of an event may lack it."""

    field: FieldBinding
    nullable: bool = False


@dataclass(frozen=True, slots=True)
class EntityBinding:
    """Key of an entity: one field, or several parts as one text of `features.values.key_texts`."""

    parts: tuple[KeyPart, ...]

    @property
    def is_composite(self) -> bool:
        return len(self.parts) > 1

    @property
    def paths(self) -> tuple[str, ...]:
        """Paths of the fields, in the order of the parts."""
        return tuple(part.field.path for part in self.parts)

    def are_keys(self, texts: pa.StringArray) -> Mask:
        """bool[N], True for the texts that are keys with as many parts, which may be null."""
        return are_keys(texts, [part.nullable for part in self.parts])

    def canonical(self) -> Any:
        """Definition for fingerprints: the parts of the binding that change values."""
        fields = [part.field.canonical() for part in self.parts]
        return fields if self.is_composite else fields[0]


@dataclass(frozen=True, slots=True)
class TimeBinding:
    """The event time.

    Attributes:
        path: Dotted path of the field.
        kind: Kind of its column.
        unit: s, ms, us or ns for a plain number; None for a logical type.
    """

    path: str
    kind: Kind
    unit: str | None

    @property
    def units(self) -> dict[str, str]:
        """The unit by path, where the field is a plain number."""
        return {} if self.unit is None else {self.path: self.unit}

    def canonical(self) -> dict[str, Any]:
        return {"path": self.path, "kind": self.kind.value, "unit": self.unit}


@dataclass(frozen=True, slots=True)
class AmountBinding:
    """The amount.

    Attributes:
        source: Field that holds the amount.
        scale: Decimal digits of the minor unit.
        minimum: Smallest valid amount in minor units, or None.
    """

    source: FieldBinding
    scale: int
    minimum: int | None

    def canonical(self) -> dict[str, Any]:
        return {**self.source.canonical(), "minor_scale": self.scale}


@dataclass(frozen=True, slots=True)
class LabelBinding:
    """The label, a field of files only.

    Attributes:
        field: Name of the field.
        delay: Microseconds from the event until its label is known.
    """

    field: str
    delay: int


@dataclass(frozen=True, slots=True)
class Bindings:
    """Bindings of all event fields in features.yaml.

    Attributes:
        event_id: Event id.
        event_time: Event time.
        amount: Amount, or None.
        partition_key: Partition key, or None.
        entities: Key of each entity.
        label: Label, or None.
    """

    event_id: FieldBinding
    event_time: TimeBinding
    amount: AmountBinding | None
    partition_key: FieldBinding | None
    entities: Mapping[str, EntityBinding]
    label: LabelBinding | None

    def paths(self) -> frozenset[str]:
        """The paths that ``bind`` reads."""
        paths = {self.event_id.path, self.event_time.path}
        if self.partition_key:
            paths.add(self.partition_key.path)
        if self.amount:
            paths.add(self.amount.source.path)
        return frozenset(paths).union(*(entity.paths for entity in self.entities.values()))

    def origins(self) -> dict[str, Any]:
        """Definition of key, id and time of the events of each entity's histories."""
        event = [self.event_id.canonical(), self.event_time.canonical()]
        return {name: [key.canonical(), *event] for name, key in self.entities.items()}


@dataclass(frozen=True, slots=True)
class ValueBounds:
    """Bound on the absolute value of fields that windows keep as whole numbers.

    Attributes:
        fields: Number of decimal digits that are kept of a DOUBLE, by path; None for other kinds.
        largest: Largest absolute value.
    """

    fields: Mapping[str, int | None]
    largest: int

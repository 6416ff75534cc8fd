"""Event fields that features.yaml binds: id, time, amount, keys and label."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pyarrow as pa

from base.arrays import Mask, byte_lengths
from features.values.key_texts import MAX_KEY_BYTES, NO_PART, PART, are_keys, encode
from features.values.tokens import TokenKey
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
    """Field of an entity key.

    Attributes:
        field: The field.
        nullable: True if the key of an event may lack it.
        tokens: Key of the tokens that take the place of its values; None if it has none.
    """

    field: FieldBinding
    nullable: bool = False
    tokens: TokenKey | None = None

    @property
    def pattern(self) -> str:
        """Regular expression (RE2) of the texts that it has in a key of several fields."""
        texts = PART if self.tokens is None else self.tokens.pattern
        return f"(?:{texts}|{NO_PART})" if self.nullable else f"(?:{texts})"


@dataclass(frozen=True, slots=True)
class EntityBinding:
    """Key of an entity: one field, or several parts as one text of `features.values.key_texts`."""

    parts: tuple[KeyPart, ...]

    @property
    def is_composite(self) -> bool:
        return len(self.parts) > 1

    @property
    def is_made(self) -> bool:
        """True if the key is made from its fields: joined, or with tokens in it."""
        return self.is_composite or self.has_tokens

    @property
    def has_tokens(self) -> bool:
        return any(part.tokens is not None for part in self.parts)

    @property
    def paths(self) -> tuple[str, ...]:
        """Paths of the fields, in the order of the parts."""
        return tuple(part.field.path for part in self.parts)

    @property
    def form(self) -> str:
        """Text of a key that is made, in words."""
        keys = {part.tokens.id for part in self.parts if part.tokens is not None}
        under = f" with a token of key {keys.pop()}" if keys else ""
        if self.is_composite:
            return f"a text made of {', '.join(self.paths)}{under}"
        return under.removeprefix(" with ")

    def are_keys(self, texts: pa.StringArray) -> Mask:
        """bool[N], True for the texts that are keys of this entity, which is made."""
        return are_keys(texts, [part.pattern for part in self.parts])

    def join(self, parts: Sequence[pa.StringArray]) -> tuple[pa.StringArray, Mask]:
        """Make N keys of the texts of the parts, as `encode` does; tokens are already in them."""
        if self.is_composite:
            return encode(parts)
        return parts[0], byte_lengths(parts[0]) > MAX_KEY_BYTES

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
        tokens: Entity whose keys are the tokens of a field, by the field's path.
        token_key: Key of all tokens; None if there are none.
    """

    event_id: FieldBinding
    event_time: TimeBinding
    amount: AmountBinding | None
    partition_key: FieldBinding | None
    entities: Mapping[str, EntityBinding]
    label: LabelBinding | None
    tokens: Mapping[str, str] = field(default_factory=dict)
    token_key: TokenKey | None = None

    @property
    def record_tokens(self) -> TokenKey | None:
        """Key of the tokens that take the place of the keys of records; None if they stay.

        Without a partition key it is not known what is in them.
        """
        key = self.partition_key
        return self.token_key if key is None or key.path in self.tokens else None

    @property
    def tokens_of(self) -> str | None:
        """Fingerprint of the key of all tokens, for definitions; None if there are none."""
        return None if self.token_key is None else self.token_key.fingerprint

    def paths(self) -> frozenset[str]:
        """The paths that ``bind`` reads."""
        paths = {self.event_id.path, self.event_time.path}
        if self.partition_key:
            paths.add(self.partition_key.path)
        if self.amount:
            paths.add(self.amount.source.path)
        return frozenset(paths).union(*(entity.paths for entity in self.entities.values()))

    def origins(self) -> dict[str, Any]:
        """Definition of key, id, time, tokens and validity of the events of each entity."""
        parts = (part for entity in self.entities.values() for part in entity.parts)
        validity = [
            sorted({part.field.path for part in parts if part.nullable}),
            self.amount.minimum if self.amount else None,
        ]
        event = [self.event_id.canonical(), self.event_time.canonical(), self.tokens_of, validity]
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

"""Fields of a schema that can be bound, with the words of their names."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from features.definition.event_fields import SchemaFields
from schemas.avro.paths import targets
from schemas.avro.types import parse_record_schema
from schemas.batch import Kind

# Short forms that names use, and the word that each stands for.
_MEANT = {
    "acct": "account",
    "amt": "amount",
    "cc": "card",
    "cust": "customer",
    "dev": "device",
    "merch": "merchant",
    "pan": "card",
    "term": "terminal",
    "trans": "transaction",
    "trx": "transaction",
    "tx": "transaction",
    "txn": "transaction",
    "usr": "user",
}
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
_GLUED = re.compile(r"([a-z]{2,})(id|uuid|number|num|time|date|amount)")


@dataclass(frozen=True, slots=True)
class Leaf:
    """One field of a schema.

    Attributes:
        path: Dotted path of the field.
        kind: Kind of its values.
        scale: Scale of a decimal or a time.
        nullable: True if it may be null.
        words: Words of its whole path; the last ones are those of its own name.
        own: Number of words of its own name.
        symbols: Symbols of an enum.
        logical: Logical type; None without one.
    """

    path: str
    kind: Kind
    scale: int
    nullable: bool
    words: tuple[str, ...]
    own: int
    symbols: tuple[str, ...]
    logical: str | None

    @property
    def name(self) -> str:
        return self.path.rpartition(".")[2]

    @property
    def own_words(self) -> tuple[str, ...]:
        return self.words[-self.own :] if self.own else ()


@dataclass(frozen=True, slots=True)
class Record:
    """Record of a schema.

    Attributes:
        words: Words of its name.
        leaves: Its fields, in their order.
    """

    words: tuple[str, ...]
    leaves: tuple[Leaf, ...]


def read_record(path: Path) -> Record:
    """Read the record in a schema file. Raises ConfigurationError."""
    return record_of(SchemaFields.read(path))


def record_of(fields: SchemaFields) -> Record:
    """Record of a reader schema."""
    root = parse_record_schema(fields.schema)
    leaves = tuple(
        Leaf(
            path=target.path,
            kind=target.type.kind,
            scale=target.type.scale,
            nullable=target.type.nullable,
            words=words(target.path),
            own=len(words(target.path.rpartition(".")[2])),
            symbols=target.leaf.symbols,
            logical=target.leaf.logical,
        )
        for target in targets(root, fields.known)
    )
    return Record(words(root.name.rpartition(".")[2]), leaves)


def words(name: str) -> tuple[str, ...]:
    """Split a name such as ``card.accountNumber`` or ``cust_txid``; expand short forms."""
    found: list[str] = []
    for word in _WORD.findall(name):
        lower = word.lower()
        glued = _GLUED.fullmatch(lower)
        parts = (glued[1], glued[2]) if glued and _is_noun(glued[1]) else (lower,)
        found += [_MEANT.get(part, part) for part in parts]
    return tuple(found)


def _is_noun(word: str) -> bool:
    return word in _MEANT or word in _NOUNS


_NOUNS = frozenset(
    {*_MEANT.values(), "cardholder", "client", "event", "member", "order", "payment"}
)

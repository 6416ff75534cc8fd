"""Entity keys in the columns of a lookup file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

import numpy as np
import pyarrow as pa

from base.arrays import Mask, byte_lengths
from base.errors import ConfigurationError
from base.file_path import FilePath
from features.definition.bindings import KeyPart
from features.definition.feature_set import FeatureSet
from features.values.key_texts import MAX_KEY_BYTES
from schemas.batch import Kind
from schemas.files.arrow_values import plain
from schemas.files.values import to_column


class KeyColumns:
    """Columns of a lookup file with the keys of an entity.

    Each field of the key has a column, by its own name or its alias. The column with the name of
    the entity has the keys of one field as well, and otherwise whole keys as texts.

    Attributes:
        names: Names of the columns.

    Raises:
        ConfigurationError: The file lacks a column, has it twice, or with values of another type.
    """

    def __init__(
        self, feature_set: FeatureSet, entity: str, path: FilePath, schema: pa.Schema
    ) -> None:
        self._entity = entity
        self._key = feature_set.bindings.entities[entity]
        self._path = path
        self._present = schema.names
        fields = [[path, feature_set.aliases.get(path, path)] for path in self._key.paths]
        if not self._key.is_made:
            self.names = [self._one_of([*fields[0], entity])]
        elif entity in schema.names:
            self.names = [self._one_of([entity, *(name for names in fields for name in names)])]
        else:
            self.names = [self._one_of(names) for names in fields]
        for name in self.names:
            require_type(path, schema, name, "text or a whole number", _is_key)

    def read(self, batch: pa.RecordBatch, first: int) -> pa.StringArray:
        """StringArray[N], the keys of N rows, of which the first has this number in messages.

        Raises:
            ConfigurationError: A key is invalid.
        """
        names, key = self.names, self._key
        if key.is_made and names == [self._entity]:
            keys = self._texts(batch, names[0], first)
            self._refuse_row(~key.are_keys(keys), first, f"{names[0]} is not {key.form}")
            return keys
        parts = zip(names, key.parts, strict=True)
        keys, long = key.join([self._part(batch, *of, first) for of in parts])
        self._refuse_row(long, first, f"{' and '.join(names)} is longer than {MAX_KEY_BYTES} bytes")
        return keys

    def _part(self, batch: pa.RecordBatch, name: str, part: KeyPart, first: int) -> pa.StringArray:
        texts = self._texts(batch, name, first, nullable=part.nullable)
        return texts if part.tokens is None else part.tokens.tokens(texts)

    def _texts(
        self, batch: pa.RecordBatch, name: str, first: int, *, nullable: bool = False
    ) -> pa.StringArray:
        column, bad = to_column(
            plain(batch.column(name)), Kind.STRING, 0, f"{self._path}: column {name}"
        )
        self._refuse_row(
            bad, first, f"{name} is not a whole number, or one that a float does not hold exactly"
        )
        texts = cast("pa.StringArray", column.values)
        if not nullable:
            self._refuse_row(~column.valid, first, f"{name} is null")
            self._refuse_row(byte_lengths(texts) == 0, first, f"{name} is empty")
        return texts

    def _refuse_row(self, wrong: Mask, first: int, what: str) -> None:
        refuse_row(self._path, wrong, first, what)

    def _one_of(self, names: Sequence[str]) -> str:
        """The only one of these names that the file has."""
        names = list(dict.fromkeys(names))
        present = [name for name in names if name in self._present]
        if len(present) != 1:
            state = f"has both {' and '.join(present)}" if present else "has no column for the key"
            raise ConfigurationError(
                f"{self._path} {state} of entity {self._entity}: name exactly one "
                f"{' or '.join(names)}"
            )
        return present[0]


def refuse_row(path: FilePath, wrong: Mask, first: int, what: str) -> None:
    """Raise ConfigurationError for the first wrong row of a part of a lookup file, if there is one.

    Args:
        path: The file.
        wrong: bool[N].
        first: Number of the first row of the part.
        what: Fault of the row.
    """
    if wrong.any():
        row = first + int(np.argmax(wrong))
        raise ConfigurationError(
            f"{path}: row {row}: {what}; {int(wrong.sum())} such rows near it. Correct or leave out "
            "these rows; nothing was written"
        )


def require_type(
    path: FilePath, schema: pa.Schema, name: str, wanted: str, fits: Callable[[pa.DataType], bool]
) -> None:
    """Raise ConfigurationError if a column of a lookup file has another type than ``wanted``."""
    kind = schema.field(name).type
    if not fits(plain(pa.array([], kind)).type):
        raise ConfigurationError(f"{path}: column {name} is {kind}, not {wanted}")


def _is_key(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(
        pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_integer(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_decimal(kind)
    )

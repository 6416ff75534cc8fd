"""Read labels from decoded columns and from files: fraud or not, and when that was known."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from base.arrays import Longs, RowErrors, byte_lengths
from base.errors import ConfigurationError, ErrorCode, RecordError
from base.file_path import FilePath
from features.definition import FeatureSet
from features.definition.bindings import EntityBinding, KeyPart
from features.loading.label_rows import FILE_PARTITION, UNKNOWN, LabelRows
from features.values.column_values import text
from features.values.key_texts import MAX_KEY_BYTES
from schemas.batch import Column, Decoded, Kind, Refusal, refusals
from schemas.files.read import Aliases, FileChunk, PathTypes, count_rows, read_chunks

_KEY = "entity_keys."
_PART = "key_parts."
_SOURCE = "source"


class LabelFields:
    """Reader of labels from decoded columns.

    A field has its name in ``label.avsc``, the name that events have for it, or that name's alias.
    An entity's key may also have the entity's name. A key of several fields is one text under this
    name, or has its fields; one with a token is the token under this name, or has the field. So a
    file of events with a label column is a file of labels, and so is a table of ``features build``.
    """

    def __init__(self, feature_set: FeatureSet, *, source: bool = False) -> None:
        """Prepare the types and names of the fields.

        Args:
            feature_set: Feature set that binds the fields of events.
            source: Read the origin of each label, too. Only copies of labels need it, and a file of
                events may have a field of that name.
        """
        bindings = feature_set.bindings

        def names(*paths: str) -> tuple[str, ...]:
            aliases = [feature_set.aliases[path] for path in paths if path in feature_set.aliases]
            return (*paths, *aliases)

        self.needed: PathTypes = {
            "event_id": (bindings.event_id.kind, 0, False),
            "fraud": (Kind.BOOL, 0, False),
        }
        made = {e: key for e, key in bindings.entities.items() if key.is_made}
        single = {e: key.parts[0].field for e, key in bindings.entities.items() if e not in made}
        parts = [part.field for key in made.values() for part in key.parts]
        self.optional: PathTypes = {
            "event_time": (Kind.TIME, 0, True),
            "label_time": (Kind.TIME, 0, True),
            **{f"{_KEY}{entity}": (field.kind, 0, True) for entity, field in single.items()},
            **{f"{_KEY}{entity}": (Kind.STRING, 0, True) for entity in made},
            **{f"{_PART}{field.path}": (field.kind, 0, True) for field in parts},
        }
        if source:
            self.optional = {**self.optional, _SOURCE: (Kind.STRING, 0, True)}
        self.aliases: Aliases = {
            "event_id": names(bindings.event_id.path),
            "event_time": names(bindings.event_time.path),
            # `label`: in a table of `features build`.
            "fraud": (*(names(bindings.label.field) if bindings.label else ()), "label"),
            **{f"{_KEY}{entity}": (entity, *names(field.path)) for entity, field in single.items()},
            **{f"{_KEY}{entity}": (entity,) for entity in made},
            **{f"{_PART}{field.path}": names(field.path) for field in parts},
        }
        self._made = made
        self._tokens = bindings.tokens

    def read(
        self, decoded: Decoded, rows: int, partitions: npt.NDArray[np.int32], offsets: Longs
    ) -> tuple[LabelRows, dict[int, RecordError]]:
        """Read the labels of N rows at their positions; return an error for each invalid row."""
        columns = dict(decoded.columns)
        for name, (kind, _, _) in self.needed.items():
            columns.setdefault(name, _nothing(kind, rows))
        event_id, fraud = columns["event_id"], columns["fraud"]
        ids = text(event_id, "event_id")
        errors = RowErrors(decoded.errors)
        errors.add(
            ~event_id.valid | (byte_lengths(ids) == 0),
            ErrorCode.EVENT_ID_MISSING,
            "the event id is null or empty",
        )
        keys = self._keys(columns, errors)
        for name, values in {
            "event id": ids,
            **{f"key of {e}": k for e, k in keys.items()},
        }.items():
            errors.add(
                byte_lengths(values) > MAX_KEY_BYTES,
                ErrorCode.KEY_TOO_LONG,
                f"the {name} is longer than {MAX_KEY_BYTES} bytes",
            )
        errors.add(~fraud.valid, ErrorCode.BODY_INVALID, "fraud is null")
        source = columns.get(_SOURCE)
        labels = LabelRows(
            ids,
            np.asarray(fraud.values, np.bool_),
            _times(columns.get("event_time"), rows),
            _times(columns.get("label_time"), rows),
            keys,
            partitions,
            offsets,
            None if source is None else text(source, _SOURCE),
        )
        if errors.by_row:
            labels = labels.take(errors.valid_rows(rows))
        return labels, errors.by_row

    def _keys(self, columns: Mapping[str, Column], errors: RowErrors) -> dict[str, pa.StringArray]:
        """StringArray[N] by entity, "" where missing; an entity without its columns is left out."""
        keys = {
            name.removeprefix(_KEY): text(column, name)
            for name, column in columns.items()
            if name.startswith(_KEY)
        }
        for entity, binding in self._made.items():
            given = keys.get(entity)
            if given is not None:
                errors.add(
                    (byte_lengths(given) > 0) & ~binding.are_keys(given),
                    ErrorCode.BODY_INVALID,
                    f"the key of {entity} is not {binding.form}",
                )
        given_keys = dict(keys)
        for entity, binding in self._made.items():
            parts = [self._part(part, columns, given_keys) for part in binding.parts]
            if (made := _joined(entity, binding, parts, errors)) is not None:
                keys[entity] = _first_of(given_keys.get(entity), made)
        return keys

    def _part(
        self, part: KeyPart, columns: Mapping[str, Column], keys: Mapping[str, pa.StringArray]
    ) -> pa.StringArray | None:
        """Texts of a part, with tokens; None without a column of them or of their tokens."""
        path = part.field.path
        column = columns.get(f"{_PART}{path}")
        texts = None if column is None else text(column, path)
        if part.tokens is None:
            return texts
        made = None if texts is None else part.tokens.tokens(texts)
        return _first_of(keys.get(self._tokens[path]), made)


class LabelFile:
    """Labels in Parquet, an Avro container or JSON lines; fields as in ``LabelFields``."""

    def __init__(self, feature_set: FeatureSet, path: FilePath, *, source: bool = False) -> None:
        self._path = path
        self._fields = LabelFields(feature_set, source=source)

    def count(self) -> int:
        """Number of rows. Raises ConfigurationError for a file that cannot be read."""
        with _label_file_errors():
            return count_rows(self._path)

    def __iter__(self) -> Iterator[tuple[LabelRows, list[Refusal]]]:
        """Iterate over labels in chunks, each with its invalid rows.

        Raises:
            ConfigurationError: The file cannot be read, or has no fraud column.
        """
        fields, first = self._fields, 0
        for chunk in self._chunks():
            partitions = np.full(chunk.rows, FILE_PARTITION, np.int32)
            offsets = first + np.arange(chunk.rows)
            labels, errors = fields.read(chunk.decoded, chunk.rows, partitions, offsets)
            yield labels, refusals(errors, self._describe_row_of_chunk(first))
            first += chunk.rows

    def describe_row(self, row: int) -> str:
        """Place of a row, for messages; ``row`` is the offset of its label."""
        return f"{self._path}, row {row}"

    def _describe_row_of_chunk(self, first: int) -> Callable[[int], str]:
        return lambda row: self.describe_row(first + row)

    def _chunks(self) -> Iterator[FileChunk]:
        fields = self._fields
        with _label_file_errors():
            yield from read_chunks(
                self._path, fields.needed, fields.aliases, optional=fields.optional
            )


def _joined(
    entity: str,
    binding: EntityBinding,
    parts: Sequence[pa.StringArray | None],
    errors: RowErrors,
) -> pa.StringArray | None:
    """Keys made of their parts, "" where a part is missing; None without one of the parts."""
    given = [part for part in parts if part is not None]
    if len(given) < len(parts):
        return None
    keys, too_long = binding.join(given)
    errors.add(
        too_long,
        ErrorCode.KEY_TOO_LONG,
        f"the key of {entity} is longer than {MAX_KEY_BYTES} bytes",
    )
    return pc.if_else(pa.array(binding.are_keys(keys)), keys, "")


def _first_of(texts: pa.StringArray | None, others: pa.StringArray | None) -> pa.StringArray | None:
    """The texts, or where one is empty the other one; None if there are neither."""
    if texts is None or others is None:
        return others if texts is None else texts
    return pc.if_else(pc.equal(texts, ""), others, texts)


def _times(column: Column | None, rows: int) -> Longs:
    if column is None:
        return np.full(rows, UNKNOWN)
    return np.where(column.valid, np.asarray(column.values, np.int64), UNKNOWN)


def _nothing(kind: Kind, rows: int) -> Column:
    values: Any = pa.array([""] * rows, pa.string())
    if kind is not Kind.STRING:
        values = np.zeros(rows, np.bool_ if kind is Kind.BOOL else np.int64)
    return Column(kind, values, np.zeros(rows, np.bool_))


@contextmanager
def _label_file_errors() -> Iterator[None]:
    """Name the label file in errors of the file reader, which calls it an event file."""
    try:
        yield
    except ConfigurationError as error:
        raise ConfigurationError(str(error).replace("event file ", "label file ", 1)) from error

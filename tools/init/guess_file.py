"""Schema and bindings of the events in a file, guessed from its first rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from base.errors import ConfigurationError, SchemaRefusedError
from base.file_path import FilePath
from features.definition.event_fields import SchemaFields
from schemas.avro.types import parse_record_schema
from schemas.files.values import to_column
from tools.init.column_types import SampleSchema, declared_schema, derive_schema
from tools.init.facts import Facts
from tools.init.first_rows import FirstRows, read_sample
from tools.init.guess import Guesses
from tools.init.guess_sample import guess_from
from tools.init.leaves import Record, record_of
from tools.init.sampled_record import SampledRecord


@dataclass(frozen=True, slots=True)
class SampleGuesses:
    """Guesses for the events of a file.

    Attributes:
        schema: Schema of the events, as JSON.
        guesses: The guesses.
        extent: The rows that were read, in words.
        few: True if the rows are too few to prove much.
        in_order: True if the rows are in the order of the event time.
    """

    schema: Any
    guesses: Guesses
    extent: str
    few: bool
    in_order: bool


def guess_file(path: FilePath) -> SampleGuesses:
    """Guess from the first rows of a file.

    Raises:
        ConfigurationError: The file cannot be read, or has no rows or no column that an event can
            have.
    """
    sample = read_sample(path)
    derived = derive_schema(sample) if sample.declared is None else declared_schema(sample)
    record = _record(sample, derived.schema)
    sampled = SampledRecord(
        record=record,
        facts=_facts(sample, derived, record),
        rows=sample.rows,
        extent=sample.extent,
        file=str(path),
        names=derived.names,
        stored={path: sample.columns[name].type for path, name in derived.names.items()},
        unusable=derived.unusable,
    )
    guesses, hidden = guess_from(sampled)
    time = guesses.time.leaf
    return SampleGuesses(
        derived.schema if sample.declared is not None else derived.without(hidden),
        guesses,
        sample.extent,
        sampled.is_small,
        time is None or sampled.is_in_order(time),
    )


def _record(sample: FirstRows, schema: Any) -> Record:
    try:
        return record_of(SchemaFields(schema, parse_record_schema(schema)))
    except SchemaRefusedError as error:
        raise ConfigurationError(
            f"--sample: the events of {sample.path} have no schema that can be used: {error}; write "
            "the schema yourself, and give it with --schema FILE.avsc"
        ) from error


def _facts(sample: FirstRows, derived: SampleSchema, record: Record) -> dict[str, Facts]:
    facts = {}
    for leaf in record.leaves:
        name = derived.names.get(leaf.path)
        if name is not None:
            array = sample.columns[name]
            facts[leaf.path] = Facts.of(to_column(array, leaf.kind, leaf.scale, name)[0])
    return facts

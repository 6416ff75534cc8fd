"""Reference page of the records in Kafka: events, scores, labels and dead letters."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from worker.stages.dead_letter import (
    FORMER_PREFIX,
    HEADER_PREFIX,
    LARGEST_OVERSIZE_BYTES,
    REDRIVEN_PREFIX,
)

_SCHEMAS = Path(__file__).parents[2] / "schemas"
_HEAD = """\
# Wire formats

## Events

The value of an input record is one Avro record. Its writer schema is named in one of these ways:

| form | bytes |
|---|---|
| schema id | byte 0, the id as 4 bytes (big-endian), then the body |
| GUID | byte 1, the GUID as 16 bytes, then the body |
| header | the header `__value_schema_id` holds one of the two prefixes; the value is the body alone |
| none | the value is the body alone; only with `wire.framing: none` |

The first three are Confluent's wire formats. With a [registry](configuration.md#registry), ids and GUIDs are looked up there. Without one, `wire.schema_id` stands for the schema in `features.yaml`, and other ids for files such as `writer-schemas/7.avsc` beside it. Each record is decoded with its own writer schema and resolved to the reader schema as the Avro specification says.

JSON, JSON Schema, Protobuf, AWS Glue framing and Avro's single-object encoding are not read.

## Scores

The value is framed with a schema id (form 1), or bare with `wire.framing: none`. The record key is the key of the event. Headers that `output.headers` names are copied. New fields will have defaults.

"""
_LABELS = """
## Labels

Records of `kafka.labels_topic`. `fraud-worker labels send` writes them, and other programs may, too. Workers with `fraud_share` windows read them while they run. [Load lookups and labels](../how-to/load-lookups-and-labels.md) says how they are used.

- **Key:** the event id in UTF-8, for Kafka's default partitioner (murmur2). So all labels of an event are in one partition, in the order in which they were sent. With other partitions (more of them, or a producer with another partitioner), the labels of an event may be in several, and label times alone order them.
- **Value:** framed like events. `labels send` uses form 1, or no framing with `wire.framing: none`. With a registry, the id is that of `label.avsc` under the subject `LABELS_TOPIC-value`. Without one it is `wire.label_schema_id`. Readers without a registry take any id for that of `label.avsc`, except `wire.schema_id`, `wire.score_schema_id` and those of files in `writer-schemas`. New fields will have defaults.
- **No headers.** The Kafka timestamp is the time of sending; it has no meaning for the label.
- **Order:** a label is known from its `label_time` on. Of the labels of an event that are known at a time, the one with the latest `label_time` counts; of several with that `label_time`, the last by partition and offset. Labels that were loaded from files come before all of them.
- **Corrections** are labels with a later `label_time`. A label is never deleted: a record without a value (a tombstone) is refused as `null_value`.
- **The same label again** changes nothing, as both say the same from the same time on: so readers need no other protection from duplicates. `labels send` writes with an idempotent producer and `acks=all`, without transactions. Readers read committed records only, for programs that do use transactions.
- **Cleanup policy:** `delete`. A compacted topic keeps only the last record of each event: what was known before a correction is lost, and an older label that was sent again replaces the correction. `retention.ms` has to reach as far back as windows count labels: a store that has lost its data is filled from the topic.

"""
_DEAD_LETTERS = f"""
## Dead letters

Key, value and headers are those of the input record. The worker adds these headers, with UTF-8 text as values:

| header | value |
|---|---|
| `{HEADER_PREFIX}topic`, `{HEADER_PREFIX}partition`, `{HEADER_PREFIX}offset` | position of the record in the input |
| `{HEADER_PREFIX}timestamp` | timestamp of the record in milliseconds; -1 if it has none |
| `{HEADER_PREFIX}stage` | `decode`, `score` or `publish` |
| `{HEADER_PREFIX}code` | a [code](error-codes.md) |
| `{HEADER_PREFIX}message` | a sentence without payload and keys, at most 500 bytes |
| `{HEADER_PREFIX}schema.id` | schema id or GUID, if the record named one |
| `{HEADER_PREFIX}value.sha256`, `{HEADER_PREFIX}value.bytes` | hash and size of the value, in the short form only |

- The Kafka timestamp of a dead letter is the time at which it was written. With the record's own timestamp, retention would delete dead letters of old records at once.
- Headers of the record that begin with `{HEADER_PREFIX}` are renamed to `{FORMER_PREFIX}*`. Anybody may have written those: trust `{HEADER_PREFIX}*` only. Older `{FORMER_PREFIX}*` headers are dropped at that point.
- **Short form.** A dead letter that is too large for its topic loses its value, its headers and a key of more than 1,024 bytes. If the feature set has [tokens](features.md#tokens), every dead letter has this form, with the token of the record's key as its key. It then takes at most {LARGEST_OVERSIZE_BYTES:,} bytes, and `check` requires that the topic accepts this much.

Tools that read dead letters of Kafka Streams ([KIP-1034](https://cwiki.apache.org/confluence/display/KAFKA/KIP-1034%3A+Dead+letter+queue+in+Kafka+Streams)) need other names:

| Kafka Streams | this worker |
|---|---|
| `__streams.errors.topic`, `__streams.errors.partition`, `__streams.errors.offset` | `{HEADER_PREFIX}topic`, `{HEADER_PREFIX}partition`, `{HEADER_PREFIX}offset`; text in both |
| `__streams.errors.exception` | `{HEADER_PREFIX}code`: a stable code in place of the name of a Java class |
| `__streams.errors.message` | `{HEADER_PREFIX}message` |
| `__streams.errors.stacktrace` | none: messages hold no payload, and a stack trace may |
| none | `{HEADER_PREFIX}timestamp`, `{HEADER_PREFIX}stage`, `{HEADER_PREFIX}schema.id`, `{HEADER_PREFIX}value.sha256`, `{HEADER_PREFIX}value.bytes` |

## Redriven records

`fraud-worker dead-letters redrive` [sends](../how-to/read-dead-letters.md#send-them-again) the record of a dead letter to the input topic again: key, value and headers of the record, without `{HEADER_PREFIX}*`, and these headers with UTF-8 text:

| header | value |
|---|---|
| `{REDRIVEN_PREFIX}topic`, `{REDRIVEN_PREFIX}partition`, `{REDRIVEN_PREFIX}offset` | position in the input of the record that became the dead letter |
| `{REDRIVEN_PREFIX}timestamp` | timestamp of that record in milliseconds; -1 if it had none |
| `{REDRIVEN_PREFIX}times` | number of times that the record was redriven, from 1 |

They replace those of an earlier redrive. If the record becomes a dead letter again, they are among its own headers. The Kafka timestamp is the time of the redrive.
"""


def wire_formats() -> str:
    """The text of docs/reference/wire-formats.md."""
    return _HEAD + _schema("score") + _LABELS + _schema("label") + _DEAD_LETTERS


def _schema(name: str) -> str:
    schema = json.loads((_SCHEMAS / f"{name}.avsc").read_text("utf-8"))
    rows = "".join(f"| `{path}` | {kind} | {doc} |\n" for path, kind, doc in _fields(schema, ""))
    head = f"Schema: `schemas/{name}.avsc`. {schema['doc']}"
    return f"{head}\n\n| field | type | meaning |\n|---|---|---|\n{rows}"


def _fields(schema: dict[str, Any], prefix: str) -> Iterator[tuple[str, str, str]]:
    for field in schema["fields"]:
        path = f"{prefix}{field['name']}"
        yield path, _type_name(field["type"]), field["doc"]
        record, inside = _record_in(field["type"])
        if record:
            yield from _fields(record, f"{path}{inside}.")


def _type_name(schema: Any) -> str:
    if isinstance(schema, str):
        return schema
    if "logicalType" in schema:
        return str(schema["logicalType"])
    if schema["type"] in {"array", "map"}:
        inner = schema["items" if schema["type"] == "array" else "values"]
        return f"{schema['type']} of {_type_name(inner)}"
    return str(schema["type"])


def _record_in(schema: Any) -> tuple[dict[str, Any] | None, str]:
    """The record that a type is or that its items are, and the suffix of its path."""
    if isinstance(schema, str):
        return None, ""
    if schema["type"] == "record":
        return schema, ""
    if schema["type"] == "array":
        return _record_in(schema["items"])[0], "[]"
    return None, ""

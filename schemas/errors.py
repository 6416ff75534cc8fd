"""Errors of the wire: what is wrong with one record, and what is wrong with a configuration."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class ErrorCode(StrEnum):
    """Why a record became a dead letter. Stable: consumers of dead letters match on these."""

    # framing
    NULL_VALUE = "null_value"
    EMPTY_VALUE = "empty_value"
    FRAME_TRUNCATED = "frame_truncated"
    MAGIC_UNKNOWN = "magic_unknown"
    RECORD_TOO_LARGE = "record_too_large"
    HEADER_INVALID = "header_invalid"
    # schema
    SCHEMA_UNKNOWN = "schema_unknown"
    SCHEMA_UNANSWERED = "schema_unanswered"
    SCHEMA_REFUSED = "schema_refused"
    SCHEMA_INCOMPATIBLE = "schema_incompatible"
    # body
    BODY_TRUNCATED = "body_truncated"
    TRAILING_BYTES = "trailing_bytes"
    VARINT_TOO_LONG = "varint_too_long"
    LENGTH_NEGATIVE = "length_negative"
    UNION_BRANCH_INVALID = "union_branch_invalid"
    ENUM_SYMBOL_INVALID = "enum_symbol_invalid"
    BOOLEAN_INVALID = "boolean_invalid"
    UTF8_INVALID = "utf8_invalid"
    COLLECTION_TOO_LONG = "collection_too_long"
    NESTED_TOO_DEEP = "nested_too_deep"
    VALUE_OUT_OF_RANGE = "value_out_of_range"
    BODY_INVALID = "body_invalid"
    # binding
    EVENT_ID_MISSING = "event_id_missing"
    EVENT_TIME_MISSING = "event_time_missing"
    EVENT_TIME_OUT_OF_RANGE = "event_time_out_of_range"
    AMOUNT_MISSING = "amount_missing"
    AMOUNT_NOT_FINITE = "amount_not_finite"
    AMOUNT_OVERFLOW = "amount_overflow"
    AMOUNT_BELOW_MINIMUM = "amount_below_minimum"
    ENTITY_KEY_MISSING = "entity_key_missing"
    PARTITION_KEY_MISSING = "partition_key_missing"
    KEY_TOO_LONG = "key_too_long"
    # publish
    OUTPUT_TOO_LARGE = "output_too_large"
    OUTPUT_REFUSED = "output_refused"


@dataclass(frozen=True, slots=True)
class RecordError:
    """What is wrong with one record: a stable code, and a message without payload or keys."""

    code: ErrorCode
    message: str


class ConfigurationError(Exception):
    """The user's files or settings do not hold.

    The message names the setting or file, what was found and what to do.
    """


class DependencyUnavailableError(Exception):
    """A store, registry or broker does not answer now; the same call may succeed later."""


class DeviceLostError(Exception):
    """What computes scores is gone for this process; a new one may find it again."""

"""Exceptions of all packages, and the codes of dead letters.

Exception
├── ConfigurationError          files or settings of the user; ends a command with exit code 2
│   ├── BundleRefusedError
│   └── CudaUnusableError
├── DependencyUnavailableError  a store, registry or broker does not answer; a retry may succeed
├── DeviceLostError             the GPU is lost for this process
├── DeliveryError               a micro-batch was not committed
│   ├── BatchAbortedError
│   │   └── StoreAwayError
│   ├── OutcomeUnknownError
│   ├── RecordsRefusedError     in worker.delivery.reports, as it carries reports
│   └── DeliveryFatalError      ends the worker with exit code 3
│       └── TopicReplacedError
├── SchemaRefusedError          an Avro schema
│   └── UndefinedNameError
├── IncompatibleError           a writer's and a reader's schema
├── BodyError                   the body of one record
├── NotInRegistryError
├── RegistryRefusedError
├── YamlRefusedError
├── ExpressionError
├── HookError                   a Python feature, when it is loaded
├── HookRaisedError             a Python feature, when it is called
├── MalformedError              a value that Feast wrote (a ValueError)
└── NonFiniteFeatureError       an infinite feature (a ValueError)
"""

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


class IncompatibleError(Exception):
    """The writer's type at a path in use does not resolve to the reader's; says where and why."""


class BodyError(Exception):
    """A body cannot be read on. position: index into the data, of the failing element."""

    def __init__(self, code: ErrorCode, path: str, position: int) -> None:
        super().__init__(code, path, position)
        self.code = code
        self.path = path
        self.position = position


class SchemaRefusedError(Exception):
    """A schema that is not valid Avro, or that this project does not read. Says which and why."""


class UndefinedNameError(SchemaRefusedError):
    """A reference to a type that is not defined before it."""

    def __init__(self, name: str) -> None:
        super().__init__(f"it refers to {name!r}, which is not defined")
        self.name = name


class NotInRegistryError(Exception):
    """The registry itself answers that it has no such subject, version or schema."""


class RegistryRefusedError(Exception):
    """The registry itself refuses a schema: it is not compatible, or not valid."""


class YamlRefusedError(Exception):
    """The text is not what this reader takes; line and column count from 0."""

    def __init__(self, message: str, line: int, column: int) -> None:
        super().__init__(message)
        self.line = line
        self.column = column


class ExpressionError(Exception):
    """An expression that does not hold; ``offset`` is the character where, from 0."""

    def __init__(self, offset: int, message: str) -> None:
        super().__init__(message)
        self.offset = offset


class HookError(Exception):
    """A hook that does not hold. of_arguments: it is their number that does not."""

    def __init__(self, message: str, *, of_arguments: bool = False) -> None:
        super().__init__(message)
        self.of_arguments = of_arguments


class HookRaisedError(Exception):
    """An exception of any kind that came out of a hook file.

    error: the exception itself. Showing it may run more of the hook's code: ``HookFile.words``.
    """

    def __init__(self, error: BaseException) -> None:
        super().__init__(type(error).__name__)
        self.error = error


class MalformedError(ValueError):
    """Bytes that are not the message."""


class NonFiniteFeatureError(ValueError):
    """An infinite value reached the model. XGBoost would score it without a word."""


class CudaUnusableError(ConfigurationError):
    """There is no GPU to score on; the message says what is missing."""


class BundleRefusedError(ConfigurationError):
    """A model bundle does not hold, or does not fit the feature set it is to serve."""


class DeliveryError(Exception):
    """A micro-batch was not committed."""


class BatchAbortedError(DeliveryError):
    """The transaction was aborted for certain: rewind, and read the records again."""


class StoreAwayError(BatchAbortedError):
    """Nothing was sent to the brokers, as the online store did not take the histories."""


class OutcomeUnknownError(DeliveryError):
    """The brokers did not say whether the transaction was committed: ask them anew."""


class DeliveryFatalError(DeliveryError):
    """Going on could lose or repeat a score: the process ends, and a new one takes over."""


class TopicReplacedError(DeliveryFatalError):
    """The input topic was deleted and created again: offsets of the old one mean nothing in it."""

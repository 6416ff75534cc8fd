"""Exceptions of all packages, and the error codes of dead letters.

Exception
├── ConfigurationError          a file or setting is invalid; a command exits with code 2
│   ├── BundleRefusedError      a model bundle is invalid, or does not fit the feature set
│   ├── CudaUnusableError       no GPU is usable for scoring
│   ├── StoreRefusedError       an object store refuses access, or has no such bucket
│   └── ObjectChangedError      an object was changed by another process meanwhile
├── DependencyUnavailableError  a store, registry or broker does not answer; a retry may succeed
├── DeviceLostError             the GPU is lost for this process
├── NotAlignedError             events have to wait for other partitions; in worker.histories
├── TooManyDeadLettersError     a partition has to be held; in worker.stages.dead_letter_limit
├── DeliveryError               a micro-batch was not committed
│   ├── BatchAbortedError       the transaction was aborted: the records are read again
│   │   └── StoreAwayError      the online store did not accept the histories
│   │       └── HistoriesLostError  it has lost members of histories
│   ├── OutcomeUnknownError     the brokers did not say whether the transaction was committed
│   ├── RecordsRefusedError     a topic refused records; in worker.delivery.reports
│   └── DeliveryFatalError      the worker exits with code 3
│       └── TopicReplacedError  the input topic was deleted and created again
├── SchemaRefusedError          an Avro schema is invalid or not supported
│   └── UndefinedNameError      it refers to a type that is not defined
├── IncompatibleError           a writer schema does not resolve to the reader schema
├── NotInRegistryError          the registry does not have the subject, version or schema
├── RegistryRefusedError        the registry refuses to register the schema
├── YamlRefusedError            a text is not valid YAML, or uses an unsupported feature
├── ExpressionError             an expression of a feature or policy is invalid
├── HookError                   a Python feature cannot be loaded
├── HookRaisedError             a Python feature raised an exception
├── redis.ResponseError
│   └── WrongKindError          a key of the store has another Redis type; in features.store
└── ValueError
    ├── MalformedError          bytes are not a valid Feast message
    └── NonFiniteFeatureError   a feature is infinite

Exceptions that begin with an underscore never leave their module, and are not listed.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Self


class ErrorCode(StrEnum):
    """Reason for which a record became a dead letter.

    The values are stable: consumers of dead letters match on them.

    Attributes:
        meaning: Sentence for the documentation.
    """

    meaning: str

    def __new__(cls, code: str, meaning: str) -> Self:
        member = str.__new__(cls, code)
        member._value_ = code
        member.meaning = meaning
        return member

    # framing
    NULL_VALUE = "null_value", "The record has no value (a tombstone)."
    EMPTY_VALUE = (
        "empty_value",
        "The value, or the body after the schema id, has no bytes, but its schema needs some.",
    )
    FRAME_TRUNCATED = "frame_truncated", "The schema id before the body is cut off."
    MAGIC_UNKNOWN = "magic_unknown", "The first byte is neither 0 (schema id) nor 1 (GUID)."
    RECORD_TOO_LARGE = "record_too_large", "The value is larger than `wire.max_record_bytes`."
    HEADER_INVALID = (
        "header_invalid",
        "A header name is not UTF-8, so the client library cannot read the headers.",
    )
    # schema
    SCHEMA_UNKNOWN = "schema_unknown", "No schema is known by the id that the record names."
    SCHEMA_UNANSWERED = (
        "schema_unanswered",
        "The registry gave no answer for this schema id within `registry.give_up_s`.",
    )
    SCHEMA_REFUSED = "schema_refused", "The writer's schema is not valid Avro or is not supported."
    SCHEMA_INCOMPATIBLE = (
        "schema_incompatible",
        "The writer's schema does not resolve to the reader's schema.",
    )
    # body
    BODY_TRUNCATED = "body_truncated", "The body ends before its last field."
    TRAILING_BYTES = "trailing_bytes", "Bytes follow the last field."
    VARINT_TOO_LONG = "varint_too_long", "An integer is encoded in more bytes than its type allows."
    LENGTH_NEGATIVE = "length_negative", "A length is negative."
    UNION_BRANCH_INVALID = "union_branch_invalid", "A union index names no branch."
    ENUM_SYMBOL_INVALID = "enum_symbol_invalid", "An enum index names no symbol."
    BOOLEAN_INVALID = "boolean_invalid", "A boolean is neither 0 nor 1."
    UTF8_INVALID = "utf8_invalid", "A text that is used is not UTF-8."
    COLLECTION_TOO_LONG = (
        "collection_too_long",
        "An array or map has more than `wire.max_collection_items` items.",
    )
    NESTED_TOO_DEEP = "nested_too_deep", "A record contains itself on more than 1,000 levels."
    VALUE_OUT_OF_RANGE = (
        "value_out_of_range",
        "A number does not fit its type, or is too large for the exact sums of windows.",
    )
    BODY_INVALID = "body_invalid", "A row of a file cannot be read."
    # binding
    EVENT_ID_MISSING = "event_id_missing", "The event id is null or empty."
    EVENT_TIME_MISSING = "event_time_missing", "The event time is null."
    EVENT_TIME_OUT_OF_RANGE = (
        "event_time_out_of_range",
        "The event time is not within the years 2000 to 2099.",
    )
    AMOUNT_MISSING = "amount_missing", "The amount is null."
    AMOUNT_NOT_FINITE = "amount_not_finite", "The amount is NaN or infinite."
    AMOUNT_OVERFLOW = (
        "amount_overflow",
        "The amount is too large for 64 bits, or for the exact sums of windows.",
    )
    AMOUNT_BELOW_MINIMUM = (
        "amount_below_minimum",
        "The amount is below `amount.min` of features.yaml.",
    )
    ENTITY_KEY_MISSING = "entity_key_missing", "The key of an entity is null or empty."
    PARTITION_KEY_MISSING = "partition_key_missing", "The partition key is null or empty."
    KEY_TOO_LONG = "key_too_long", "An id or key has more than 1,024 bytes."
    # score
    SCORE_NOT_FINITE = (
        "score_not_finite",
        "The model gives NaN or infinity for the event's features, or fails.",
    )
    # publish
    OUTPUT_TOO_LARGE = "output_too_large", "The score is too large for the output topic."
    OUTPUT_REFUSED = (
        "output_refused",
        "The output topic refused the score for another reason than its size.",
    )


@dataclass(frozen=True, slots=True)
class RecordError:
    """Error of one record.

    Attributes:
        code: Stable code of the reason.
        message: Sentence for people, without payload or keys.
    """

    code: ErrorCode
    message: str


class ConfigurationError(Exception):
    """A file or setting of the user is invalid.

    The message names the setting or file, the invalid value and the remedy.
    """


class DependencyUnavailableError(Exception):
    """A store, registry or broker does not answer now; a retry may succeed."""


class DeviceLostError(Exception):
    """The GPU that computes scores is lost for this process; a new process may find it again."""


class IncompatibleError(Exception):
    """The writer's type at a path in use does not resolve to the reader's type.

    The message names the path and the reason.
    """


class SchemaRefusedError(Exception):
    """A schema is not valid Avro, or this project does not support it.

    The message names the part of the schema and the reason.
    """


class UndefinedNameError(SchemaRefusedError):
    """A reference to a type that is not defined before it."""

    def __init__(self, name: str) -> None:
        super().__init__(f"it refers to {name!r}, which is not defined")
        self.name = name


class NotInRegistryError(Exception):
    """The registry itself answered that it does not have the subject, version or schema."""


class RegistryRefusedError(Exception):
    """The registry itself refused a schema that is incompatible or invalid."""


class YamlRefusedError(Exception):
    """The text is not valid YAML, or uses a feature that this reader does not support.

    Attributes:
        line: Line of the error, from 0.
        column: Column of the error, from 0.
    """

    def __init__(self, message: str, line: int, column: int) -> None:
        super().__init__(message)
        self.line = line
        self.column = column


class ExpressionError(Exception):
    """An expression is invalid.

    Attributes:
        offset: Index of the invalid character in the expression, from 0.
    """

    def __init__(self, offset: int, message: str) -> None:
        super().__init__(message)
        self.offset = offset


class HookError(Exception):
    """A Python feature (a hook) cannot be loaded.

    Attributes:
        of_arguments: True if the function does not take the given number of arguments.
    """

    def __init__(self, message: str, *, of_arguments: bool = False) -> None:
        super().__init__(message)
        self.of_arguments = of_arguments


class HookRaisedError(Exception):
    """A hook file raised an exception of any kind.

    Attributes:
        error: The exception itself. Converting it to text may run more of the hook's code, see
            ``HookFile.words``.
    """

    def __init__(self, error: BaseException) -> None:
        super().__init__(type(error).__name__)
        self.error = error


class MalformedError(ValueError):
    """Bytes that are not a valid Feast message."""


class NonFiniteFeatureError(ValueError):
    """A feature is infinite; XGBoost would score it without an error."""


class CudaUnusableError(ConfigurationError):
    """No GPU is usable for scoring; the message says what is missing."""


class BundleRefusedError(ConfigurationError):
    """A model bundle is invalid, or does not fit the feature set of its pipeline."""


class StoreRefusedError(ConfigurationError):
    """An object store or registry refuses access, or has no such bucket or name."""


class ObjectChangedError(ConfigurationError):
    """An object was changed by another process since it was read."""


class DeliveryError(Exception):
    """A micro-batch was not committed."""


class BatchAbortedError(DeliveryError):
    """The transaction was certainly aborted; the worker seeks back and reads the records again."""


class StoreAwayError(BatchAbortedError):
    """The online store did not accept the histories, so nothing was sent to the brokers."""


class HistoriesLostError(StoreAwayError):
    """The online store has lost members of histories, so nothing was sent to the brokers."""


class OutcomeUnknownError(DeliveryError):
    """The brokers did not say whether the transaction was committed.

    The committed offsets tell the outcome.
    """


class DeliveryFatalError(DeliveryError):
    """Continuing could lose or repeat a score; the process ends, and a new one takes over."""


class TopicReplacedError(DeliveryFatalError):
    """The input topic was deleted and created again; the offsets of the old topic are void."""

"""Structure of features.yaml, before its fields are resolved against a schema."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import BeforeValidator, ConfigDict, Field, StringConstraints
from pydantic import model_validator as validator

from features.definition.entity_spec import Entity
from features.definition.event_spec import EventsSpec, Strict
from features.definition.scalars import Aggregate, Default, Delay, Duration, FieldPath, Word

MAX_CATEGORY_VALUES = 10_000
MAX_FEATURES = 4096
MAX_ARGUMENTS = 32
MAX_WIDTH = 1024
"""Elements of a vector."""
MAX_CAP = 100_000
_LARGEST_FLOAT32 = float(np.finfo(np.float32).max)
MAX_WATERMARK_SUPPORT = 20
"""The metadata of a committed offset contains that many times, and is short whatever they are."""
KINDS = ("field", "category", "expr", "python", "lookup", "window")
WINDOW_KEYS = frozenset(
    (
        *("by", "over", "delay", "of", "scale", "percent", "half_life", "where", "same"),
        *("include_current", "across", "default"),
    )
)


def _entities(value: object) -> object:
    if isinstance(value, list):
        raise ValueError(  # noqa: TRY004  (pydantic wants ValueError)
            f"{value!r} is a list; name each entity with the field of its key, such as "
            "{customer: customer_id}"
        )
    return value


def _one_kind_only(schema: dict[str, Any]) -> None:
    """Add to the JSON Schema of a feature which keys each kind needs and which it excludes."""
    needed = {"python": ["args"], "window": ["by", "over"]}
    own = {"python": {"args"}, "window": WINDOW_KEYS}
    every = {"args", *KINDS, *WINDOW_KEYS}
    schema["anyOf"] = [{"required": [kind]} for kind in KINDS]
    schema["allOf"] = [
        {
            "if": {"required": [kind]},
            "then": {
                "required": needed.get(kind, []),
                "properties": dict.fromkeys(sorted(every - {kind} - own.get(kind, set())), False),
            },
        }
        for kind in KINDS
    ]


class LookupValueSpec(Strict):
    """A value of a lookup, a number or a vector, and its default."""

    default: Default = Field(
        default=math.nan,
        description="Number for a value that is missing or stale; for each element of a vector.",
    )
    vector: Annotated[int, Field(ge=1, le=MAX_WIDTH)] | None = Field(
        default=None,
        description="The value is a vector with this number of elements.",
        examples=[64],
    )
    dtype: Literal["float32", "float16"] | None = Field(
        default=None, description="Type in which elements of a vector are stored; default: float32."
    )

    @validator(mode="after")
    def _dtype_is_that_of_a_vector(self) -> Self:
        if self.vector is None and self.dtype is not None:
            raise ValueError("dtype belongs to a vector: remove it, or say vector: …")
        if self.vector is not None and abs(self.default) > _LARGEST_FLOAT32:
            raise ValueError(f"default {self.default:g} is too large for the float32 of an element")
        return self


def _lookup_value(value: object) -> object:
    return {} if value is None else value


def _listed(value: object) -> object:
    return [value] if isinstance(value, str) else value


_KeyTypeName = Literal["string", "int32", "int64"]
_JoinKey = Annotated[str, StringConstraints(min_length=1)]


class FeastSpec(Strict):
    """Feature view in Feast's online store that a lookup reads."""

    project: str = Field(min_length=1, description="Feast project.")
    feature_view: str = Field(min_length=1, description="Feature view; its features are values.")
    join_key: Annotated[
        list[_JoinKey],
        BeforeValidator(_listed, json_schema_input_type=_JoinKey | list[_JoinKey]),
    ] = Field(
        description="Join key of the view's entity; for a key of several fields a list in their "
        "order."
    )
    key_type: (
        Annotated[
            list[_KeyTypeName],
            BeforeValidator(_listed, json_schema_input_type=_KeyTypeName | list[_KeyTypeName]),
        ]
        | None
    ) = Field(
        default=None,
        description="Type of the join key, or list of types; default: the types of the entity's "
        "fields.",
    )


class LookupSpec(Strict):
    """Numbers and vectors that another program writes to the online store, by entity key."""

    by: str = Field(description="Entity whose key finds the values.")
    values: dict[
        Word,
        Annotated[
            LookupValueSpec,
            BeforeValidator(_lookup_value, json_schema_input_type=LookupValueSpec | None),
        ],
    ] = Field(
        min_length=1,
        max_length=256,
        description="Values by name, each with its default.",
        examples=[{"age": {"default": 45}, "home_lat": None}],
    )
    max_age: Duration | None = Field(
        default=None,
        description="Age at the event's time from which a value is stale; default: never.",
        examples=["30d"],
    )
    feast: FeastSpec | None = None

    @validator(mode="after")
    def _feast_has_its_own_types(self) -> Self:
        typed = [name for name, value in self.values.items() if value.dtype is not None]
        if self.feast is not None and typed:
            raise ValueError(f"{typed[0]} has a dtype, and Feast stores its own types: remove it")
        return self


class CategorySpec(Strict):
    """Code of a field's value: its position in a list, from 0."""

    field: FieldPath = Field(description="Field of text, or of whole numbers.")
    values: list[str | int] = Field(
        min_length=1,
        description="Values in the order of their codes.",
        examples=[["pos", "ecom", "atm"]],
    )
    other: bool = Field(
        default=False, description="True: all other values share the next code; else missing."
    )

    @validator(mode="after")
    def _values_are_one_kind_and_distinct(self) -> Self:
        if len(self.values) > MAX_CATEGORY_VALUES:
            raise ValueError(
                f"values has {len(self.values):,} entries; at most {MAX_CATEGORY_VALUES:,} are "
                "allowed: keep the frequent ones, and let other: true stand for the rest"
            )
        if len({type(value) for value in self.values}) > 1:
            raise ValueError("values mix text and numbers: quote the numbers, or use numbers only")
        if len(set(self.values)) < len(self.values):
            twice = next(v for v in self.values if self.values.count(v) > 1)
            raise ValueError(f"values has {twice!r} more than once: keep one")
        return self


class HistorySpec(Strict):
    """Rules of the histories that windows look at."""

    allowed_lateness: Duration = Field(
        default="1h",
        validate_default=True,
        description="An event older than the watermark by more than this is flagged `late` and "
        "joins no history.",
    )
    duplicates: Duration = Field(
        default="1d",
        validate_default=True,
        description="Time for which the id of an event is remembered.",
    )
    cap: int = Field(
        default=10_000,
        ge=1,
        le=MAX_CAP,
        description="Maximum number of members of a history that an event sees: the newest.",
    )
    watermark_support: int = Field(
        default=3,
        ge=1,
        le=MAX_WATERMARK_SUPPORT,
        description="The watermark of a partition is the event time with this rank, highest first.",
    )
    max_ahead: Duration | None = Field(
        default=None,
        description="An event later than its record's Kafka timestamp by more than this is flagged "
        "`ahead` and does not move the watermark; default: no limit.",
        examples=["10m"],
    )
    arrival: Literal["record_timestamp"] | None = Field(
        default=None,
        description="record_timestamp: Kafka timestamps are the times of arrival; an event that "
        "arrived later than the delay of an aligned window is flagged `across_late` and does not "
        "join histories that partitions share. Not for replayed topics.",
    )


class FeatureSpec(Strict):
    """A column of the model: a name, one kind of value, and the keys of that kind."""

    model_config = ConfigDict(json_schema_extra=_one_kind_only)

    name: Word = Field(description="Name of the column.")
    field: FieldPath | None = Field(
        default=None, description="Field of a number or boolean, used without change."
    )
    category: CategorySpec | None = None
    expr: str | None = Field(
        default=None,
        description="An expression over fields and the features before this one.",
        examples=["hour(tx_time) <= 6"],
    )
    python: str | None = Field(
        default=None,
        description="A Python function of columns, FILE:NAME; needs args.",
        examples=["./geo.py:distance_km"],
    )
    args: list[str | int | float] | None = Field(
        default=None,
        min_length=1,
        max_length=MAX_ARGUMENTS,
        description="Expressions whose columns the Python function takes.",
        examples=[["amount"]],
    )
    lookup: str | None = Field(
        default=None,
        description="A value of a lookup, LOOKUP.VALUE; a vector gives a column for each element, NAME_0 and so on.",
        examples=["card_holder.age"],
    )
    window: Aggregate | None = Field(
        default=None, description="An aggregate over the entity's recent events; needs by and over."
    )
    by: str | None = Field(default=None, description="Entity whose events the window holds.")
    over: Duration | None = Field(
        default=None, description="Length of the window.", examples=["7d"]
    )
    delay: Delay | None = Field(
        default=None,
        description="The window ends this long before the event. Use it for values that are known late, "
        "such as labels.",
        examples=["7d"],
    )
    of: str | None = Field(
        default=None, description="Value to aggregate: a field, or a feature of the event alone."
    )
    scale: Annotated[int, Field(ge=0, le=9)] | None = Field(
        default=None, description="Decimal digits to keep of a value without a scale of its own."
    )
    percent: Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)] | None = Field(
        default=None,
        description="For `percentile`: percent of the values that are at or below it.",
        examples=[95],
    )
    half_life: Duration | None = Field(
        default=None,
        description="For `count` and `sum`: time in which the weight of an event halves.",
        examples=["1d"],
    )
    where: str | None = Field(
        default=None, description="Only events for which this condition was true count."
    )
    same: FieldPath | None = Field(
        default=None,
        description="Only events with the current event's value of this field count.",
        examples=["terminal_id"],
    )
    include_current: bool | None = Field(
        default=None,
        description="Count the event itself; default: true; false for windows with a delay and for "
        "`first`, `last`, `time_since_first`, `time_since_last`.",
    )
    across: Literal["aligned", "best_effort"] | None = Field(
        default=None, description="Needed for an entity whose events are in several partitions."
    )
    default: Default | None = Field(
        default=None,
        description="Value of an empty window; default: 0 or nan, depends on the aggregate.",
    )

    @validator(mode="before")
    @classmethod
    def _one_kind(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            raise ValueError(  # noqa: TRY004  (pydantic wants ValueError)
                "a feature is a mapping such as {name: AMOUNT, field: amount}"
            )
        for key in ("expr", "where"):
            text = value.get(key)
            if isinstance(text, str) and text.count("(") > text.count(")"):
                raise ValueError(f"the expression is cut off after {text!r}: put it in quotes")
        kinds = [kind for kind in KINDS if value.get(kind) is not None]
        if len(kinds) > 1:
            raise ValueError(f"{' and '.join(kinds)} exclude each other: keep one")
        of_windows = value.keys() & WINDOW_KEYS
        if kinds and kinds != ["window"] and of_windows:
            raise ValueError(f"{min(of_windows)} belongs to a window: remove it, or say window: …")
        if kinds and ("args" in value) is not (kinds == ["python"]):
            raise ValueError(
                "a python feature needs args: list the arguments of its function (args: [amount])"
                if kinds == ["python"]
                else "args belongs to a python feature: remove it, or say python: …"
            )
        if not kinds and value.keys() <= {"name", "args", *KINDS, *WINDOW_KEYS}:
            raise ValueError(f"has no kind: add {', '.join(KINDS[:-1])} or {KINDS[-1]}")
        return value


class FeaturesFile(Strict):
    """Meaning of an event, and the columns that the model sees of it."""

    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$")] = Field(
        description="Name of the feature set, part of the keys in the online store."
    )
    events: EventsSpec
    entities: Annotated[dict[Word, Entity], BeforeValidator(_entities)] = Field(
        default={},
        description="Entities, each with the field or the list of fields of its key; lookups and "
        "histories are stored per key.",
        examples=[{"customer": "customer_id", "at_terminal": ["customer_id", "terminal_id"]}],
    )
    lookups: dict[Word, LookupSpec] = Field(
        default={}, description="Lookups by name: values from the online store."
    )
    history: HistorySpec = HistorySpec()
    features: list[FeatureSpec] = Field(
        min_length=1, max_length=MAX_FEATURES, description="Columns of the model, in order."
    )

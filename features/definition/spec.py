"""Structure of features.yaml, before its fields are resolved against a schema."""

from __future__ import annotations

import math
import re
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints
from pydantic import model_validator as validator

from base.times import DAY, HOUR, MINUTE, SECOND

UNITS = {"s": SECOND, "m": MINUTE, "h": HOUR, "d": DAY}
"""Microseconds of each unit of a duration."""
MAX_DURATION = 36_525 * DAY
MAX_CATEGORY_VALUES = 10_000
MAX_FEATURES = 4096
MAX_ARGUMENTS = 32
MAX_CAP = 100_000
MAX_WATERMARK_SUPPORT = 100
"""The metadata of a committed offset holds that many times, and brokers accept 4,096 bytes of it."""
KINDS = ("field", "category", "expr", "python", "lookup", "window")
WINDOW_KEYS = frozenset(
    ("by", "over", "delay", "of", "scale", "where", "include_current", "across", "default")
)

_DURATION = re.compile(r"(0|[1-9][0-9]*)\s*([smhd])")


def parse_delay(value: object) -> int:
    """Microseconds of ``7d`` or ``0s``. Raises ValueError."""
    matched = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if matched is None:
        raise ValueError(f"{value!r} is not a duration: write a whole number and s, m, h or d (7d)")
    duration = int(matched[1]) * UNITS[matched[2]]
    if duration > MAX_DURATION:
        raise ValueError(f"{value!r} is longer than a hundred years")
    return duration


def _duration(value: object) -> int:
    duration = parse_delay(value)
    if not duration:
        raise ValueError(f"{value!r} is not a duration above 0: write one like 7d")
    return duration


def _number_or_missing(value: object) -> float:
    """A finite float, or NaN for ``nan`` and ``null``."""
    if value is None:
        return math.nan
    if isinstance(value, bool) or not isinstance(value, int | float) or math.isinf(value):
        raise ValueError(f"{value!r} is not a finite number, nan or null")
    return float(value)


def _decimal(value: object) -> Decimal:
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            number = Decimal(str(value))
        except InvalidOperation:  # pragma: no cover  (str of a number always parses)
            number = Decimal("nan")
        if number.is_finite():
            return number
    raise ValueError(f"{value!r} is not a finite number")


def _one_field(value: object) -> object:
    if isinstance(value, list):
        raise ValueError(  # noqa: TRY004  (pydantic wants ValueError)
            f"{value!r} is a list; name one field: where several make the key, let producers write "
            "one that joins them"
        )
    return value


def _entities(value: object) -> object:
    if isinstance(value, list):
        raise ValueError(  # noqa: TRY004  (pydantic wants ValueError)
            f"{value!r} is a list; name each entity with the field of its key, such as "
            "{customer: customer_id}"
        )
    return value


Duration = Annotated[int, BeforeValidator(_duration)]
"""Microseconds, written as ``7d``; above 0."""
Delay = Annotated[int, BeforeValidator(parse_delay)]
"""Microseconds, written as ``7d``; 0 or above."""
FieldPath = Annotated[
    str, BeforeValidator(_one_field), StringConstraints(min_length=1, max_length=512)
]
"""A field of the event; dots go through records."""
Word = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,127}$")]
"""A name of the user's choice: letters, digits and underscores, at most 128."""
Default = Annotated[float, BeforeValidator(_number_or_missing)]
TimeUnit = Literal["s", "ms", "us", "ns"]
Aggregate = Literal[
    "count",
    "sum",
    "mean",
    "std",
    "min",
    "max",
    "last",
    "distinct",
    "time_since_last",
    "fraud_share",
]


class Strict(BaseModel):
    """Base of all entries: unknown keys and implicit conversions are invalid."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class TimeSpec(Strict):
    """``time: {field, unit}``; the unit is for a plain number without a logical type."""

    field: FieldPath
    unit: TimeUnit | None = None


class AmountSpec(Strict):
    """``amount: {field, scale, min}``; min is in major units."""

    field: FieldPath
    scale: int = Field(ge=0, le=9)
    min: Annotated[Decimal, BeforeValidator(_decimal)] | None = None


class LabelSpec(Strict):
    """``label: {field, delay}``; the field is in files only, never in records."""

    field: FieldPath
    delay: Delay


def _time(value: object) -> object:
    return {"field": value} if isinstance(value, str) else value


class EventsSpec(Strict):
    """``events:``, the meaning of the fields of an event."""

    schema_: str = Field(alias="schema", min_length=1)
    id: FieldPath
    time: Annotated[TimeSpec, BeforeValidator(_time)]
    amount: AmountSpec | None = None
    partition_key: FieldPath | None = None
    label: LabelSpec | None = None
    aliases: dict[FieldPath, Annotated[str, StringConstraints(min_length=1)]] = {}

    @validator(mode="before")
    @classmethod
    def _schema_is_a_file(cls, value: Any) -> Any:
        if isinstance(value, dict) and "subject" in value:
            raise ValueError("subject is not supported yet by this version: use schema: FILE.avsc")
        return value

    @validator(mode="after")
    def _aliases_are_distinct(self) -> Self:
        seen: dict[str, str] = {}
        for path, alias in self.aliases.items():
            if alias in seen:
                raise ValueError(
                    f"aliases: {alias} stands for both {seen[alias]} and {path}: keep one"
                )
            seen[alias] = path
        return self


class LookupValueSpec(Strict):
    """A value of a lookup, and the default that replaces a missing or stale one."""

    default: Default = math.nan


def _lookup_value(value: object) -> object:
    return {} if value is None else value


class FeastSpec(Strict):
    """``feast: {project, feature_view, join_key, key_type}``, in Feast's own terms.

    By default, key_type is the type of the entity's field.
    """

    project: str = Field(min_length=1)
    feature_view: str = Field(min_length=1)
    join_key: str = Field(min_length=1)
    key_type: Literal["string", "int32", "int64"] | None = None


class LookupSpec(Strict):
    """``lookups: {name: {by, values, max_age, feast}}``."""

    by: str
    values: dict[Word, Annotated[LookupValueSpec, BeforeValidator(_lookup_value)]] = Field(
        min_length=1, max_length=256
    )
    max_age: Duration | None = None
    feast: FeastSpec | None = None


class CategorySpec(Strict):
    """``category: {field, values, other}``."""

    field: FieldPath
    values: list[str | int] = Field(min_length=1)
    other: bool = False

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
    """``history:``, the rules for all windows."""

    allowed_lateness: Duration = HOUR
    duplicates: Duration = DAY
    cap: int = Field(default=10_000, ge=1, le=MAX_CAP)
    watermark_support: int = Field(default=3, ge=1, le=MAX_WATERMARK_SUPPORT)
    max_ahead: Duration | None = None
    accept_empty: list[Word] = []


class FeatureSpec(Strict):
    """An entry of ``features:``: a name, exactly one kind, and the options of that kind."""

    name: Word
    field: FieldPath | None = None
    category: CategorySpec | None = None
    expr: str | None = None
    python: str | None = None
    args: list[str | int | float] | None = Field(
        default=None, min_length=1, max_length=MAX_ARGUMENTS
    )
    lookup: str | None = None
    window: Aggregate | None = None
    by: str | None = None
    over: Duration | None = None
    delay: Delay | None = None
    of: str | None = None
    scale: Annotated[int, Field(ge=0, le=9)] | None = None
    where: str | None = None
    include_current: bool | None = None
    across: Literal["aligned", "best_effort"] | None = None
    default: Default | None = None

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
    """features.yaml as a whole."""

    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$")]
    events: EventsSpec
    entities: Annotated[dict[Word, FieldPath], BeforeValidator(_entities)] = {}
    lookups: dict[Word, LookupSpec] = {}
    history: HistorySpec = HistorySpec()
    features: list[FeatureSpec] = Field(min_length=1, max_length=MAX_FEATURES)

"""Scalars of features.yaml: durations, names, paths and numbers."""

from __future__ import annotations

import math
import re
from decimal import Decimal, InvalidOperation
from typing import Annotated, Literal

from pydantic import BeforeValidator, StringConstraints, WithJsonSchema

from base.times import DAY, HOUR, MINUTE, SECOND

UNITS = {"s": SECOND, "m": MINUTE, "h": HOUR, "d": DAY}
"""Microseconds of each unit of a duration."""
MAX_DURATION = 36_525 * DAY

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


def _as_text(pattern: str) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "pattern": pattern})


Duration = Annotated[int, BeforeValidator(_duration), _as_text(r"^[1-9][0-9]*\s*[smhd]$")]
"""Microseconds, written as ``7d``; above 0."""
Delay = Annotated[int, BeforeValidator(parse_delay), _as_text(r"^(0|[1-9][0-9]*)\s*[smhd]$")]
"""Likewise, or 0."""
FieldPath = Annotated[
    str, BeforeValidator(_one_field), StringConstraints(min_length=1, max_length=512)
]
"""A field of the event; dots go through records."""
Word = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,127}$")]
"""A name of the user's choice: letters, digits and underscores, at most 128."""
Default = Annotated[
    float,
    BeforeValidator(_number_or_missing),
    # YAML as other programs read it has no number `nan` without a dot.
    WithJsonSchema({"type": ["number", "string", "null"], "pattern": "^(nan|NaN|NAN)$"}),
]
"""A finite number or NaN, written as ``nan`` or ``null``."""
Exact = Annotated[Decimal, BeforeValidator(_decimal), WithJsonSchema({"type": "number"})]
"""A finite number with the digits that it is written with."""
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
    "first",
    "time_since_first",
    "mode_share",
    "entropy",
    "median",
    "percentile",
]

"""Terms of expressions, and the functions that expressions may call."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np

from features.expression import elementary
from features.expression import operations as op

Json = Any
"""A value that json.dumps can write: list, text or number."""
Evaluate = Callable[[Any], Any]
"""Function from a frame (the values of a micro-batch) to the value of a term.

The value is float64[N] or 0-d for numbers and conditions, Text, or Times.
"""


class Sort(StrEnum):
    """The kind of value of a term."""

    NUMBER = "a number"
    BOOLEAN = "a condition"
    TEXT = "text"
    TIME = "a time"


@dataclass(frozen=True, slots=True)
class Term:
    """A part of an expression.

    Attributes:
        sort: Kind of its value.
        canonical: Definition as JSON; equal for equal terms, however they are written.
        evaluate: Function from a frame to its value.
        constant: Its value if it is a constant, else None.
    """

    sort: Sort
    canonical: Json
    evaluate: Evaluate
    constant: float | str | None = None


_NUMERIC = (Sort.NUMBER, Sort.BOOLEAN)


@dataclass(frozen=True, slots=True)
class Function:
    """A function of the language.

    Attributes:
        compute: Implementation over columns.
        fewest: Smallest number of arguments.
        most: Largest number of arguments.
        first: Sorts that the first argument may have; all others are numbers.
        result: Sort of the result.
    """

    compute: Callable[..., Any]
    fewest: int = 1
    most: int = 1
    first: tuple[Sort, ...] = _NUMERIC
    result: Sort = Sort.NUMBER

    def sorts(self, place: int) -> tuple[Sort, ...]:
        return self.first if place == 0 else _NUMERIC

    def arguments(self) -> str:
        """The number of arguments that the function takes, in words."""
        if self.fewest == self.most:
            return f"{self.fewest} argument{'s' if self.fewest > 1 else ''}"
        return f"{self.fewest} to {self.most} arguments"

    def apply(self, name: str, terms: list[Term]) -> Term:
        """Build the term for a call of this function; the arguments have been checked."""
        compute = self.compute
        every = [term.evaluate for term in terms]
        return Term(
            self.result,
            [name, *(term.canonical for term in terms)],
            lambda frame: compute(*(evaluate(frame) for evaluate in every)),
        )


def _is_null(value: Any) -> Any:
    if isinstance(value, op.Text | op.Times):
        return op.value_is_null(value)
    return op.number_is_null(value)


_TIME = (Sort.TIME,)
_MANY = 8

FUNCTIONS = {
    "abs": Function(np.abs),
    "ceil": Function(np.ceil),
    "coalesce": Function(op.coalesce, fewest=2, most=_MANY),
    "day": Function(op.day, first=_TIME),
    "exp": Function(elementary.exp),
    "floor": Function(np.floor),
    "hour": Function(op.hour, first=_TIME),
    "is_null": Function(_is_null, first=tuple(Sort), result=Sort.BOOLEAN),
    "log": Function(op.log),
    "log1p": Function(op.log1p),
    "max": Function(op.largest, fewest=2, most=_MANY),
    "min": Function(op.smallest, fewest=2, most=_MANY),
    "round": Function(np.rint),
    "sqrt": Function(np.sqrt),
    "weekday": Function(op.weekday, first=_TIME),
    "where": Function(op.where, fewest=3, most=3, first=(Sort.BOOLEAN,)),
}

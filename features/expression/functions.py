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
        min_arguments: Smallest number of arguments.
        max_arguments: Largest number of arguments.
        first: Sorts that the first argument may have; all others are numbers.
        result: Sort of the result.
    """

    compute: Callable[..., Any]
    min_arguments: int = 1
    max_arguments: int = 1
    first: tuple[Sort, ...] = _NUMERIC
    result: Sort = Sort.NUMBER

    def sorts(self, place: int) -> tuple[Sort, ...]:
        return self.first if place == 0 else _NUMERIC

    def arguments(self) -> str:
        """The number of arguments that the function takes, in words."""
        if self.min_arguments == self.max_arguments:
            return f"{self.min_arguments} argument{'s' if self.min_arguments > 1 else ''}"
        return f"{self.min_arguments} to {self.max_arguments} arguments"

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
_MAX_ARGUMENTS = 8

FUNCTIONS = {
    "abs": Function(np.abs),
    "ceil": Function(np.ceil),
    "coalesce": Function(op.coalesce, min_arguments=2, max_arguments=_MAX_ARGUMENTS),
    "day": Function(op.day, first=_TIME),
    "exp": Function(elementary.exp),
    "floor": Function(np.floor),
    "hour": Function(op.hour, first=_TIME),
    "is_null": Function(_is_null, first=tuple(Sort), result=Sort.BOOLEAN),
    "log": Function(op.log),
    "log1p": Function(op.log1p),
    "max": Function(op.largest, min_arguments=2, max_arguments=_MAX_ARGUMENTS),
    "min": Function(op.smallest, min_arguments=2, max_arguments=_MAX_ARGUMENTS),
    "round": Function(np.rint),
    "sqrt": Function(np.sqrt),
    "weekday": Function(op.weekday, first=_TIME),
    "where": Function(op.where, min_arguments=3, max_arguments=3, first=(Sort.BOOLEAN,)),
}

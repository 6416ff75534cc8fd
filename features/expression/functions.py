"""The terms that expressions are made of, and the functions that they may call."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np

from features.expression import elementary
from features.expression import operations as op

Json = Any
"""What json.dumps writes: lists, text, numbers."""
Evaluate = Callable[[Any], Any]
"""From a frame (the values of a micro-batch, as the leaves of the expression read them) to the
value of a term: float64[N] or 0-d for numbers and conditions, Text, or Times."""


class Sort(StrEnum):
    """What kind of value a term has."""

    NUMBER = "a number"
    BOOLEAN = "a condition"
    TEXT = "text"
    TIME = "a time"


@dataclass(frozen=True, slots=True)
class Term:
    """A part of an expression.

    canonical: its definition as JSON, the same however it is written.
    constant: its value, where it is one.
    """

    sort: Sort
    canonical: Json
    evaluate: Evaluate
    constant: float | str | None = None


_NUMERIC = (Sort.NUMBER, Sort.BOOLEAN)


@dataclass(frozen=True, slots=True)
class Function:
    """A function of the language.

    first: the sorts that the first argument may have; all others are numbers.
    """

    compute: Callable[..., Any]
    fewest: int = 1
    most: int = 1
    first: tuple[Sort, ...] = _NUMERIC
    result: Sort = Sort.NUMBER

    def sorts(self, place: int) -> tuple[Sort, ...]:
        return self.first if place == 0 else _NUMERIC

    def arguments(self) -> str:
        """How many arguments it takes, in words."""
        if self.fewest == self.most:
            return f"{self.fewest} argument{'s' if self.fewest > 1 else ''}"
        return f"{self.fewest} to {self.most} arguments"

    def apply(self, name: str, terms: list[Term]) -> Term:
        """The call of this function, whose arguments have been checked."""
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

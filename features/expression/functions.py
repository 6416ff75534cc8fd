"""Terms of expressions, and the functions that expressions may call."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from functools import partial, reduce
from typing import Any, cast

from features.expression.expression_program import ConstantNode, Node, Operation
from features.expression.kernel import instructions as op

Json = Any
"""A value that json.dumps can write: list, text or number."""


class Sort(StrEnum):
    """The kind of value of a term."""

    NUMBER = "a number"
    BOOLEAN = "a condition"
    TEXT = "text"
    TIME = "a time"
    TOKEN = "a token"  # noqa: S105 - in words


@dataclass(frozen=True, slots=True)
class Term:
    """A part of an expression.

    Attributes:
        sort: Kind of its value.
        canonical: Definition as JSON; equal for equal terms, however they are written.
        node: Its computation.
        known: 1 where a text or time is not missing, else 0; None for other sorts.
    """

    sort: Sort
    canonical: Json
    node: Node
    known: Node | None = None

    @property
    def constant(self) -> float | str | None:
        """Its value if it is a constant, else None."""
        return self.node.value if isinstance(self.node, ConstantNode) else None


def apply(code: int, *terms: Term) -> Operation:
    """Apply an operation to the values of ``terms``."""
    return Operation(code, tuple(term.node for term in terms))


def fold(code: int, *terms: Term) -> Node:
    """Apply an operation with two operands to the first two terms, to that and the third, etc."""
    return reduce(lambda node, term: Operation(code, (node, term.node)), terms[1:], terms[0].node)


_NUMERIC = (Sort.NUMBER, Sort.BOOLEAN)


@dataclass(frozen=True, slots=True)
class Function:
    """A function of the language.

    Attributes:
        build: Function from the terms of its arguments to its computation.
        min_arguments: Smallest number of arguments.
        max_arguments: Largest number of arguments.
        first: Sorts that the first argument may have; all others are numbers.
        result: Sort of the result.
    """

    build: Callable[..., Node]
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
        canonical = [name, *(term.canonical for term in terms)]
        return Term(self.result, canonical, self.build(*terms))


def _is_null(term: Term) -> Node:
    if term.known is None:
        return apply(op.IS_NULL, term)
    return Operation(op.NOT, (term.known,))


def _part_of_time(code: int, time: Term) -> Node:
    return Operation(code, (time.node, cast("Node", time.known)))


_TIME = (Sort.TIME,)
_MAX_ARGUMENTS = 8

FUNCTIONS = {
    "abs": Function(partial(apply, op.ABSOLUTE)),
    "ceil": Function(partial(apply, op.CEILING)),
    "coalesce": Function(partial(fold, op.FIRST), min_arguments=2, max_arguments=_MAX_ARGUMENTS),
    "day": Function(partial(_part_of_time, op.DAY), first=_TIME),
    "exp": Function(partial(apply, op.EXP)),
    "floor": Function(partial(apply, op.FLOOR)),
    "hour": Function(partial(_part_of_time, op.HOUR), first=_TIME),
    "is_null": Function(_is_null, first=tuple(Sort), result=Sort.BOOLEAN),
    "log": Function(partial(apply, op.LOG)),
    "log1p": Function(partial(apply, op.LOG1P)),
    "max": Function(partial(fold, op.LARGER), min_arguments=2, max_arguments=_MAX_ARGUMENTS),
    "min": Function(partial(fold, op.SMALLER), min_arguments=2, max_arguments=_MAX_ARGUMENTS),
    "round": Function(partial(apply, op.ROUND)),
    "sqrt": Function(partial(apply, op.SQRT)),
    "weekday": Function(partial(_part_of_time, op.WEEKDAY), first=_TIME),
    "where": Function(
        partial(apply, op.WHERE), min_arguments=3, max_arguments=3, first=(Sort.BOOLEAN,)
    ),
}

"""Compile expressions in an allow-listed part of Python's grammar to column operations.

Python never evaluates an expression: the syntax tree is checked and turned into closures over
the functions of ``operations``.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
import pyarrow as pa

from base.suggest import unknown
from features.expression import operations as op
from features.expression.functions import FUNCTIONS, Evaluate, Json, Sort, Term
from features.expression.syntax import Source, describe

MAX_EXPONENT = 16
_EXACT_INTEGER = 2**53


@dataclass(frozen=True, slots=True)
class Expression:
    """A compiled expression.

    Attributes:
        term: Sort, canonical form (independent of blanks and parentheses) and evaluation.
        names: Names of the scope that it uses.
    """

    term: Term
    names: frozenset[str]


def compile_expression(source: str, scope: Mapping[str, Term]) -> Expression:
    """Compile ``source`` to column operations over the names in ``scope``.

    Args:
        source: The expression.
        scope: Terms of the names that it may use.

    Returns:
        The compiled expression.

    Raises:
        ExpressionError: ``source`` is not part of the language, uses a name that is not in
            ``scope``, mixes text, times and numbers, or is too large.
    """
    compiler = _Compiler(source, scope)
    return Expression(compiler.compile(), frozenset(compiler.names))


_ARITHMETIC: dict[type[ast.operator], tuple[str, Callable[[Any, Any], Any]]] = {
    ast.Add: ("+", np.add),
    ast.Sub: ("-", np.subtract),
    ast.Mult: ("*", np.multiply),
    ast.Div: ("/", op.divide),
    ast.FloorDiv: ("//", op.floor_divide),
    ast.Mod: ("%", op.remainder),
}
_COMPARISONS: dict[type[ast.cmpop], tuple[str, Callable[[Any, Any], Any]]] = {
    ast.Lt: ("<", np.less),
    ast.LtE: ("<=", np.less_equal),
    ast.Gt: (">", np.greater),
    ast.GtE: (">=", np.greater_equal),
    ast.Eq: ("==", np.equal),
    ast.NotEq: ("!=", np.not_equal),
}


class _Compiler:
    def __init__(self, source: str, scope: Mapping[str, Term]) -> None:
        self._source = Source(source)
        self._scope = scope
        self.names: set[str] = set()
        self._kinds: dict[type[ast.expr], Callable[[Any], Term]] = {
            ast.Attribute: self._name,
            ast.BinOp: self._binary,
            ast.BoolOp: self._logical,
            ast.Call: self._call,
            ast.Compare: self._comparisons,
            ast.Constant: self._constant,
            ast.IfExp: self._choice,
            ast.Name: self._name,
            ast.UnaryOp: self._unary,
        }

    def compile(self) -> Term:
        body = self._source.parse()
        term = self._term(body)
        if term.sort in (Sort.TEXT, Sort.TIME):
            self._fail(body, f"gives {term.sort.value}; a feature is a number or a condition")
        return term

    def _term(self, node: ast.expr) -> Term:
        compile_node = self._kinds.get(type(node))
        if compile_node is None:
            self._fail(node, f"{describe(node)} is not part of the language")
        return compile_node(node)

    def _constant(self, node: ast.Constant) -> Term:
        value = node.value
        if isinstance(value, str):
            return Term(Sort.TEXT, ["text", value], _never, constant=value)
        if isinstance(value, bool):
            number = np.float64(value)
            return Term(Sort.BOOLEAN, ["condition", value], lambda _: number, constant=number)
        if not isinstance(value, int | float):
            self._fail(node, f"{describe(node)} is not part of the language")
        if isinstance(value, int) and abs(value) > _EXACT_INTEGER:
            self._fail(node, "a whole number beyond 2**53 would be rounded: write it with a dot")
        number = np.float64(value)
        if not np.isfinite(number):
            self._fail(node, "a number too large for float64")
        return Term(Sort.NUMBER, ["number", float(number)], lambda _: number, constant=number)

    def _name(self, node: ast.Name | ast.Attribute) -> Term:
        parts: list[str] = []
        current: ast.expr = node
        while isinstance(current, ast.Attribute):
            parts.append(current.attr)
            current = current.value
        if not isinstance(current, ast.Name):
            self._fail(node, "a dot goes from record to field only, as in merchant.country")
        name = ".".join([current.id, *reversed(parts)])
        term = self._scope.get(name)
        if term is None:
            if name in FUNCTIONS:
                self._fail(node, f"{name} is a function: write {name}(...)")
            self._fail(node, unknown("name", name, self._scope))
        self.names.add(name)
        return term

    def _unary(self, node: ast.UnaryOp) -> Term:
        if isinstance(node.op, ast.Not):
            operand = self._condition(node.operand)
            return Term(Sort.BOOLEAN, ["not", operand.canonical], _map(op.negation, operand))
        if isinstance(node.op, ast.UAdd):
            return self._number(node.operand)
        if not isinstance(node.op, ast.USub):
            self._fail(node, "~ is not part of the language; for conditions write not")
        operand = self._number(node.operand)
        constant = None if operand.constant is None else -np.float64(operand.constant)
        return Term(
            Sort.NUMBER, ["negative", operand.canonical], _map(np.negative, operand), constant
        )

    def _binary(self, node: ast.BinOp) -> Term:
        if isinstance(node.op, ast.Pow):
            return self._power(node)
        operator = _ARITHMETIC.get(type(node.op))
        if operator is None:
            words = "; for conditions write and, or" if isinstance(node.op, _BITWISE) else ""
            self._fail(node, f"{describe(node.op)} is not part of the language{words}")
        symbol, function = operator
        left, right = self._number(node.left), self._number(node.right)
        canonical: Json = [symbol, left.canonical, right.canonical]
        return Term(Sort.NUMBER, canonical, _map(function, left, right))

    def _power(self, node: ast.BinOp) -> Term:
        base, exponent = self._number(node.left), self._number(node.right).constant
        whole = isinstance(exponent, float) and float(exponent).is_integer()
        if not isinstance(exponent, float) or not (
            exponent == 0.5 or (whole and 1 <= abs(exponent) <= MAX_EXPONENT)
        ):
            self._fail(
                node.right,
                f"an exponent is a whole number from 1 to {MAX_EXPONENT}, its negative, or 0.5; "
                "else write exp(y * log(x))",
            )
        power = float(exponent)
        return Term(
            Sort.NUMBER,
            ["**", base.canonical, power],
            _map(lambda x: op.power(x, power), base),
        )

    def _logical(self, node: ast.BoolOp) -> Term:
        symbol, function = ("and", op.both) if isinstance(node.op, ast.And) else ("or", op.either)
        return self._fold(symbol, function, [self._condition(value) for value in node.values])

    def _comparisons(self, node: ast.Compare) -> Term:
        operands = [node.left, *node.comparators]
        terms = [
            self._comparison(left, comparator, right)
            for left, comparator, right in zip(operands, node.ops, operands[1:], strict=False)
        ]
        return self._fold("and", op.both, terms)

    def _comparison(self, left: ast.expr, comparator: ast.cmpop, right: ast.expr) -> Term:
        if isinstance(comparator, ast.In | ast.NotIn):
            member = self._membership(left, right)
            if isinstance(comparator, ast.In):
                return member
            return Term(Sort.BOOLEAN, ["not", member.canonical], _map(op.negation, member))
        operator = _COMPARISONS.get(type(comparator))
        if operator is None:
            self._fail(left, "is is not part of the language: write == or is_null(...)")
        symbol, function = operator
        a, b = self._term(left), self._term(right)
        canonical: Json = [symbol, a.canonical, b.canonical]
        if Sort.TEXT in (a.sort, b.sort):
            return self._text_comparison(right, symbol, a, b)
        for node, term in ((left, a), (right, b)):
            self._expect_number(node, term)
        missing = [place for place, term in enumerate((a, b)) if term.constant is None]

        def compare(x: Any, y: Any) -> Any:
            operands = (x, y)
            return op.known(function(x, y), *(operands[place] for place in missing))

        return Term(Sort.BOOLEAN, canonical, _map(compare, a, b))

    def _text_comparison(self, node: ast.expr, symbol: str, a: Term, b: Term) -> Term:
        if a.sort is not b.sort:
            other = b if a.sort is Sort.TEXT else a
            self._fail(node, f"text is compared with {other.sort.value}: quote the value")
        if symbol not in ("==", "!="):
            self._fail(node, f"text has no order: {symbol} is for numbers")
        if isinstance(a.constant, str):
            a, b = b, a
        if isinstance(a.constant, str):
            self._fail(node, "both texts are constants")
        equal: Evaluate
        if isinstance(b.constant, str):
            constant = pa.scalar(b.constant, pa.string())
            equal = _map(lambda x: op.text_is(x, constant), a)
        else:
            equal = _map(op.text_equal, a, b)
        canonical: Json = ["==", *sorted((a.canonical, b.canonical), key=repr)]
        term = Term(Sort.BOOLEAN, canonical, equal)
        if symbol == "==":
            return term
        return Term(Sort.BOOLEAN, ["not", canonical], _map(op.negation, term))

    def _membership(self, left: ast.expr, right: ast.expr) -> Term:
        operand = self._term(left)
        if not isinstance(right, ast.List | ast.Tuple | ast.Set) or not right.elts:
            self._fail(right, "in is followed by a list of values, as in ['ecom', 'pos']")
        members = [self._term(element) for element in right.elts]
        for element, member in zip(right.elts, members, strict=True):
            if member.constant is None:
                self._fail(element, "a list after in holds constants only")
            if (member.sort is Sort.TEXT) is not (operand.sort is Sort.TEXT):
                self._fail(element, f"{operand.sort.value} is compared with {member.sort.value}")
        canonical: Json = [
            "in",
            operand.canonical,
            sorted((m.canonical for m in members), key=repr),
        ]
        if operand.sort is Sort.TEXT:
            if operand.constant is not None:
                self._fail(left, "a constant text is searched in a list")
            texts = pa.array([member.constant for member in members], pa.string())
            return Term(Sort.BOOLEAN, canonical, _map(lambda x: op.text_in(x, texts), operand))
        self._expect_number(left, operand)
        values = np.array([member.constant for member in members], dtype=np.float64)
        return Term(Sort.BOOLEAN, canonical, _map(lambda x: op.number_in(x, values), operand))

    def _choice(self, node: ast.IfExp) -> Term:
        condition = self._condition(node.test)
        then, otherwise = self._number(node.body), self._number(node.orelse)
        return FUNCTIONS["where"].apply("where", [condition, then, otherwise])

    def _call(self, node: ast.Call) -> Term:
        if not isinstance(node.func, ast.Name):
            self._fail(node.func, "only the functions of the language can be called")
        function = FUNCTIONS.get(node.func.id)
        if function is None:
            self._fail(node.func, unknown("function", node.func.id, FUNCTIONS))
        if node.keywords:
            self._fail(node.keywords[0].value, "arguments are given by place, not by name")
        if not function.min_arguments <= len(node.args) <= function.max_arguments:
            self._fail(node, f"{node.func.id} takes {function.arguments()}")
        terms = [self._term(argument) for argument in node.args]
        for place, (argument, term) in enumerate(zip(node.args, terms, strict=True)):
            if term.sort not in function.sorts(place):
                wanted = function.sorts(place)[0].value
                self._fail(argument, f"{node.func.id} takes {wanted} here, not {term.sort.value}")
            if isinstance(term.constant, str):
                self._fail(argument, "a constant text")
        return function.apply(node.func.id, terms)

    def _fold(self, symbol: str, function: Callable[[Any, Any], Any], terms: list[Term]) -> Term:
        result = terms[0]
        for term in terms[1:]:
            canonical: Json = [symbol, result.canonical, term.canonical]
            result = Term(Sort.BOOLEAN, canonical, _map(function, result, term))
        return result

    def _number(self, node: ast.expr) -> Term:
        term = self._term(node)
        self._expect_number(node, term)
        return term

    def _expect_number(self, node: ast.expr, term: Term) -> None:
        if term.sort is Sort.TEXT:
            self._fail(node, "text is not a number: compare it with ==, != or in")
        if term.sort is Sort.TIME:
            self._fail(node, "a time is not a number: use hour(...), weekday(...) or day(...)")

    def _condition(self, node: ast.expr) -> Term:
        term = self._term(node)
        if term.sort is not Sort.BOOLEAN:
            self._fail(node, f"a condition is needed here, not {term.sort.value}: write x != 0")
        return term

    def _fail(self, node: ast.AST, message: str) -> NoReturn:
        raise self._source.refuse(node, message)


_BITWISE = (ast.BitAnd, ast.BitOr, ast.BitXor)


def _map(function: Callable[..., Any], *terms: Term) -> Evaluate:
    """The evaluation that applies ``function`` to the values of ``terms``."""
    if len(terms) == 1:
        one = terms[0].evaluate
        return lambda frame: function(one(frame))
    if len(terms) == 2:
        left, right = terms[0].evaluate, terms[1].evaluate
        return lambda frame: function(left(frame), right(frame))
    every = [term.evaluate for term in terms]
    return lambda frame: function(*(evaluate(frame) for evaluate in every))


def _never(_: Any) -> NoReturn:
    raise AssertionError("a constant text has no column")

"""Compile expressions in an allow-listed part of Python's grammar to terms.

Python never evaluates an expression: the syntax tree is checked and turned into nodes, which a
program computes.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn, cast

from base.suggest import unknown
from features.expression.expression_program import ConstantNode, Input, Listed, Node, Operation
from features.expression.functions import FUNCTIONS, Json, Sort, Term, apply
from features.expression.kernel import instructions as op
from features.expression.syntax import Source, describe
from features.expression.texts import text_equal

MAX_EXPONENT = 16
_EXACT_INTEGER = 2**53


@dataclass(frozen=True, slots=True)
class Expression:
    """A compiled expression.

    Attributes:
        term: Sort, canonical form (independent of blanks and parentheses) and computation.
        names: Names of the scope that it uses.
    """

    term: Term
    names: frozenset[str]


def compile_expression(source: str, scope: Mapping[str, Term]) -> Expression:
    """Compile ``source`` to a term over the names in ``scope``.

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


_ARITHMETIC: dict[type[ast.operator], tuple[str, int]] = {
    ast.Add: ("+", op.ADD),
    ast.Sub: ("-", op.SUBTRACT),
    ast.Mult: ("*", op.MULTIPLY),
    ast.Div: ("/", op.DIVIDE),
    ast.FloorDiv: ("//", op.FLOOR_DIVIDE),
    ast.Mod: ("%", op.MODULO),
}
_COMPARISONS: dict[type[ast.cmpop], tuple[str, Callable[[Term, Term], Node]]] = {
    ast.Lt: ("<", lambda a, b: apply(op.LESS, a, b)),
    ast.LtE: ("<=", lambda a, b: apply(op.LESS_EQUAL, a, b)),
    ast.Gt: (">", lambda a, b: apply(op.LESS, b, a)),
    ast.GtE: (">=", lambda a, b: apply(op.LESS_EQUAL, b, a)),
    ast.Eq: ("==", lambda a, b: apply(op.EQUAL, a, b)),
    ast.NotEq: ("!=", lambda a, b: _negation(apply(op.EQUAL, a, b))),
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
        if term.sort in (Sort.TEXT, Sort.TIME, Sort.TOKEN):
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
            return Term(Sort.TEXT, ["text", value], ConstantNode(value))
        if isinstance(value, bool):
            return Term(Sort.BOOLEAN, ["condition", value], ConstantNode(float(value)))
        if not isinstance(value, int | float):
            self._fail(node, f"{describe(node)} is not part of the language")
        if isinstance(value, int) and abs(value) > _EXACT_INTEGER:
            self._fail(node, "a whole number beyond 2**53 would be rounded: write it with a dot")
        number = float(value)
        if not math.isfinite(number):
            self._fail(node, "a number too large for float64")
        return Term(Sort.NUMBER, ["number", number], ConstantNode(number))

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
            return Term(Sort.BOOLEAN, ["not", operand.canonical], _negation(operand.node))
        if isinstance(node.op, ast.UAdd):
            return self._number(node.operand)
        if not isinstance(node.op, ast.USub):
            self._fail(node, "~ is not part of the language; for conditions write not")
        operand = self._number(node.operand)
        negative: Node = apply(op.NEGATIVE, operand)
        if isinstance(operand.constant, float):
            negative = ConstantNode(-operand.constant)
        return Term(Sort.NUMBER, ["negative", operand.canonical], negative)

    def _binary(self, node: ast.BinOp) -> Term:
        if isinstance(node.op, ast.Pow):
            return self._power(node)
        operator = _ARITHMETIC.get(type(node.op))
        if operator is None:
            words = "; for conditions write and, or" if isinstance(node.op, _BITWISE) else ""
            self._fail(node, f"{describe(node.op)} is not part of the language{words}")
        symbol, code = operator
        left, right = self._number(node.left), self._number(node.right)
        canonical: Json = [symbol, left.canonical, right.canonical]
        return Term(Sort.NUMBER, canonical, apply(code, left, right))

    def _power(self, node: ast.BinOp) -> Term:
        base, exponent = self._number(node.left), self._number(node.right).constant
        whole = isinstance(exponent, float) and exponent.is_integer()
        if not isinstance(exponent, float) or not (
            exponent == 0.5 or (whole and 1 <= abs(exponent) <= MAX_EXPONENT)
        ):
            self._fail(
                node.right,
                f"an exponent is a whole number from 1 to {MAX_EXPONENT}, its negative, or 0.5; "
                "else write exp(y * log(x))",
            )
        return Term(Sort.NUMBER, ["**", base.canonical, exponent], _power(base.node, exponent))

    def _logical(self, node: ast.BoolOp) -> Term:
        symbol, code = ("and", op.AND) if isinstance(node.op, ast.And) else ("or", op.OR)
        return self._fold(symbol, code, [self._condition(value) for value in node.values])

    def _comparisons(self, node: ast.Compare) -> Term:
        operands = [node.left, *node.comparators]
        terms = [
            self._comparison(left, comparator, right)
            for left, comparator, right in zip(operands, node.ops, operands[1:], strict=False)
        ]
        return self._fold("and", op.AND, terms)

    def _comparison(self, left: ast.expr, comparator: ast.cmpop, right: ast.expr) -> Term:
        if isinstance(comparator, ast.In | ast.NotIn):
            member = self._membership(left, right)
            if isinstance(comparator, ast.In):
                return member
            return Term(Sort.BOOLEAN, ["not", member.canonical], _negation(member.node))
        operator = _COMPARISONS.get(type(comparator))
        if operator is None:
            self._fail(left, "is is not part of the language: write == or is_null(...)")
        symbol, build = operator
        a, b = self._term(left), self._term(right)
        for node, term in ((left, a), (right, b)):
            self._refuse_token(node, term)
        canonical: Json = [symbol, a.canonical, b.canonical]
        if Sort.TEXT in (a.sort, b.sort):
            return self._text_comparison(right, symbol, a, b)
        for node, term in ((left, a), (right, b)):
            self._expect_number(node, term)
        return Term(Sort.BOOLEAN, canonical, build(a, b))

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
        equal: Node
        if isinstance(b.constant, str):
            equal = Listed(_input(a), {b.constant: 1.0}, 0.0)
        else:
            equal = _texts_equal(_input(a), _input(b))
        canonical: Json = ["==", *sorted((a.canonical, b.canonical), key=repr)]
        if symbol == "==":
            return Term(Sort.BOOLEAN, canonical, equal)
        return Term(Sort.BOOLEAN, ["not", canonical], _negation(equal))

    def _membership(self, left: ast.expr, right: ast.expr) -> Term:
        operand = self._term(left)
        self._refuse_token(left, operand)
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
            texts = {str(member.constant): 1.0 for member in members}
            return Term(Sort.BOOLEAN, canonical, Listed(_input(operand), texts, 0.0))
        self._expect_number(left, operand)
        values = tuple(float(cast("float", member.constant)) for member in members)
        node = Operation(op.MEMBER, (operand.node,), values)
        return Term(Sort.BOOLEAN, canonical, node)

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

    def _fold(self, symbol: str, code: int, terms: list[Term]) -> Term:
        result = terms[0]
        for term in terms[1:]:
            canonical: Json = [symbol, result.canonical, term.canonical]
            result = Term(Sort.BOOLEAN, canonical, apply(code, result, term))
        return result

    def _number(self, node: ast.expr) -> Term:
        term = self._term(node)
        self._expect_number(node, term)
        return term

    def _refuse_token(self, node: ast.expr, term: Term) -> None:
        if term.sort is Sort.TOKEN:
            self._fail(node, "a token stands for a value that is not there: only is_null takes it")

    def _expect_number(self, node: ast.expr, term: Term) -> None:
        self._refuse_token(node, term)
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


def _negation(condition: Node) -> Node:
    return Operation(op.NOT, (condition,))


def _power(base: Node, exponent: float) -> Node:
    if exponent == 0.5:
        return Operation(op.SQRT, (base,))
    power = Operation(op.POWER, (base,), (abs(exponent),))
    return power if exponent > 0 else Operation(op.DIVIDE, (ConstantNode(1.0), power))


def _input(text: Term) -> Input:
    """The column of a text that is not a constant."""
    return cast("Input", text.node)


def _texts_equal(a: Input, b: Input) -> Node:
    return Input(f"{a.name} == {b.name}", lambda frame: text_equal(a.read(frame), b.read(frame)))

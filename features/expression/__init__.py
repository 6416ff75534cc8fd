"""Expressions over columns: a small language, checked at load, same bits on any machine."""

from base.errors import ExpressionError
from features.expression.compiler import Expression, compile_expression
from features.expression.functions import FUNCTIONS, Sort, Term
from features.expression.program import Program

__all__ = [
    "FUNCTIONS",
    "Expression",
    "ExpressionError",
    "Program",
    "Sort",
    "Term",
    "compile_expression",
]

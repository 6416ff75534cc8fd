"""Expressions over columns: a small language, checked at load, same bits on any machine."""

from base.errors import ExpressionError
from features.expression.compiler import Expression, compile_expression
from features.expression.expression_program import ExpressionProgram
from features.expression.functions import FUNCTIONS, Sort, Term

__all__ = [
    "FUNCTIONS",
    "Expression",
    "ExpressionError",
    "ExpressionProgram",
    "Sort",
    "Term",
    "compile_expression",
]

"""Expressions over columns: a small language, checked when it is read, the same bits anywhere."""

from features.expression.compiler import Expression, compile_expression
from features.expression.functions import FUNCTIONS, Sort, Term
from features.expression.syntax import ExpressionError

__all__ = ["FUNCTIONS", "Expression", "ExpressionError", "Sort", "Term", "compile_expression"]

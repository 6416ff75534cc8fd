"""Expressions over columns: a small language, checked when it is read, the same bits anywhere."""

from base.errors import ExpressionError
from features.expression.compiler import Expression, compile_expression
from features.expression.functions import FUNCTIONS, Sort, Term

__all__ = ["FUNCTIONS", "Expression", "ExpressionError", "Sort", "Term", "compile_expression"]

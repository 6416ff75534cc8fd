"""From the text of an expression to a syntax tree of bounded size, with the place of each node."""

from __future__ import annotations

import ast
import re

MAX_CHARACTERS = 4096
MAX_NODES = 500
MAX_DEPTH = 40
"""Of the tree and of the brackets: less than any version of Python's own parser takes."""
_TOO_DEEP = "nested too deeply: name a part as a feature of its own"
_TEXT_OR_BRACKET = re.compile(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|[()\[\]{}]""")


class ExpressionError(Exception):
    """An expression that does not hold; ``offset`` is the character where, from 0."""

    def __init__(self, offset: int, message: str) -> None:
        super().__init__(message)
        self.offset = offset


class Source:
    """The text of one expression."""

    def __init__(self, text: str) -> None:
        # Line breaks are blanks in a YAML block; the parser would take them for an end.
        blank = text.replace("\n", " ").replace("\r", " ")
        self._indent = len(blank) - len(blank.lstrip())
        self._text = blank.strip()

    def parse(self) -> ast.expr:
        """The syntax tree; ExpressionError where there is none, or one too large."""
        if not self._text:
            raise ExpressionError(0, "an empty expression: write one, or remove it")
        if len(self._text) > MAX_CHARACTERS:
            raise ExpressionError(0, f"longer than {MAX_CHARACTERS} characters: split it in two")
        self._check_brackets()
        try:
            body = ast.parse(self._text, mode="eval").body
        except SyntaxError as error:
            # The parser gives 0 where the text ends too early.
            offset = min(error.offset - 1 if error.offset else len(self._text), len(self._text))
            raise ExpressionError(
                self._indent + offset, f"this is no expression: {error.msg}"
            ) from error
        except ValueError as error:
            raise ExpressionError(0, f"this is no expression: {error}") from error
        except (MemoryError, RecursionError) as error:
            raise ExpressionError(0, _TOO_DEEP) from error
        _check_size(body)
        return body

    def _check_brackets(self) -> None:
        """ExpressionError for what versions of Python refuse at other depths, or in other words."""
        null = self._text.find("\0")
        if null != -1:
            raise ExpressionError(self._indent + null, "this is no expression: a null character")
        depth = 0
        for found in _TEXT_OR_BRACKET.finditer(self._text):
            depth += (found[0] in "([{") - (found[0] in ")]}")
            if depth > MAX_DEPTH:
                raise ExpressionError(self._indent + found.start(), _TOO_DEEP)

    def refuse(self, node: ast.AST, message: str) -> ExpressionError:
        """The error to raise for ``node``."""
        # The parser counts bytes of UTF-8.
        before = self._text.encode()[: getattr(node, "col_offset", 0)].decode()
        return ExpressionError(self._indent + len(before), message)


def describe(node: ast.AST) -> str:
    """A part of Python's grammar, as its author wrote it."""
    if isinstance(node, ast.Constant):
        return repr(node.value)
    return _WORDS.get(type(node), f"Python's {type(node).__name__}")


_WORDS: dict[type[ast.AST], str] = {
    ast.Subscript: "[...]",
    ast.Lambda: "lambda",
    ast.JoinedStr: "a formatted text",
    ast.NamedExpr: ":=",
    ast.MatMult: "@",
    ast.BitAnd: "&",
    ast.BitOr: "|",
    ast.BitXor: "^",
    ast.LShift: "<<",
    ast.RShift: ">>",
    ast.List: "a list outside of in",
    ast.Tuple: "a tuple outside of in",
}


def _check_size(body: ast.expr) -> None:
    level: list[ast.AST] = [body]
    depth = nodes = 0
    while level:
        depth, nodes = depth + 1, nodes + len(level)
        if depth > MAX_DEPTH:
            raise ExpressionError(0, _TOO_DEEP)
        if nodes > MAX_NODES:
            raise ExpressionError(0, "too long: name a part as a feature of its own")
        level = [
            child
            for node in level
            for child in ast.iter_child_nodes(node)
            if isinstance(child, ast.expr)
        ]

"""Parse the text of an expression to a syntax tree of bounded size that keeps source positions."""

from __future__ import annotations

import ast
import re

from base.errors import ExpressionError

MAX_CHARACTERS = 4096
MAX_NODES = 500
MAX_DEPTH = 40
"""Maximum depth of the tree and of the brackets; every version of Python's parser takes more."""
_TOO_DEEP = "nested too deeply: name a part as a feature of its own"
_TEXT_OR_BRACKET = re.compile(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|[()\[\]{}]""")


class Source:
    """The text of one expression."""

    def __init__(self, text: str) -> None:
        self._indent = len(text) - len(text.lstrip())
        self._text = text.strip()

    def parse(self) -> ast.expr:
        """Parse the text to a syntax tree; ExpressionError if it is invalid or too large."""
        if not self._text:
            raise ExpressionError(0, "an empty expression: write one, or remove it")
        if len(self._text) > MAX_CHARACTERS:
            raise ExpressionError(0, f"longer than {MAX_CHARACTERS} characters: split it in two")
        self._check_brackets()
        try:
            body = ast.parse(self._one_line(), mode="eval").body
        except SyntaxError as error:
            # The parser gives 0 where the text ends too early.
            offset = len(self._text)
            if error.offset:
                offset = min(self._line_start(error.lineno or 1) + error.offset - 1, offset)
            raise ExpressionError(
                self._indent + offset, f"this is not an expression: {error.msg}"
            ) from error
        except ValueError as error:
            raise ExpressionError(0, f"this is not an expression: {error}") from error
        except (MemoryError, RecursionError) as error:
            raise ExpressionError(0, _TOO_DEEP) from error
        _check_size(body)
        return body

    def _check_brackets(self) -> None:
        """Raise ExpressionError for brackets on whose depth or message Python versions differ."""
        null = self._text.find("\0")
        if null != -1:
            raise ExpressionError(
                self._indent + null, "this is not an expression: a null character"
            )
        depth = 0
        for bracket in _TEXT_OR_BRACKET.finditer(self._text):
            depth += (bracket[0] in "([{") - (bracket[0] in ")]}")
            if depth > MAX_DEPTH:
                raise ExpressionError(self._indent + bracket.start(), _TOO_DEEP)

    def refuse(self, node: ast.AST, message: str) -> ExpressionError:
        """The error to raise for ``node``."""
        start = self._line_start(getattr(node, "lineno", 1))
        # The parser counts bytes of UTF-8.
        before = self._text[start:].encode()[: getattr(node, "col_offset", 0)].decode()
        return ExpressionError(self._indent + start + len(before), message)

    def _one_line(self) -> str:
        """The text with each line break between its parts replaced by a blank, of the same length.

        Line breaks are blanks in a YAML block; the parser would read them as the end. Those within
        quotes stay: the parser refuses them.
        """
        line = list(self._text)
        for part in _PARTS.finditer(self._text):
            if part.lastgroup == "comment":
                # A folded YAML block (`expr: >`) has joined the lines before they come here, so
                # the end of a comment is not known.
                raise ExpressionError(
                    self._indent + part.start(),
                    "a comment would hide what follows it: write it outside of the expression, "
                    "as a YAML comment above its key",
                )
            if part.lastgroup == "blank":
                line[part.start()] = " "
        return "".join(line)

    def _line_start(self, number: int) -> int:
        """Index of the first character of a line, which the parser numbers from 1."""
        starts = [0, *(i + 1 for i, letter in enumerate(self._one_line()) if letter == "\n")]
        return starts[min(number, len(starts)) - 1]


# Quoted texts come first, so that nothing in them is taken for a comment or a line break. A quote
# that is never closed matches the rest of the text, and the parser refuses it.
_PARTS = re.compile(
    r"""(?P<quoted> ('''|\"\"\").*?\2 | '(?:\\.|[^'\\\n\r])*' | "(?:\\.|[^"\\\n\r])*" | ['"].*)
    | (?P<comment> \#)
    | (?P<blank> [\r\n])""",
    re.DOTALL | re.VERBOSE,
)


def describe(node: ast.AST) -> str:
    """Name of a node of Python's grammar, in words of an expression's author."""
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

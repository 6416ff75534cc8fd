"""From the text of an expression to a syntax tree of bounded size, with the place of each node."""

from __future__ import annotations

import ast
import re

from base.errors import ExpressionError

MAX_CHARACTERS = 4096
MAX_NODES = 500
MAX_DEPTH = 40
"""Of the tree and of the brackets: less than any version of Python's own parser takes."""
_TOO_DEEP = "nested too deeply: name a part as a feature of its own"
_TEXT_OR_BRACKET = re.compile(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|[()\[\]{}]""")


class Source:
    """The text of one expression."""

    def __init__(self, text: str) -> None:
        self._indent = len(text) - len(text.lstrip())
        self._text = text.strip()

    def parse(self) -> ast.expr:
        """The syntax tree; ExpressionError where there is none, or one too large."""
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
        start = self._line_start(getattr(node, "lineno", 1))
        # The parser counts bytes of UTF-8.
        before = self._text[start:].encode()[: getattr(node, "col_offset", 0)].decode()
        return ExpressionError(self._indent + start + len(before), message)

    def _one_line(self) -> str:
        """The text with a blank for each line break between its parts, as long as before.

        Line breaks are blanks in a YAML block; the parser would take them for the end. Those within
        quotes stay: the parser refuses them.
        """
        line = list(self._text)
        for part in _PARTS.finditer(self._text):
            if part.lastgroup == "comment":
                # A folded YAML block (`expr: >`) has joined the lines before they come here, so
                # nobody can tell where a comment ends.
                raise ExpressionError(
                    self._indent + part.start(),
                    "a comment would hide what follows it: write it outside of the expression, "
                    "as a YAML comment above its key",
                )
            if part.lastgroup == "blank":
                line[part.start()] = " "
        return "".join(line)

    def _line_start(self, number: int) -> int:
        """The place of the first character of a line of the parser's, numbered from 1."""
        starts = [0, *(i + 1 for i, letter in enumerate(self._one_line()) if letter == "\n")]
        return starts[min(number, len(starts)) - 1]


# Quoted texts come first, so that what they hold is neither a comment nor a line break. A quote that
# nothing closes takes the rest along, for the parser to refuse.
_PARTS = re.compile(
    r"""(?P<quoted> ('''|\"\"\").*?\2 | '(?:\\.|[^'\\\n\r])*' | "(?:\\.|[^"\\\n\r])*" | ['"].*)
    | (?P<comment> \#)
    | (?P<blank> [\r\n])""",
    re.DOTALL | re.VERBOSE,
)


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

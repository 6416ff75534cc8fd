"""Parse the core schema of YAML 1.2, without tags and aliases, within fixed bounds.

PyYAML's own schema, YAML 1.1, reads the country ``NO`` as false, ``12:30`` as 750 and ``010`` as 8.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final, NamedTuple, TypeAlias

import yaml

from base.errors import YamlRefusedError

MAX_DEPTH: Final = 100
"""Maximum nesting of collections, far below Python's recursion limit."""
MAX_VALUES: Final = 1_000_000
"""Maximum number of keys and values in a document; each takes about 300 bytes of memory."""

# libyaml takes a tenth of the time of the Python parser, which is used where libyaml is missing.
_PARSER: Final = getattr(yaml, "CLoader", yaml.Loader)
_UNREADABLE: Final = re.compile(
    "[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]"
)
_WORDS: Final[dict[str, bool | None]] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_INT: Final = re.compile(r"[-+]?[0-9]+")
_FLOAT: Final = re.compile(
    r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?"
    r"|(?P<word>[-+]?\.(?:inf|Inf|INF)|\.?(?:nan|NaN|NAN))"
)
_FIRST_OF_NUMBERS: Final = frozenset("-+.0123456789nN")
_MAX_INT: Final = 2**63
_MAX_INT_CHARACTERS: Final = 20
_CORE_TAGS: Final = "tag:yaml.org,2002:"


Position = tuple[int, int, int, int]
"""Line and column at which a key or value begins, and its begin and end index; all from 0."""


class Collection(NamedTuple):
    """Positions of a mapping or sequence and of its entries.

    Attributes:
        at: Position of the collection itself.
        keys: Positions of the keys of a mapping, by key; empty for a sequence.
        inner: Places of the values, by key or by index.
    """

    at: Position
    keys: dict[str, Position]
    inner: dict[str, Place] | list[Place]


# A scalar's place is a plain tuple: a long list of objects would slow the garbage collector down.
Place: TypeAlias = "Position | Collection"


def read_yaml(text: str) -> tuple[Any, Place | None]:
    """Parse one document.

    Returns:
        The plain value and its place; the place is None for a text without a document.

    Raises:
        YamlRefusedError: The text is not valid YAML, or uses a feature that is not supported.
    """
    unreadable = _UNREADABLE.search(text)
    if unreadable is not None:
        before = text[: unreadable.start()]
        raise YamlRefusedError(
            f"the character U+{ord(unreadable[0]):04X} is not text: remove it",
            before.count("\n"),
            unreadable.start() - (before.rfind("\n") + 1),
        )
    try:
        return _DocumentParser(text).document()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column, index = (mark.line, mark.column, mark.index) if mark else (0, 0, 0)
        hint = "; quote text that contains brackets" if text[index : index + 1] == "[" else ""
        message = f"this is not valid YAML: {error.problem}{hint}"
        raise YamlRefusedError(message, line, column) from error
    except yaml.YAMLError as error:
        raise YamlRefusedError(f"this is not valid YAML: {error}", 0, 0) from error


class _DocumentParser:
    """Build values and places from the events of PyYAML's parser."""

    def __init__(self, text: str) -> None:
        self._events: Iterator[Any] = iter(yaml.parse(text, Loader=_PARSER))
        self._depth = 0
        self._values = 0

    def document(self) -> tuple[Any, Place | None]:
        next(self._events)
        if isinstance(next(self._events), yaml.StreamEndEvent):
            return None, None
        result = self._value(next(self._events))
        next(self._events)
        after = next(self._events)
        if isinstance(after, yaml.DocumentStartEvent):
            raise _refusal(after, "a second document begins here: keep one in a file")
        return result

    def _value(self, event: Any) -> tuple[Any, Place]:
        if type(event) is yaml.ScalarEvent:
            return _scalar(event), self._position(event)
        if type(event) is yaml.AliasEvent:
            raise _refusal(event, "aliases are not supported: write the value out")
        if event.tag is not None:
            raise _tag_refusal(event)
        if self._depth == MAX_DEPTH:
            raise _refusal(event, f"nested more than {MAX_DEPTH} deep: flatten it")
        self._depth += 1
        read = self._sequence if type(event) is yaml.SequenceStartEvent else self._mapping
        result = read(self._position(event))
        self._depth -= 1
        return result

    def _sequence(self, at: Position) -> tuple[list[Any], Collection]:
        values: list[Any] = []
        places: list[Place] = []
        for event in self._events:
            if type(event) is yaml.SequenceEndEvent:
                break
            value, place = self._value(event)
            values.append(value)
            places.append(place)
        return values, Collection(at, {}, places)

    def _mapping(self, at: Position) -> tuple[dict[str, Any], Collection]:
        values: dict[str, Any] = {}
        keys: dict[str, Position] = {}
        places: dict[str, Place] = {}
        for event in self._events:
            if type(event) is yaml.MappingEndEvent:
                break
            name = _key(event)
            if name in values:
                raise _refusal(event, f"{name!r} appears twice: keep one")
            keys[name] = self._position(event)
            values[name], places[name] = self._value(next(self._events))
        return values, Collection(at, keys, places)

    def _position(self, event: Any) -> Position:
        self._values += 1
        if self._values > MAX_VALUES:
            raise _refusal(event, f"more than {MAX_VALUES:,} keys and values: split the file")
        start = event.start_mark
        return start.line, start.column, start.index, event.end_mark.index


def _key(event: Any) -> str:
    if type(event) is not yaml.ScalarEvent:
        raise _refusal(event, "a key must be a plain word")
    return _text(event)


def _text(event: Any) -> str:
    """Text of a scalar; an escape for a character that is not text is refused."""
    if event.tag is not None:
        raise _tag_refusal(event)
    text: str = event.value
    if not text.isprintable():
        unreadable = _UNREADABLE.search(text)
        if unreadable is not None:
            code_point = f"U+{ord(unreadable[0]):04X}"
            message = f"an escape stands for {code_point}, which is not text: remove it"
            raise _refusal(event, message)
    return text


def _scalar(event: Any) -> str | int | float | bool | None:
    text = _text(event)
    plain = event.implicit[0]
    if not plain:
        return text
    if text in _WORDS:
        return _WORDS[text]
    if text[0] not in _FIRST_OF_NUMBERS:
        return text
    if _INT.fullmatch(text):
        # Longer numbers are not converted: Python itself refuses 4,301 digits.
        if len(text) > _MAX_INT_CHARACTERS or not -_MAX_INT <= int(text) < _MAX_INT:
            raise _refusal(event, "a whole number beyond 64 bits: write a smaller one, or quote it")
        return int(text)
    match = _FLOAT.fullmatch(text)
    if match is None:
        return text
    number = float(text.replace(".", "", 1) if match["word"] else text)
    if abs(number) == float("inf") and not match["word"]:
        raise _refusal(event, "a number beyond 64-bit floats: write a smaller one, or quote it")
    return number


def _tag_refusal(event: Any) -> YamlRefusedError:
    tag = event.tag
    shown = f"!!{tag.removeprefix(_CORE_TAGS)}" if tag.startswith(_CORE_TAGS) else tag
    return _refusal(event, f"the tag {shown} is not supported: remove it, or quote the text")


def _refusal(event: Any, message: str) -> YamlRefusedError:
    return YamlRefusedError(message, event.start_mark.line, event.start_mark.column)

"""YAML files whose every value remembers where it stands, so that a refusal can point at it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from features.suggest import unknown
from schemas.errors import ConfigurationError

M = TypeVar("M", bound=BaseModel)
_MAX_DEPTH = 64
"""Less than any version of Python recurses through, so that each takes the same files."""
Location = tuple[str | int, ...]
"""Keys and list indexes from the root of a document to a value."""


@dataclass(frozen=True, slots=True)
class _Place:
    key: yaml.Mark | None
    value: yaml.Node


class _Loader(yaml.SafeLoader):
    """The core schema of YAML 1.2, without aliases.

    YAML 1.1, PyYAML's own, reads the country ``NO`` as false, ``12:30`` as 750 and ``010`` as 8.
    """

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012  (PyYAML's own name and shape)

    _depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()  # type: ignore[no-untyped-call]
            raise yaml.composer.ComposerError(
                None, None, "aliases are not supported: write the value out", event.start_mark
            )
        if self._depth == _MAX_DEPTH:
            event = self.peek_event()  # type: ignore[no-untyped-call]
            raise yaml.composer.ComposerError(
                None, None, f"nested more than {_MAX_DEPTH} levels deep", event.start_mark
            )
        self._depth += 1
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node


_FLOAT = (
    r"^(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?"
    r"|[-+]?\.(?:inf|Inf|INF)|\.?(?:nan|NaN|NAN))$"
)
_CORE_SCHEMA = (
    ("null", r"^(?:~|null|Null|NULL|)$", ["~", "n", "N", ""]),
    ("bool", r"^(?:true|True|TRUE|false|False|FALSE)$", list("tTfF")),
    ("int", r"^[-+]?[0-9]+$", list("-+0123456789")),
    (
        "float",
        _FLOAT,
        list("-+0123456789.nN"),
    ),
)
for _tag, _pattern, _first in _CORE_SCHEMA:
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(_pattern), _first)


class Document:
    """A YAML mapping read from a file: its plain values, and the place of each."""

    def __init__(self, path: Path, text: str) -> None:
        self.path = path
        self._text = text
        self._places: dict[Location, _Place] = {}
        try:
            root = yaml.compose(text, Loader=_Loader)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            hint = "; quote text that holds brackets" if "'['" in str(error.problem) else ""
            raise self._refusal(mark, f"this is not valid YAML: {error.problem}{hint}") from error
        except yaml.YAMLError as error:
            raise ConfigurationError(f"{path}: this is not valid YAML: {error}") from error
        if not isinstance(root, yaml.MappingNode):
            raise ConfigurationError(f"{path}:1:1: expected a mapping of keys and values")
        self.values: dict[str, Any] = self._construct(root, (), None)

    @classmethod
    def read(cls, path: Path) -> Document:
        """The document at ``path``; ConfigurationError where it cannot be read or is not YAML."""
        try:
            return cls(path, path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
            raise ConfigurationError(f"{path}: cannot be read: {reason}") from error

    def refuse(self, location: Location, message: str) -> ConfigurationError:
        """The error to raise for the value at ``location``, or its nearest parent in the file."""
        while location and location not in self._places:
            location = location[:-1]
        return self._refusal(self._places[location].value.start_mark, message)

    def refuse_key(self, location: Location, message: str) -> ConfigurationError:
        """As ``refuse``, pointing at the key rather than at its value."""
        place = self._places.get(location)
        if place is None or place.key is None:
            return self.refuse(location, message)
        return self._refusal(place.key, message)

    def refuse_within(self, location: Location, offset: int, message: str) -> ConfigurationError:
        """As ``refuse``, pointing at the character ``offset`` of the string at ``location``."""
        node = self._places[location].value
        index = _raw_index(self._text, node, offset)
        before = self._text[:index]
        line = before.count("\n") + 1
        column = index - (before.rfind("\n") + 1) + 1
        return ConfigurationError(f"{self.path}:{line}:{column}: {message}")

    def validate(self, model: type[M]) -> M:
        """The document as ``model``; ConfigurationError that lists all that does not hold."""
        try:
            return model.model_validate(self.values)
        except ValidationError as error:
            # A misspelt key is also a missing one: the misspelling explains both.
            found = sorted(error.errors(), key=lambda e: e["type"] != "extra_forbidden")
            refusals = [self._translate(model, dict(e)) for e in found]
            raise ConfigurationError("\n".join(dict.fromkeys(refusals))) from error

    def _translate(self, model: type[BaseModel], error: dict[str, Any]) -> str:
        location: Location = tuple(error["loc"])
        name = ".".join(str(part) for part in location)
        if error["type"] == "extra_forbidden":
            known = _known_keys(model, location)
            return str(self.refuse_key(location, unknown("key", str(location[-1]), known)))
        if error["type"] == "missing":
            return str(self.refuse(location, f"{name} is missing: add it"))
        message = str(error["msg"]).removeprefix("Value error, ")
        if error["type"] == "value_error":
            return str(self.refuse(location, f"{name}: {message}" if name else message))
        return str(self.refuse(location, f"{name}: {message}; found {error['input']!r}"))

    def _refusal(self, mark: yaml.Mark | None, message: str) -> ConfigurationError:
        where = f":{mark.line + 1}:{mark.column + 1}" if mark else ""
        return ConfigurationError(f"{self.path}{where}: {message}")

    def _construct(self, node: yaml.Node, location: Location, key: yaml.Mark | None) -> Any:
        self._places[location] = _Place(key, node)
        if isinstance(node, yaml.MappingNode):
            return self._construct_mapping(node, location)
        if isinstance(node, yaml.SequenceNode):
            return [self._construct(n, (*location, i), None) for i, n in enumerate(node.value)]
        return self._scalar(node)

    def _construct_mapping(self, node: yaml.MappingNode, location: Location) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise self._refusal(key_node.start_mark, "a key must be a plain word")
            name = str(key_node.value)
            if name in values:
                raise self._refusal(key_node.start_mark, f"{name!r} appears twice: keep one")
            values[name] = self._construct(value_node, (*location, name), key_node.start_mark)
        return values

    def _scalar(self, node: yaml.Node) -> str | int | float | bool | None:
        text = str(node.value)
        match node.tag.removeprefix("tag:yaml.org,2002:"):
            case "str":
                return text
            case "null":
                return None
            case "bool":
                return text.lower() == "true"
            case "int":
                return int(text)
            case "float":
                return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
        raise self._refusal(node.start_mark, f"the tag {node.tag} is not supported")


def _known_keys(model: type[BaseModel], location: Location) -> set[str]:
    """The keys that the mapping around ``location`` may have."""
    current: Any = model
    for part in location[:-1]:
        if isinstance(current, type) and issubclass(current, BaseModel):
            if isinstance(part, int) or part not in _fields(current):
                continue  # an index of a list, or a key that the user chose: same model
            current = _inner_model(_fields(current)[part].annotation)
    if isinstance(current, type) and issubclass(current, BaseModel):
        return set(_fields(current))
    return set()


def _fields(model: type[BaseModel]) -> dict[str, FieldInfo]:
    return {field.alias or name: field for name, field in model.model_fields.items()}


def _inner_model(annotation: Any) -> Any:
    """The first model that an annotation such as ``list[M]``, ``M | None`` or ``M`` holds."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in getattr(annotation, "__args__", ()):
        found = _inner_model(argument)
        if found is not None:
            return found
    return None


def _raw_index(text: str, node: yaml.Node, offset: int) -> int:
    """Where in ``text`` the character ``offset`` of a scalar's value is written.

    Folding, indentation and quotes lie between a value and its spelling, so both are walked
    side by side: a blank answers to any blank, another character to its next occurrence.
    """
    index, end = node.start_mark.index, node.end_mark.index
    if "\\" in text[index:end]:
        return index  # escapes: the place of the whole value has to do
    value = str(node.value)
    if text[index] in "|>":
        index = text.index("\n", index) + 1
    for position, character in enumerate(value[: offset + 1]):
        while index < end and not _answers(text[index], character):
            index += 1
        if position < offset:
            index += 1
    return min(index, end)


def _answers(written: str, character: str) -> bool:
    return written == character or (written.isspace() and character.isspace())

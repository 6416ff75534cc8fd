"""YAML documents that keep the position of every value, so that errors can point at it."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from base.errors import ConfigurationError, YamlRefusedError
from base.suggest import unknown
from base.yaml_reader import Collection, Place, Position, read_yaml

M = TypeVar("M", bound=BaseModel)
Location = tuple[str | int, ...]
"""Keys and list indexes from the root of a document to a value."""


MAX_BYTES = 8 * 1024 * 1024
"""Maximum size of a file, checked before it is parsed."""
_SHOWN_CHARACTERS = 80
_SHOWN_REFUSALS = 50


class YamlDocument:
    """A YAML mapping from a file: its plain values, and the position of each.

    Args:
        path: Path of the file, for messages.
        text: Text of the file.

    Attributes:
        values: Plain Python values by key.

    Raises:
        ConfigurationError: The text is not a YAML mapping.
    """

    def __init__(self, path: Path, text: str) -> None:
        self.path = path
        self._text = text
        try:
            values, root = read_yaml(text)
        except YamlRefusedError as error:
            raise self._refusal(error.line, error.column, str(error)) from error
        if root is None or not isinstance(values, dict):
            raise self._refusal(0, 0, "expected a mapping of keys and values")
        self._root = root
        self.values: dict[str, Any] = values

    @classmethod
    def read(cls, path: Path) -> YamlDocument:
        """Read the document at ``path``.

        Raises:
            ConfigurationError: The file cannot be read, is too large, or is not YAML.
        """
        try:
            # A pipe or a device may have no end.
            if not stat.S_ISREG(path.stat().st_mode):
                raise ConfigurationError(f"{path}: cannot be read: it is not a regular file")
            with path.open("rb") as file:
                content = file.read(MAX_BYTES + 1)
        except OSError as error:
            raise ConfigurationError(f"{path}: cannot be read: {error.strerror}") from error
        if len(content) > MAX_BYTES:
            raise ConfigurationError(f"{path}: is larger than {MAX_BYTES:,} bytes: split it")
        try:
            text = content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            before = content[: error.start]
            line, column = before.count(b"\n") + 1, len(before) - before.rfind(b"\n")
            raise ConfigurationError(
                f"{path}:{line}:{column}: cannot be read: it is not UTF-8 text: save it as UTF-8"
            ) from error
        return cls(path, text)

    def refuse(self, location: Location, message: str) -> ConfigurationError:
        """Return the error to raise for the value at ``location``.

        It points at the value, or at its nearest parent in the file.
        """
        return self._refuse_at(self._nearest(location), message)

    def refuse_key(self, location: Location, message: str) -> ConfigurationError:
        """Return the error to raise for the key at ``location``.

        It points at the key, or at the same place as ``refuse`` if the file lacks the key.
        """
        around = self._nearest(location[:-1])
        if isinstance(around, Collection) and location and location[-1] in around.keys:
            return self._refuse_at(around.keys[str(location[-1])], message)
        return self.refuse(location, message)

    def refuse_within(self, location: Location, offset: int, message: str) -> ConfigurationError:
        """Return the error to raise for one character of the string at ``location``.

        It points at the character with index ``offset`` in the string.
        """
        value: Any = self.values
        for part in location:
            value = value[part]
        _, _, start, end = _position(self._nearest(location))
        index = _raw_index(self._text[:end], start, value, offset)
        before = self._text[:index]
        return self._refusal(before.count("\n"), index - (before.rfind("\n") + 1), message)

    def validate(self, model: type[M]) -> M:
        """Validate the document as ``model``.

        Raises:
            ConfigurationError: The document is invalid; the message lists the errors.
        """
        try:
            return model.model_validate(self.values)
        except ValidationError as error:
            # A misspelt key is reported as unknown and as missing: the first explains both.
            errors = sorted(error.errors(), key=lambda e: e["type"] != "extra_forbidden")
            refusals = [self._translate(model, dict(e)) for e in errors[:_SHOWN_REFUSALS]]
            if more := len(errors) - len(refusals):
                refusals.append(f"… and {more:,} more")
            raise ConfigurationError("\n".join(dict.fromkeys(refusals))) from error

    def _translate(self, model: type[BaseModel], error: dict[str, Any]) -> str:
        location: Location = tuple(error["loc"])
        name = ".".join(str(part) for part in location)
        if error["type"] == "extra_forbidden":
            known = _known_keys(model, location)
            return str(self.refuse_key(location, unknown("key", str(location[-1]), known)))
        if error["type"] == "missing":
            return str(self.refuse(location, f"{name} is missing: add it"))
        if error["type"] == "too_long":
            given, limit = error["ctx"]["actual_length"], error["ctx"]["max_length"]
            message = f"{name} has {given:,} entries; at most {limit:,} are allowed: keep fewer"
            return str(self.refuse(location, message))
        message = str(error["msg"]).removeprefix("Value error, ")
        if error["type"] == "value_error":
            return str(self.refuse(location, f"{name}: {message}" if name else message))
        shown = repr(error["input"])[:_SHOWN_CHARACTERS]
        return str(self.refuse(location, f"{name}: {message}; found {shown}"))

    def _nearest(self, location: Location) -> Place:
        """Place of the value at ``location``, or of its nearest parent in the file.

        Parts of the location that the file lacks are left out: a model may have a short form.
        """
        place = self._root
        for part in location:
            if not isinstance(place, Collection):
                break
            inner: Any = place.inner
            if part in (inner if isinstance(inner, dict) else range(len(inner))):
                place = inner[part]
        return place

    def _refuse_at(self, place: Place, message: str) -> ConfigurationError:
        line, column, *_ = _position(place)
        return self._refusal(line, column, message)

    def _refusal(self, line: int, column: int, message: str) -> ConfigurationError:
        return ConfigurationError(f"{self.path}:{line + 1}:{column + 1}: {message}")


def _known_keys(model: type[BaseModel], location: Location) -> set[str]:
    """Keys that the mapping around ``location`` may have."""
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
    """First model in an annotation such as ``list[M]``, ``M | None`` or ``M``."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in getattr(annotation, "__args__", ()):
        model = _inner_model(argument)
        if model is not None:
            return model
    return None


def _position(place: Place) -> Position:
    return place.at if isinstance(place, Collection) else place


def _raw_index(text: str, index: int, value: str, offset: int) -> int:
    """Index in ``text`` at which the character ``offset`` of ``value`` is written.

    A value and its spelling differ in folding, indentation and quotes, so both are walked side by
    side: a blank matches any blank, and any other character matches its next occurrence.

    Args:
        text: Text of the document up to the end of the scalar.
        index: Index in ``text`` at which the scalar begins.
        value: Value of the scalar.
        offset: Index of the character in ``value``.
    """
    end = len(text)
    if "\\" in text[index:]:
        return index  # with escapes, point at the beginning of the value
    if text[index] in "|>":
        index = text.index("\n", index) + 1
    for position, character in enumerate(value[: offset + 1]):
        while index < end and not _matches(text[index], character):
            index += 1
        if position < offset:
            index += 1
    return min(index, end)


def _matches(written: str, character: str) -> bool:
    return written == character or (written.isspace() and character.isspace())

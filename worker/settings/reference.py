"""All settings with type, default and meaning, read from the JSON Schema of worker.yaml."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import yaml

from base.json_schema import json_schema
from worker.settings.sections import ENV_PREFIX, WorkerSettings

_WORDS = {
    "array": "list of text",
    "boolean": "true or false",
    "integer": "whole number",
    "number": "number",
    "object": "mapping",
    "string": "text",
}
_BOUNDS = {
    "exclusiveMinimum": "above",
    "minimum": "from",
    "exclusiveMaximum": "below",
    "maximum": "to",
}


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting.

    Attributes:
        name: Dotted name, with its section.
        kind: Type and bounds, in words.
        required: True if it must be given.
        default: Default as YAML on one line; "" if there is none.
        example: Example as YAML on one line; "" if there is none.
        meaning: Description.
    """

    name: str
    kind: str
    required: bool
    default: str
    example: str
    meaning: str

    @property
    def key(self) -> str:
        """The name of the setting within its section."""
        return self.name.rpartition(".")[2]

    @property
    def variable(self) -> str:
        """The environment variable that overrides the setting."""
        return variable_of(self.name)


@dataclass(frozen=True, slots=True)
class SettingGroup:
    """The settings of one section.

    Attributes:
        name: Name of the section; "" for the top level.
        required: True if the section must be given.
        meaning: Description of the section.
        settings: Its settings.
    """

    name: str
    required: bool
    meaning: str
    settings: tuple[Setting, ...]


@cache
def groups() -> tuple[SettingGroup, ...]:
    """All settings by section, in the order in which the classes declare them."""
    schema = json_schema(WorkerSettings, "worker.yaml")
    top = {name: own for name, own in schema["properties"].items() if "$ref" not in own}
    settings = _settings("", {**schema, "properties": top})
    listed = [SettingGroup("", required=True, meaning="", settings=settings)]
    for name, own in schema["properties"].items():
        if "$ref" in own:
            section = schema["$defs"][own["$ref"].rpartition("/")[2]]
            meaning = " ".join(filter(None, (section["description"], own.get("description"))))
            required = name in schema["required"]
            listed.append(SettingGroup(name, required, meaning, _settings(f"{name}.", section)))
    return tuple(listed)


def setting_names() -> Iterator[str]:
    """Yield the dotted name of every setting and section."""
    for group in groups():
        if group.name:
            yield group.name
        yield from (setting.name for setting in group.settings)


def variable_of(name: str) -> str:
    """Environment variable of a setting with this dotted name."""
    return ENV_PREFIX + name.replace(".", "__").upper()


def _settings(prefix: str, section: dict[str, Any]) -> tuple[Setting, ...]:
    return tuple(
        Setting(
            prefix + key,
            _kind(own),
            key in section.get("required", ()),
            _yaml(own.get("default")),
            _yaml(own.get("examples", [None])[0]),
            own["description"],
        )
        for key, own in section["properties"].items()
    )


def _kind(own: dict[str, Any]) -> str:
    if "enum" in own:
        *choices, last = own["enum"]
        return f"{', '.join(choices)} or {last}"
    bounds = [f"{word} {own[bound]}" for bound, word in _BOUNDS.items() if bound in own]
    return " ".join([own.get("format", _WORDS[own["type"]]), *bounds])


def _yaml(value: Any) -> str:
    if value is None:
        return ""
    text = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=1000)
    return text.strip().removesuffix("...").strip()

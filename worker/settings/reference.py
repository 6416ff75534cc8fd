"""Reference of all settings with type, default and meaning, from their classes."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml
from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from worker.settings.sections import ENV_PREFIX, WorkerSettings

_WORDS = {bool: "true or false", int: "whole number", float: "number", str: "text", Path: "path"}
_BOUNDS = {Gt: ("above", "gt"), Ge: ("from", "ge"), Lt: ("below", "lt"), Le: ("to", "le")}


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting.

    Attributes:
        name: Dotted name, with its section.
        kind: Type and bounds, in words.
        required: True if it must be given.
        default: Default as YAML on one line; "" where there is none.
        example: Example as YAML on one line; "" where there is none.
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


def groups() -> tuple[SettingGroup, ...]:
    """All settings by section, in the order in which the classes declare them."""
    fields = WorkerSettings.model_fields
    sections = {name: section_of(info.annotation) for name, info in fields.items()}
    top = [_setting(name, fields[name]) for name, section in sections.items() if section is None]
    listed = [SettingGroup("", required=True, meaning="", settings=tuple(top))]
    for name, section in sections.items():
        if section is not None:
            meaning = [section.__doc__ or "", fields[name].description or ""]
            settings = (_setting(f"{name}.{key}", f) for key, f in section.model_fields.items())
            listed.append(
                SettingGroup(
                    name,
                    fields[name].is_required(),
                    " ".join(filter(None, meaning)),
                    tuple(settings),
                )
            )
    return tuple(listed)


def setting_names(model: type[BaseModel] = WorkerSettings, prefix: str = "") -> Iterator[str]:
    """Yield the dotted name of every setting and section."""
    for name, info in model.model_fields.items():
        yield prefix + name
        section = section_of(info.annotation)
        if section:
            yield from setting_names(section, f"{prefix}{name}.")


def section_of(annotation: Any) -> type[BaseModel] | None:
    """Section class in an annotation such as ``Store | None``; None where there is none."""
    for candidate in _alternatives(annotation):
        if isinstance(candidate, type) and issubclass(candidate, BaseModel):
            return candidate
    return None


def variable_of(name: str) -> str:
    """Environment variable of a setting with this dotted name."""
    return ENV_PREFIX + name.replace(".", "__").upper()


def _setting(name: str, info: FieldInfo) -> Setting:
    required = info.is_required()
    default = None if required or info.default_factory is not None else info.default
    if info.default_factory in (dict, list):
        default = info.default_factory()
    return Setting(
        name,
        _kind(info),
        required,
        _yaml(default),
        _yaml((info.examples or [None])[0]),
        info.description or "",
    )


def _kind(info: FieldInfo) -> str:
    (annotation,) = _alternatives(info.annotation)
    if typing.get_origin(annotation) is Literal:
        *choices, last = map(str, typing.get_args(annotation))
        return f"{', '.join(choices)} or {last}"
    if typing.get_origin(annotation) is list:
        return "list of text"
    if typing.get_origin(annotation) is dict:
        return "mapping"
    bounds = [
        f"{word} {getattr(bound, attribute)}"
        for bound in info.metadata
        for kind, (word, attribute) in _BOUNDS.items()
        if isinstance(bound, kind)
    ]
    return " ".join([_WORDS[annotation], *bounds])


def _alternatives(annotation: Any) -> tuple[Any, ...]:
    """Members of a union, without None and ``Annotated``; the annotation if it is no union."""
    if typing.get_origin(annotation) not in (types.UnionType, typing.Union):
        return (annotation,)
    members = (item for item in typing.get_args(annotation) if item is not types.NoneType)
    return tuple(
        typing.get_args(item)[0] if typing.get_origin(item) is typing.Annotated else item
        for item in members
    )


def _yaml(value: Any) -> str:
    if value is None:
        return ""
    plain = str(value) if isinstance(value, Path) else value
    text = yaml.safe_dump(plain, default_flow_style=True, sort_keys=False, width=1000)
    return text.strip().removesuffix("...").strip()

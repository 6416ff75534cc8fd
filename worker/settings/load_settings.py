"""Strict reading of ``worker.yaml`` and the environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from shlex import quote
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_settings import SettingsError

from base.errors import ConfigurationError
from base.yaml_document import Location, YamlDocument
from worker.settings.reference import setting_names, variable_of
from worker.settings.secrets import mask
from worker.settings.sections import ENV_PREFIX, WorkerSettings
from worker.settings.synonyms import unknown_setting, unknown_variable

FILE_NAME = "worker.yaml"
# Variables of the command line, the embedded servers and the tests.
_OTHER_ENVIRONMENT = ("ALLOW_HTTP", "PIPELINE", "CACHE", "DATA", "TEST_")
_SHOWN_CHARACTERS = 80
_SHOWN_TYPES = ("bool_", "finite_", "float_", "greater_", "int_", "less_", "literal_")
_KINDS: Mapping[type, str] = {
    bool: "true or false",
    dict: "a mapping",
    float: "a number",
    int: "a number",
    list: "a list",
    str: "text",
    type(None): "nothing",
}

M = TypeVar("M", bound=BaseModel)


def load_settings(folder: Path) -> WorkerSettings:
    """Read ``worker.yaml`` in ``folder``; relative paths start there.

    Raises:
        ConfigurationError: Settings are missing, unknown or invalid; the message names each.
    """
    path = folder / FILE_NAME
    if not path.is_file():
        require_folder(folder)
        raise ConfigurationError(
            f"{path}: no such file; run `fraud-worker init {quote(str(folder))} --schema FILE.avsc`, "
            "or name the pipeline folder with --pipeline"
        )
    _refuse_unknown_environment()
    document = YamlDocument.read(path)
    try:
        settings = WorkerSettings(**document.values)
    except ValidationError as error:
        refusals = [_explain(document, dict(item)) for item in error.errors()]
        raise ConfigurationError("\n".join(dict.fromkeys(refusals))) from None
    except (SettingsError, RecursionError) as error:
        reason = error if isinstance(error, SettingsError) else "a value is nested too deeply"
        raise ConfigurationError(
            f"{ENV_PREFIX}… in the environment: {reason}; correct the variable"
        ) from None
    return _anchored(settings, folder)


def require_folder(folder: Path) -> None:
    """Raise ConfigurationError if ``folder`` is not a folder."""
    if not folder.is_dir():
        state = "it is a file" if folder.exists() else "there is no such folder"
        raise ConfigurationError(
            f"{folder}: {state}; name the pipeline folder with --pipeline (-p), or make one: "
            f"`fraud-worker init {quote(str(folder))} --schema FILE.avsc`"
        )


def _anchored(section: M, folder: Path) -> M:
    """Return the settings with relative paths that start in ``folder``."""
    changes: dict[str, Any] = {}
    for name in type(section).model_fields:
        value = getattr(section, name)
        if isinstance(value, Path):
            changes[name] = folder / value
        elif isinstance(value, dict) and any(isinstance(item, Path) for item in value.values()):
            changes[name] = {key: folder / item for key, item in value.items()}
        elif isinstance(value, BaseModel):
            changes[name] = _anchored(value, folder)
    return section.model_copy(update=changes)


def _refuse_unknown_environment() -> None:
    known = {variable_of(name) for name in setting_names()}
    open_ended = tuple(f"{v}__" for v in known if v.endswith(("__OPTIONS", "CONSUMER", "PRODUCER")))
    others = tuple(ENV_PREFIX + name for name in _OTHER_ENVIRONMENT)
    for variable in sorted(os.environ):
        name = variable.upper()
        if not name.startswith(ENV_PREFIX) or name.startswith(others):
            continue
        if name not in known and not name.startswith(open_ended):
            raise ConfigurationError(
                f"{unknown_variable(variable)}; unset it or correct its name "
                "(nested settings have two underscores)"
            )


def _explain(document: YamlDocument, error: Mapping[str, Any]) -> str:
    """Message for one refused setting: its place, what was found, and what to do."""
    location: Location = tuple(error["loc"])
    name = ".".join(str(mask(part)) for part in location)
    variable = _variable_in_use(location)
    message = str(error["msg"]).removeprefix("Value error, ")
    match error["type"]:
        case "extra_forbidden":
            message = f"{unknown_setting(name)}; remove it or correct its name"
        case "missing":
            message = f"{name} is missing; add it, or set {variable_of(name)}"
        case "value_error":
            message = f"{name}: {message}" if name else message
        case _:
            message = f"{name}: {message}; found {_found(error, name)}"
    if variable is not None:
        return f"{variable} in the environment: {message}"
    return str(document.refuse_key(location, message))


def _found(error: Mapping[str, Any], name: str) -> str:
    """Show the value of a number, choice or switch; of anything else, only its kind."""
    value = error["input"]
    if isinstance(value, dict | list) or not str(error["type"]).startswith(_SHOWN_TYPES):
        return _KINDS.get(type(value), type(value).__name__)
    return repr(mask(value, name))[:_SHOWN_CHARACTERS]


def _variable_in_use(location: Location) -> str | None:
    """Environment variable that sets the value at ``location``; None if there is none."""
    for end in range(len(location), 0, -1):
        variable = variable_of(".".join(str(part) for part in location[:end]))
        if any(name.upper() == variable for name in os.environ):
            return variable
    return None

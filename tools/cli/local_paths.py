"""Commands that accept local paths only, and reject addresses such as ``s3://…``."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import typer
from typer.core import TyperCommand

from base.errors import ConfigurationError

# As a path, s3://bucket/file has one slash. A single letter is a drive of Windows.
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]+:/")
F = TypeVar("F", bound=Callable[..., Any])


class Commands(typer.Typer):
    """Group of commands that reject addresses in every option and argument that is a path."""

    def command(self, *given: Any, **settings: Any) -> Callable[[F], F]:
        """Register a command like ``typer.Typer.command``, with the check of its paths."""
        return super().command(*given, **{"cls": _Command, **settings})


def require_path(name: str, path: Path) -> None:
    """Raise ConfigurationError where the value of the option or argument ``name`` is an address."""
    if _ADDRESS.match(str(path)):
        raise ConfigurationError(
            f"{name}: {path} is an address, and commands read and write local files only; name a "
            "local path: copy what is read there first, or what was written from there afterwards"
        )


class _Command(TyperCommand):
    def invoke(self, ctx: Any) -> Any:
        """Raise ConfigurationError for an address before the command does anything."""
        for parameter in self.params:
            for path in _paths(ctx.params.get(parameter.name)):
                require_path(_shown(parameter), path)
        return super().invoke(ctx)


def _paths(value: Any) -> Iterator[Path]:
    values = value if isinstance(value, list | tuple) else [value]
    return (item for item in values if isinstance(item, Path))


def _shown(parameter: Any) -> str:
    """Name of an option as the user writes it, or of an argument as the help shows it."""
    if parameter.param_type_name == "option":
        return str(parameter.opts[0])
    return str(parameter.metavar or parameter.name).strip("[]")

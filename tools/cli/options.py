"""Options that commands share; groups of commands that check their local paths."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from typer.core import TyperCommand

from base.errors import ConfigurationError
from base.file_path import FilePath, file_path

# As a path, s3://bucket/file has one slash. A single letter is a drive of Windows.
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]+:/")
F = TypeVar("F", bound=Callable[..., Any])
PipelineOption = Annotated[
    Path,
    typer.Option(
        "--pipeline",
        "-p",
        envvar="FRAUD_WORKER_PIPELINE",
        metavar="DIR",
        help="Folder with worker.yaml, features.yaml and policy.yaml.",
        show_default="the current directory",
    ),
]
HERE = Path()
SetOption = Annotated[
    Path | None,
    typer.Option(
        "--set",
        metavar="FILE",
        help="Path of features.yaml; default: the one of the pipeline.",
        show_default=False,
    ),
]
EVENTS = typer.Option(
    "--events",
    parser=file_path,
    metavar="FILE...",
    help="Event files, read one after the other: .parquet, .avro (container), .jsonl or .ndjson; "
    "paths or URLs.",
    show_default=False,
)
EventsOption = Annotated[list[FilePath] | None, EVENTS]
# `--events a b c`: an option takes one value, what follows it are arguments.
MoreEvents = Annotated[
    list[FilePath] | None, typer.Argument(parser=file_path, metavar="[FILE...]", hidden=True)
]
LabelsOption = Annotated[
    FilePath | None,
    typer.Option(
        "--labels",
        parser=file_path,
        metavar="FILE",
        help="Labels that replace the label column of the events: a label file, or a table of "
        "`features build`.",
        show_default=False,
    ),
]
RecordTimeOption = Annotated[
    str | None,
    typer.Option(
        "--record-time",
        metavar="COLUMN",
        help="Column with the Kafka timestamps of the records; history.max_ahead and history.arrival need it.",
        show_default=False,
    ),
]
SortOption = Annotated[
    bool,
    typer.Option(
        "--sort", help="Sort all rows by event time first; uses a temporary file on disk."
    ),
]
JsonOption = Annotated[
    bool, typer.Option("--json", help="Print the result as one line of JSON on stdout.")
]


class Unlabelled(StrEnum):
    """Treatment of events without a label: leave them out, or count them as no fraud."""

    skip = "skip"
    legit = "legit"


UnlabelledOption = Annotated[
    Unlabelled, typer.Option(help="Leave out events without a label, or count them as legitimate.")
]


def features_file(given: Path | None, pipeline: Path) -> Path:
    """``given``, else the file that the pipeline's worker.yaml names, else its features.yaml."""
    if given is not None:
        return given
    from worker.settings import FILE_NAME, load_settings

    if (pipeline / FILE_NAME).exists():
        return load_settings(pipeline).features
    return pipeline / "features.yaml"


class Commands(typer.Typer):
    """Group of commands that reject addresses in options and arguments that are local paths."""

    def command(self, *given: Any, **settings: Any) -> Callable[[F], F]:
        """Register a command like ``typer.Typer.command``, with the check of its paths."""
        return super().command(*given, **{"cls": _Command, **settings})


def require_path(name: str, path: Path) -> None:
    """Raise ConfigurationError if the value of the option or argument ``name`` is an address."""
    if _ADDRESS.match(str(path)):
        raise ConfigurationError(
            f"{name}: {path} is an address, and this is read and written as a local file only; "
            "name a local path, and copy the file before or afterwards"
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

"""``fraud-worker init`` and ``schema``."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated

import typer

from base.file_path import FilePath, file_path
from tools.cli.options import HERE, PipelineOption

if TYPE_CHECKING:
    from tools.init.guess_file import SampleGuesses
    from tools.init.pipeline_folder import Written

_USUAL_SCALE = 2
"""Default of `train --scale`."""


def init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder to write the files into.")],
    schema: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.avsc",
            help="Avro schema of your events: a record.",
            show_default=False,
        ),
    ] = None,
    sample: Annotated[
        FilePath | None,
        typer.Option(
            parser=file_path,
            metavar="FILE",
            help="File of events to guess the schema and all bindings from, by its first 50,000 rows: "
            ".parquet, .avro (container), .jsonl or .ndjson; a path or URL.",
            show_default=False,
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite existing files.")] = False,
) -> None:
    """Create a pipeline folder: worker.yaml, features.yaml and policy.yaml for your events.

    Needs --schema or --sample. Values that these suggest are filled in and
    marked "guessed", with the reason; places that you have to fill in hold
    `<open>`. From a sample, the schema and first windows are written too, so
    that `features build` and `train` can run at once.
    """
    from base.errors import ConfigurationError
    from tools.init.pipeline_folder import write_pipeline, write_sampled_pipeline

    if (schema is None) == (sample is None):
        raise ConfigurationError(
            "give either --schema FILE.avsc or --sample FILE: the schema of your events, or a file "
            "of them"
        )
    if schema is not None:
        written = write_pipeline(folder, schema, force=force)
        _tell(written, _steps(folder))
        return
    assert sample is not None  # noqa: S101  (one of the two is given)
    written, found = write_sampled_pipeline(folder, sample, force=force)
    if found.few:
        typer.echo(
            f"guesses from {found.extent} prove little; give a file of some thousand events",
            err=True,
        )
    _tell(written, _steps_from_sample(folder, sample, found))


def _tell(written: Written, steps: list[str]) -> None:
    for path in written.files:
        typer.echo(f"wrote {path}")
    typer.echo("\nNext:")
    features = written.files[1]
    steps = [
        *(f"fill in {place} in {features}" for place in written.still_open),
        f"review the values marked guessed in {features} and {written.files[0]}",
        *steps,
    ]
    for number, step in enumerate(steps, 1):
        typer.echo(f"  {number}. {step}")


def _steps(folder: Path) -> list[str]:
    named = quote(str(folder))
    return [
        f"fraud-worker check --pipeline {named}    checks what is still missing",
        f"fraud-worker score --pipeline {named} --events FILE    scores a file, without Kafka",
        f"fraud-worker run --pipeline {named}    scores the topic",
    ]


def _steps_from_sample(folder: Path, sample: FilePath, found: SampleGuesses) -> list[str]:
    named, table = quote(str(folder)), quote(str(folder / "table.parquet"))
    sort = "" if found.in_order else " --sort"
    guesses = found.guesses
    scale = "" if guesses.amount_scale == _USUAL_SCALE else f" --scale {guesses.amount_scale}"
    model = quote(str(folder / "model"))
    files = f"--events {quote(str(sample))}{sort} --out {table}"
    steps = [
        f"fraud-worker features check --pipeline {named}    checks the features",
        f"fraud-worker features build --pipeline {named} {files}    builds a training table",
    ]
    if guesses.label.leaf is not None:
        steps.append(
            f"fraud-worker train --features {table} --out {model}{scale}    trains a model"
        )
    steps.append(f"fraud-worker check --pipeline {named}    checks what is still missing")
    return steps


def schema(pipeline: PipelineOption = HERE) -> None:
    """Write JSON Schemas of the three files; editors use them to complete and check the files.

    `init` writes them too. They belong to this version of the program: write
    them again after an upgrade.
    """
    from tools.init.pipeline_folder import write_schemas

    for path in write_schemas(pipeline):
        typer.echo(f"wrote {path}")

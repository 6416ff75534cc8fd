"""``fraud-worker init`` and ``schema``."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import Annotated

import typer

from tools.cli.options import HERE, PipelineOption


def init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder to write the files into.")],
    schema: Annotated[
        Path, typer.Option(metavar="FILE.avsc", help="Avro schema of your events: a record.")
    ],
    force: Annotated[bool, typer.Option("--force", help="Overwrite existing files.")] = False,
) -> None:
    """Create a pipeline folder: worker.yaml, features.yaml and policy.yaml for your events.

    Values that the schema suggests are filled in and marked "guessed"; places
    that you have to fill in hold `<open>`.
    """
    from tools.init.pipeline_folder import write_pipeline

    written = write_pipeline(folder, schema, force=force)
    for path in written.files:
        typer.echo(f"wrote {path}")
    typer.echo("\nNext:")
    features, settings = folder / "features.yaml", folder / "worker.yaml"
    named = quote(str(folder))
    steps = [
        *(f"fill in {place} in {features}" for place in written.still_open),
        f"review the values marked guessed in {features} and {settings}",
        f"fraud-worker check --pipeline {named}    checks what is still missing",
        f"fraud-worker score --pipeline {named} --events FILE    scores a file, without Kafka",
        f"fraud-worker run --pipeline {named}    scores the topic",
    ]
    for number, step in enumerate(steps, 1):
        typer.echo(f"  {number}. {step}")


def schema(pipeline: PipelineOption = HERE) -> None:
    """Write JSON Schemas of the three files; editors use them to complete and check the files.

    `init` writes them too. They belong to this version of the program: write
    them again after an upgrade.
    """
    from tools.init.pipeline_folder import write_schemas

    for path in write_schemas(pipeline):
        typer.echo(f"wrote {path}")

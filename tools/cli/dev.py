"""``fraud-worker dev``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tools.cli.options import Commands

app = Commands(help="Run Kafka and Valkey on this machine, for development.", no_args_is_help=True)

FolderOption = Annotated[
    Path | None,
    typer.Option(
        "--dir",
        metavar="DIR",
        help="Folder of data and logs.",
        show_default="the user's state folder",
    ),
]


@app.command()
def up(
    topic: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME:PARTITIONS", help="Topic to create; may be given more than once."
        ),
    ] = None,
    kafka_port: Annotated[int, typer.Option(min=1, max=65535, help="Port of Kafka.")] = 9092,
    valkey_port: Annotated[int, typer.Option(min=1, max=65535, help="Port of Valkey.")] = 6379,
    folder: FolderOption = None,
) -> None:
    """Start Kafka and Valkey in the background; `dev down` stops them.

    Their data is kept for the next start. The first start on a machine downloads
    Kafka (45 MB).
    """
    from tools.embedded import detached
    from tools.embedded.topic_admin import create_topics

    topics = dict(_parsed(text) for text in topic or ())
    folder = folder or _default()
    running, started = detached.up(folder, kafka_port, valkey_port)
    kafka, valkey = running["kafka"].address, running["valkey"].address
    if topics:
        create_topics(kafka, topics)
    if not started:
        typer.echo("Both are already running.", err=True)
    typer.echo(f"Kafka:  {kafka}\nValkey: {valkey}")
    typer.echo(
        f"""
Data and logs: {folder}
Stop both:     fraud-worker dev down
In worker.yaml:
  kafka:
    bootstrap_servers: {kafka}
  store:
    url: {valkey}""",
        err=True,
    )


@app.command()
def down(folder: FolderOption = None) -> None:
    """Stop the servers that `dev up` started; their data is kept."""
    from tools.embedded import detached

    stopped = detached.down(folder or _default())
    typer.echo(
        f"Stopped {' and '.join(stopped)}." if stopped else "No server was running.", err=True
    )


def _default() -> Path:
    from base.user_folders import state_dir

    return state_dir() / "dev"


def _parsed(topic: str) -> tuple[str, int]:
    from base.errors import ConfigurationError

    name, colon, partitions = topic.rpartition(":")
    if not (name and colon and partitions.isdecimal() and int(partitions)):
        raise ConfigurationError(
            f"--topic: {topic!r} is not NAME:PARTITIONS; write it like transactions:3"
        )
    return name, int(partitions)

"""Options that commands share."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

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


class Unlabelled(StrEnum):
    """Treatment of events without a label: leave them out, or count them as no fraud."""

    skip = "skip"
    legit = "legit"


UnlabelledOption = Annotated[
    Unlabelled, typer.Option(help="Leave out what is not labelled, or take it for no fraud.")
]

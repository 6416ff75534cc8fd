"""Options that commands share."""

from __future__ import annotations

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

"""Choice of the features.yaml that a command reads."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

SetOption = Annotated[
    Path | None,
    typer.Option(
        "--set",
        metavar="FILE",
        help="The features.yaml; without it, that of the pipeline.",
        show_default=False,
    ),
]


def features_file(given: Path | None, pipeline: Path) -> Path:
    """``given``, else the file that the pipeline's worker.yaml names, else its features.yaml."""
    if given is not None:
        return given
    from worker.settings import FILE_NAME, load_settings

    if (pipeline / FILE_NAME).exists():
        return load_settings(pipeline).features
    return pipeline / "features.yaml"

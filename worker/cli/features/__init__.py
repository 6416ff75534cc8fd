"""``fraud-worker features``: a module for each command."""

from __future__ import annotations

import typer

from worker.cli.features.load import load

app = typer.Typer(help="Work with the feature set and the online store.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    pass


app.command("load")(load)

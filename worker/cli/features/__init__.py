"""``fraud-worker features``: a module for each command."""

from __future__ import annotations

import typer

from worker.cli.features.build import build
from worker.cli.features.check import check
from worker.cli.features.load import load
from worker.cli.features.show import show

app = typer.Typer(help="Work with the feature set and the online store.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    pass


app.command("check")(check)
app.command("show")(show)
app.command("load")(load)
app.command("build")(build)

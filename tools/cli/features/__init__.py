"""``fraud-worker features``: a module for each command."""

from __future__ import annotations

from tools.cli.features.build import build
from tools.cli.features.check import check
from tools.cli.features.explain import explain
from tools.cli.features.load import load
from tools.cli.features.load_labels import load_labels
from tools.cli.features.show import show
from tools.cli.features.state import state
from tools.cli.local_paths import Commands

app = Commands(help="Work with the feature set and the online store.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    pass


app.command("check")(check)
app.command("show")(show)
app.command("load")(load)
app.command("load-labels")(load_labels)
app.command("build")(build)
app.command("explain")(explain)
app.command("state")(state)

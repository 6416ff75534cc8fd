"""``fraud-worker features``: a module for each command."""

from __future__ import annotations

from tools.cli.check import check_features
from tools.cli.features.build import build
from tools.cli.features.diff import diff
from tools.cli.features.drop import drop_layout
from tools.cli.features.explain import explain
from tools.cli.features.fill import fill
from tools.cli.features.import_feast import import_feast
from tools.cli.features.load import load, load_labels
from tools.cli.features.show import show
from tools.cli.features.state import state
from tools.cli.options import Commands

app = Commands(help="Feature set, training tables and the online store.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    pass


app.command("check")(check_features)
app.command("show")(show)
app.command("diff")(diff)
app.command("import-feast")(import_feast)
app.command("load")(load)
app.command("load-labels")(load_labels)
app.command("fill")(fill)
app.command("build")(build)
app.command("explain")(explain)
app.command("state")(state)
app.command("drop-layout")(drop_layout)

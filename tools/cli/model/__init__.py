"""``fraud-worker model``: a module for each command."""

from __future__ import annotations

from tools.cli.model.champion import promote, rollback
from tools.cli.model.compare import compare
from tools.cli.model.pack import pack
from tools.cli.model.show import show
from tools.cli.model.verify import verify
from tools.cli.options import Commands

app = Commands(
    help="Manage model bundles and choose the active one (champion).", no_args_is_help=True
)


@app.callback()
def _group() -> None:
    pass


app.command("pack")(pack)
app.command("verify")(verify)
app.command("show")(show)
app.command("promote")(promote)
app.command("rollback")(rollback)
app.command("compare")(compare)

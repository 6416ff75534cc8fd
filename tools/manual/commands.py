"""Reference page of the command line, from the commands themselves."""

from __future__ import annotations

import re

import typer
from typer.cli import get_docs_for_click

from tools.cli.commands import EXIT_CODES, PROGRAM, app

_HEAD = """\
# Commands

`--help` after a command prints the same. Exit statuses are explained in [Exit codes](exit-codes.md).

Most commands take `--pipeline DIR` (`-p`): the folder with `worker.yaml`, `features.yaml` and `policy.yaml`. Without it they use the folder in the variable `FRAUD_WORKER_PIPELINE`, and without that the current directory (`demo`: `examples/handbook`). `model compare` takes two folders as arguments. `model verify`, `model show`, `model promote` and `model rollback` need no pipeline; if one is given, they also compare the bundle with its feature set.

"""


def commands() -> str:
    """The text of docs/reference/commands.md."""
    group = typer.main.get_command(app)
    context = typer.Context(group, info_name=PROGRAM, **group.context_settings)
    text = get_docs_for_click(obj=group, ctx=context, name=PROGRAM)
    own = text.partition("\n")[2].replace(EXIT_CODES, "")
    # Each list of commands repeats the headings below it, with sentences cut off.
    own = re.sub(r"\*\*Commands\*\*:\n\n(\* .*\n)+\n", "", own)
    return _HEAD + re.sub(r"\n{3,}", "\n\n", own).strip() + "\n"

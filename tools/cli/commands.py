"""All commands, and the exit codes of their errors."""

from __future__ import annotations

import sys
from importlib.metadata import version
from typing import Annotated

import typer

from base.address import mask_addresses
from base.errors import (
    ConfigurationError,
    DeliveryFatalError,
    DependencyUnavailableError,
    DeviceLostError,
)
from tools.cli import (
    check,
    dead_letters,
    demo,
    dev,
    features,
    init,
    labels,
    model,
    run,
    score,
    train,
)
from tools.cli.options import Commands
from worker.process.exits import ExitCode

EXIT_CODES = "Exit codes:\n\n" + "\n\n".join(f"{code:<2} {code.meaning}" for code in ExitCode)

PROGRAM = "fraud-worker"
app = Commands(
    name=PROGRAM,
    help="Score transactions from Kafka exactly once, with features from Redis and XGBoost.",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(asked: bool) -> None:
    if asked:
        print(f"{PROGRAM} {version(PROGRAM)}")
        raise typer.Exit


@app.callback()
def _program(
    _version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    pass


app.command("init")(init.init)
app.command("schema")(init.schema)
app.command("check")(check.check)
app.command("score")(score.score)
app.command("run")(run.run)
app.command("demo")(demo.demo)
app.command("train")(train.train)
app.add_typer(features.app, name="features")
app.add_typer(labels.app, name="labels")
app.add_typer(dead_letters.app, name="dead-letters")
app.add_typer(model.app, name="model")
app.add_typer(dev.app, name="dev")


def main() -> None:
    """Run a command; print an error as one message, without a traceback."""
    try:
        app(prog_name=PROGRAM)
    except ConfigurationError as error:
        _stop(str(error), ExitCode.CONFIGURATION)
    except DeliveryFatalError as error:
        _stop(str(error), ExitCode.DELIVERY)
    except (DependencyUnavailableError, DeviceLostError) as error:
        _stop(str(error), ExitCode.FAILED)


def _stop(message: str, code: ExitCode) -> None:
    print(f"error: {mask_addresses(message)}", file=sys.stderr)
    sys.exit(code)

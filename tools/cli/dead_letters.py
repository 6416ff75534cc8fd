"""``fraud-worker dead-letters show`` and ``redrive``."""

from __future__ import annotations

import json
import re
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from base.errors import ErrorCode
from schemas.batch import Position
from tools.cli.input_reports import note
from tools.cli.options import HERE, Commands, PipelineOption
from worker.process.exits import ExitCode

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tools.letters.letter import Selection
    from tools.letters.redrive import Redrive
    from worker.settings import WorkerSettings

# The rule of topic names.
_POSITION = re.compile(r"([a-zA-Z0-9._-]{1,249}):(\d{1,10}):(\d{1,19})")

app = Commands(help="Dead letters: what they are, and sending them again.", no_args_is_help=True)


def _time(text: str) -> datetime:
    try:
        given = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(
            f"{text!r} is not a time; write it in ISO 8601, such as 2026-05-01 or "
            "2026-05-01T13:30:00Z (UTC where it names no zone)"
        ) from None
    return given if given.tzinfo else given.replace(tzinfo=UTC)


def _position(text: str) -> Position:
    match = _POSITION.fullmatch(text)
    if match is None:
        raise typer.BadParameter(
            f"{text!r} is not a position; write it as TOPIC:PARTITION:OFFSET, as the table shows it"
        )
    return Position(match[1], int(match[2]), int(match[3]))


CodeOption = Annotated[
    list[ErrorCode] | None,
    typer.Option("--code", metavar="CODE", help="Only dead letters with this code; repeatable."),
]
SinceOption = Annotated[
    datetime | None,
    typer.Option(
        parser=_time,
        metavar="TIME",
        help="Only dead letters that were written at this time or later; ISO 8601, UTC.",
        show_default=False,
    ),
]
UntilOption = Annotated[
    datetime | None,
    typer.Option(
        parser=_time,
        metavar="TIME",
        help="Only dead letters that were written before this time.",
        show_default=False,
    ),
]


@app.command("show")
def show(
    *,
    code: CodeOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    position: Annotated[
        Position | None,
        typer.Option(
            parser=_position,
            metavar="TOPIC:PARTITION:OFFSET",
            help="Show the dead letter of the record at this position of the input topic, or that at "
            "this position of the dead-letter topic.",
            show_default=False,
        ),
    ] = None,
    payload: Annotated[
        bool,
        typer.Option(
            "--payload",
            help="With --position: show key, value and values of headers, in hexadecimal.",
        ),
    ] = False,
    pipeline: PipelineOption = HERE,
) -> None:
    """Show the dead letters of a pipeline by code, or one of them.

    Reads kafka.dead_letter_topic up to its end at the time of the call. Keys,
    values and the values of a record's own headers are shown with --payload only.

    The last line on stdout is JSON. Exit code 1: there is no dead letter at the
    position, or the brokers are away.
    """
    from base.errors import ConfigurationError
    from worker.settings import load_settings

    if payload and position is None:
        raise ConfigurationError("--payload: name one dead letter with --position")
    settings = load_settings(pipeline)
    if position is not None:
        _show_one(settings, position, payload=payload)
        return
    _print_summary(settings, _selection(code, since, until))


def _show_one(settings: WorkerSettings, position: Position, *, payload: bool) -> None:
    from tools.letters.letter import open_letters
    from tools.letters.summary import described, find, shown
    from tools.progress import progress

    with open_letters(settings) as log, progress("dead letters") as advance:
        letters = find(log, position, advance)
    if not letters:
        note(
            f"{settings.kafka.dead_letter_topic} has no dead letter of {shown(position)}, or "
            "retention has deleted it"
        )
    found = [described(letter, payload=payload) for letter in letters]
    for one in found:
        _print_table({name: value for name, value in one.items() if value not in (None, [])})
    print(json.dumps({"letters": found}))
    if not letters:
        raise typer.Exit(ExitCode.FAILED)


def _print_table(values: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("name", "value", title="dead letter")
    for name, value in values.items():
        listed = value if isinstance(value, list) else [value]
        texts = [": ".join(map(str, item)) if isinstance(item, list) else item for item in listed]
        table.add_row(name, "\n".join(map(str, texts)))
    Console(file=sys.stderr).print(table, markup=False)


def _print_summary(settings: WorkerSettings, selection: Selection) -> None:
    from rich.console import Console
    from rich.table import Table

    from tools.letters.letter import open_letters
    from tools.letters.summary import summarize
    from tools.progress import progress

    with open_letters(settings) as log, progress("dead letters") as advance:
        summary = summarize(log, selection, advance)
    topic = settings.kafka.dead_letter_topic
    table = Table("code", title=f"{summary.count:,} dead letters in {topic}")
    for name in ("number", "share"):
        table.add_column(name, justify="right")
    for name in ("first", "last", "example", "meaning"):
        table.add_column(name)
    for row in summary.rows():
        share = f"{row['share']:.1%}"
        table.add_row(
            row["code"],
            f"{row['count']:,}",
            share,
            *(row[name] for name in ("first", "last", "example", "meaning")),
        )
    Console(file=sys.stderr).print(table)
    if summary.others:
        note(f"{summary.others:,} other records of the topic are not dead letters of a worker")
    print(json.dumps({"topic": topic, **summary.as_json()}))


@app.command("redrive")
def redrive(
    *,
    code: CodeOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    to: Annotated[
        str | None,
        typer.Option(
            metavar="TOPIC",
            help="Topic to send to; default: the input topic of the pipeline.",
            show_default=False,
        ),
    ] = None,
    again: Annotated[
        bool,
        typer.Option("--again", help="Also redrive dead letters that were redriven before."),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Count what would be redriven; send nothing.")
    ] = False,
    pipeline: PipelineOption = HERE,
) -> None:
    """Send the records of dead letters to the input topic again, each of them once.

    A record gets its own key, value and headers, and headers __worker.redriven.*
    with its earlier position and the number of times. It goes to the partition
    that it came from. Records and the note of what was redriven are committed in
    one transaction: whenever the command is killed, the next call sends the rest.

    What --code, --since and --until leave out can be redriven later. A second
    time only with --again, which begins at the first retained dead letter.

    The last line on stdout is JSON. Exit code 1: some records cannot be redriven,
    or may have been before, or the brokers are away; 2: a topic refuses; 3:
    another redrive has begun.
    """
    from tools.letters.redrive import Redrive
    from tools.progress import progress
    from worker.settings import load_settings

    settings = load_settings(pipeline)
    selection = _selection(code, since, until)
    with Redrive(settings, selection, to=to, again=again, dry_run=dry_run) as run:
        with progress("dead letters") as advance:
            run.run(advance)
        _print_counts(run, dry_run=dry_run)
    if run.counts.not_redrivable or run.counts.uncertain:
        raise typer.Exit(ExitCode.FAILED)


def _print_counts(run: Redrive, *, dry_run: bool) -> None:
    from rich.console import Console
    from rich.table import Table

    counts, target = run.counts, run.target.topic
    table = Table("dead letters", title=f"{'to be sent' if dry_run else 'sent'} to {target}")
    table.add_column("number", justify="right")
    for name, number in counts.as_json().items():
        if isinstance(number, int):
            table.add_row(name.replace("_", " "), f"{number:,}")
    for name, number in counts.by_code.most_common():
        table.add_row(f"redriven: {name}", f"{number:,}")
    Console(file=sys.stderr).print(table)
    for example in counts.examples:
        note(f"not redrivable: {example}")
    if counts.uncertain:
        note(
            f"{counts.uncertain:,} dead letters were left out: they are older than the time for which "
            "the brokers keep a group's offsets (offsets.retention.minutes), so they may have been "
            "redriven before; --again --until TIME redrives them"
        )
    print(json.dumps({"to": target, "dry_run": dry_run, **counts.as_json()}))


def _selection(
    codes: Sequence[ErrorCode] | None, since: datetime | None, until: datetime | None
) -> Selection:
    from base.errors import ConfigurationError
    from tools.letters.letter import Selection

    if since is not None and until is not None and until <= since:
        raise ConfigurationError(
            f"--until {until.isoformat()} is not after --since {since.isoformat()}; give a later end, "
            "or an earlier begin"
        )
    return Selection(frozenset(one.value for one in codes or ()), _ms(since), _ms(until))


def _ms(at: datetime | None) -> int | None:
    return None if at is None else int(at.timestamp() * 1000)

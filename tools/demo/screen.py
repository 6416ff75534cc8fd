"""Display of the demo's progress: live on a terminal, plain lines in a pipe."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.columns import Columns
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table

from tools.demo.audit import Verdict
from tools.demo.player import Played
from tools.demo.watch import Snapshot, Watch

# Decoding scores and drawing take CPU from what is shown.
_LINE_EVERY_S, _DRAW_EVERY_S = 2.0, 0.25


@contextmanager
def live_screen(watch: Watch, target: int, *, backlog: bool) -> Iterator[Callable[[Played], None]]:
    """Live view on a terminal, plain lines elsewhere, on stderr.

    Args:
        watch: Answers to the live events.
        target: Number of live events.
        backlog: See ``waiting_name``.

    Yields:
        A function to call often with the events played so far; most calls do nothing.
    """
    waiting = waiting_name(backlog=backlog)
    if not sys.stderr.isatty():
        yield _seldom(
            _LINE_EVERY_S, lambda played: note(_line(watch.snapshot(played), target, waiting))
        )
        return
    with Live(console=Console(stderr=True), auto_refresh=False, transient=True) as live:

        def draw(played: Played) -> None:
            live.update(_view(watch.snapshot(played), target, waiting), refresh=True)

        yield _seldom(_DRAW_EVERY_S, draw)


def _seldom(every_s: float, show: Callable[[Played], None]) -> Callable[[Played], None]:
    """Limit the calls of ``show``: the first comes after ``every_s``, and so does each other."""
    last = time.monotonic()

    def call(played: Played) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= every_s:
            last = now
            show(played)

    return call


def note(text: str) -> None:
    """Print one line of progress."""
    Console(stderr=True, highlight=False, soft_wrap=True).print(text)


def waiting_name(*, backlog: bool) -> str:
    """Name of the time from an event's arrival in the topic to its score.

    Args:
        backlog: True if events are sent as fast as possible: then most of the time is waiting in
            the queue.
    """
    return "wait in the backlog" if backlog else "latency"


def summary(verdict: Verdict, *, backlog: bool) -> Table:
    """Table of the results; backlog: see ``waiting_name``."""
    waiting = waiting_name(backlog=backlog)
    table = Table(title="What happened, read back from the topics", title_justify="left")
    table.add_column("measure")
    table.add_column("value", justify="right")
    latency, limit = verdict.latency_ms, verdict.pass_through_ms
    for name, value in (
        ("events in the input topic", f"{verdict.events:,}"),
        *([("of them history", f"{verdict.history:,}")] if verdict.history else []),
        ("scores", f"{verdict.scores:,}"),
        ("dead letters", f"{verdict.dead_letters:,}"),
        ("lost", f"{verdict.lost:,}"),
        ("duplicates", f"{verdict.duplicates:,}"),
        ("live events/s", "-" if verdict.events_per_s is None else f"{verdict.events_per_s:,.0f}"),
        (f"live {waiting} p50", _ms(latency.p50)),
        (f"live {waiting} p99", _ms(latency.p99)),
        *(
            [("pass-through p50", _ms(limit.p50)), ("pass-through p99", _ms(limit.p99))]
            if limit
            else []
        ),
        (
            "average precision",
            "-" if verdict.average_precision is None else f"{verdict.average_precision:.3f}",
        ),
    ):
        table.add_row(name, value)
    return table


def _view(snapshot: Snapshot, target: int, waiting: str) -> RenderableType:
    flow = Table(title="flow", title_justify="left", show_header=False)
    for name, value in (
        ("events/s", f"{snapshot.events_per_s:,.0f}"),
        (f"{waiting} p50", _ms(snapshot.latency.p50)),
        (f"{waiting} p99", _ms(snapshot.latency.p99)),
        ("scored", f"{snapshot.scores:,} of {target:,}"),
        ("dead letters", f"{snapshot.dead_letters:,}"),
    ):
        flow.add_row(name, value)
    decisions = Table(title="decisions", title_justify="left", show_header=False)
    for name, count in sorted(snapshot.decisions.items(), key=lambda item: -item[1]):
        decisions.add_row(name, f"{count:,}")
    suspicious = Table("event", "score", "decision", title="last suspicious", title_justify="left")
    for item in snapshot.suspicious:
        suspicious.add_row(item.event_id, f"{item.score:.3f}", item.decision)
    return Group(Columns([flow, decisions, suspicious], padding=(0, 3)))


def _line(snapshot: Snapshot, target: int, waiting: str) -> str:
    latency = snapshot.latency
    return (
        f"{snapshot.scores:,} of {target:,} scored, {snapshot.events_per_s:,.0f} events/s, "
        f"{waiting} p50 {_ms(latency.p50)} p99 {_ms(latency.p99)}, {_counts(snapshot)}"
    )


def _counts(snapshot: Snapshot) -> str:
    return ", ".join(f"{n:,} {name}" for name, n in sorted(snapshot.decisions.items())) or "none"


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f} ms"

"""Display of the demo's progress: live on a terminal, plain lines in a pipe."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.columns import Columns
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table

from tools.demo.audit import Verdict
from tools.demo.watch import Snapshot
from tools.progress import progress

_LINE_EVERY_S = 2.0


class Screen(Protocol):
    """Display of snapshots."""

    def show(self, snapshot: Snapshot, target: int) -> None:
        """Show a snapshot; ``target`` is the number of events to play."""


class _Bar:
    def __init__(self, update: Callable[[int, int], None]) -> None:
        self._update = update

    def show(self, snapshot: Snapshot, target: int) -> None:
        self._update(snapshot.answers, target)


class _Terminal:
    def __init__(self, live: Live, waiting: str) -> None:
        self._live = live
        self._waiting = waiting

    def show(self, snapshot: Snapshot, target: int) -> None:
        self._live.update(_view(snapshot, target, self._waiting))


class _Lines:
    def __init__(self, waiting: str) -> None:
        self._waiting = waiting
        self._last = time.monotonic()

    def show(self, snapshot: Snapshot, target: int) -> None:
        now = time.monotonic()
        if now - self._last < _LINE_EVERY_S:
            return
        self._last = now
        note(
            f"{snapshot.scores:,} of {target:,} scored, {snapshot.events_per_s:,.0f} events/s, "
            f"{self._waiting} p50 {_ms(snapshot.p50_ms)} p99 {_ms(snapshot.p99_ms)}, {_counts(snapshot)}"
        )


@contextmanager
def history_screen() -> Iterator[Screen]:
    """Progress bar of the history, on stderr; shown on a terminal only."""
    with progress("history") as update:
        yield _Bar(update)


@contextmanager
def live_screen(*, backlog: bool) -> Iterator[Screen]:
    """Live view on a terminal, plain lines elsewhere, on stderr; backlog: see ``waiting_name``."""
    waiting = waiting_name(backlog=backlog)
    if not sys.stderr.isatty():
        yield _Lines(waiting)
        return
    with Live(console=Console(stderr=True), refresh_per_second=8, transient=True) as live:
        yield _Terminal(live, waiting)


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
    latency = verdict.latency_ms
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
        (f"{waiting} p50", _ms(snapshot.p50_ms)),
        (f"{waiting} p99", _ms(snapshot.p99_ms)),
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


def _counts(snapshot: Snapshot) -> str:
    return ", ".join(f"{n:,} {name}" for name, n in sorted(snapshot.decisions.items())) or "none"


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f} ms"

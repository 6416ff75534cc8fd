"""Training days: the training windows to choose from, and the earlier folds that choose one."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime
from math import ceil
from typing import Final

from base.errors import ConfigurationError
from base.times import DAY, utc
from models.training.folds import Lengths, Span, microseconds, span_start
from models.training.stray_rows import StrayRows, find_stray_rows, refuse_far
from models.training.table import TrainingTable

SPANS: Final = (7, 30, 90)
"""Numbers of days to choose from, besides all days."""
_HALF_LIFE: Final = 30
_ASSESS_DAYS: Final = 7
_MAX_ROWS: Final = 20_000_000


@dataclass(frozen=True, slots=True)
class TrainingDays:
    """Training windows to choose from, and the earlier folds that choose one of them.

    All windows end at `train_until`.

    Attributes:
        begin: Time when the model goes live, a midnight, in microseconds since 1970 UTC. Labels
            known later are not used.
        first: Begin of the first day of the table, in microseconds since 1970 UTC.
        spans: Spans to choose from, shortest first.
        delay: Label delay in days.
        assess: Number of assessed days of each fold.
        folds: Number of earlier folds.
        stray_rows: Rows of the table that lie far from all others in time.
    """

    begin: int
    first: int
    spans: tuple[Span, ...]
    delay: float
    assess: int
    folds: int
    stray_rows: tuple[StrayRows, ...] = ()

    @property
    def train_until(self) -> int:
        """End of the training days, in microseconds since 1970 UTC."""
        return self.begin - microseconds(self.delay)

    @property
    def lengths(self) -> Lengths:
        """Lengths of a fold of the shortest span."""
        return self.lengths_of(self.spans[0])

    def lengths_of(self, span: Span) -> Lengths:
        """Lengths of a fold of a span."""
        days = (self.train_until - self.train_from(span)) / DAY
        return Lengths(days, self.delay, self.assess)

    def train_from(self, span: Span) -> int:
        """Begin of a span's training days, in microseconds since 1970 UTC."""
        return span_start(span, self.train_until, self.first)

    @property
    def reads_from(self) -> int:
        """Time of the earliest event that is needed, in microseconds since 1970 UTC."""
        back = microseconds(self.folds * self.assess + self.delay)
        starts = (span_start(span, self.train_until - back, self.first) for span in self.spans)
        return max(self.first, min(starts))

    @property
    def reads_until(self) -> int:
        """End of the last assessed day, in microseconds since 1970 UTC."""
        return self.begin - int(self.delay) * DAY


def find_training_days(
    table: TrainingTable,
    *,
    since: date | None = None,
    last: date | None = None,
    delay: float | None = None,
    assess: int | None = None,
    folds: int = 4,
    span: Span | None = None,
) -> TrainingDays:
    """Choose the training days for a table and the options that the user gave.

    Args:
        table: The training table.
        since: First day to train on; None lets the earlier folds choose the span.
        last: Last day to train on; by default the last one whose labels are all known.
        delay: Label delay in days; by default the longest in the table.
        assess: Assessed days of each fold; by default seven, or fewer if the table is short.
        folds: Largest number of earlier folds; folds before the begin of the table are left out.
        span: Span of an earlier model, which is the only one then.

    Raises:
        ConfigurationError: if the table lacks the days, or is too short for one fold.
    """
    if not len(table):
        raise ConfigurationError(f"--features: {table.path} holds no events")
    # Rows after the last day that the user gave are not read.
    stray_rows = tuple(rows for rows in find_stray_rows(table) if last is None or not rows.after)
    refuse_far(stray_rows)
    if delay is None:
        delay = _whole_days(table.longest_delay())
    first = int(table.times.min()) // DAY * DAY
    end = (int(table.times.max()) // DAY + 1) * DAY
    begin = end if last is None else _midnight(last) + DAY + ceil(delay) * DAY
    until = begin - microseconds(delay)
    request = DaysRequest(table, first, until, end, delay, since, last, assess)
    if since is not None or last is not None:
        request.require_days()
    if since is not None:
        span = Span((until - _midnight(since)) / DAY)
    # The assessed days end at a midnight, one label delay before the model goes live.
    room = (begin - first) / DAY - int(delay) - delay
    shortest = span or (Span(SPANS[0]) if room >= SPANS[0] + _ASSESS_DAYS else Span(None))
    if assess is None:
        assess = _default_assess(shortest, room)
    min_train = assess / 2 if shortest.days is None else shortest.days
    possible = min(folds, int((room - min_train) // assess))
    if possible < 1:
        request.refuse(shortest, room, assess)
    spans = (span,) if span else _spans(table, shortest, room - possible * assess, until)
    return TrainingDays(begin, first, spans, delay, assess, possible, stray_rows)


def _default_assess(shortest: Span, room: float) -> int:
    """Seven assessed days, or fewer if the table has no room for them.

    Args:
        shortest: The shortest span.
        room: Days of the table without the label delays of a fold and of the days.
    """
    fitting = int(room / 2 if shortest.days is None else room - shortest.days)
    return max(1, min(_ASSESS_DAYS, fitting)) if fitting > 0 or room < 2 else _ASSESS_DAYS


def _spans(table: TrainingTable, shortest: Span, room: float, until: int) -> tuple[Span, ...]:
    """Spans that fit into the table for all folds, and all days if these are more.

    Args:
        table: The training table.
        shortest: The shortest span.
        room: Days before the label delay of the earliest fold.
        until: End of the training days, in microseconds since 1970 UTC.
    """
    if shortest.days is None:
        return (shortest,)
    fixed = [Span(days) for days in SPANS if days <= room]
    longest = fixed[-1].days or 0
    offered = [*fixed, *([Span(None), Span(None, _HALF_LIFE)] if room > longest else [])]
    return tuple(
        span for span in offered if span == fixed[0] or _rows(table, span, until) <= _MAX_ROWS
    )


def _rows(table: TrainingTable, span: Span, until: int) -> int:
    since = span_start(span, until, int(table.times.min()))
    return int(((table.times >= since) & (table.times < until)).sum())


@dataclass(frozen=True, slots=True, eq=False)
class DaysRequest:
    """Options that the user gave, checked against the table; an option not given is None.

    Attributes:
        table: The training table.
        first: Begin of the table's first day, in microseconds since 1970 UTC.
        until: End of the training days, in microseconds since 1970 UTC.
        end: End of the table's last day, in microseconds since 1970 UTC.
        delay: Label delay in days.
        since: First day to train on.
        last: Last day to train on.
        assess: Assessed days of each fold.
    """

    table: TrainingTable
    first: int
    until: int
    end: int
    delay: float
    since: date | None
    last: date | None
    assess: int | None

    def require_days(self) -> None:
        """Raise ConfigurationError if the given days are not in the table."""
        since = self.first if self.since is None else _midnight(self.since)
        if not self.first <= since < self.until <= self.end:
            given = " and ".join(
                name
                for name, value in (("--from", self.since), ("--until", self.last))
                if value is not None
            )
            raise ConfigurationError(
                f"{given}: {_day(since)} to {_day(self.until - DAY)} are not days of "
                f"{self.table.path}, which has events from {_day(self.first)} to "
                f"{_day(self.end - DAY)}"
            )

    def refuse(self, span: Span, room: float, assess: int) -> None:
        """Raise ConfigurationError for a table without room for one fold, naming the remedies.

        Args:
            span: The shortest span.
            room: Days of the table without the label delays of a fold and of the days.
            assess: Assessed days of each fold.
        """
        train = assess / 2 if span.days is None else span.days
        fits = int(room / 1.5 if span.days is None else room - span.days)
        total = ceil(train + self.delay + assess)
        available = (self.until - self.first) / DAY
        remedies = []
        if self.assess is not None and fits >= 1:
            remedies.append(f"give --assess {fits}")
        if self.since is not None and room - assess >= 1:
            since = self.until - int(room - assess) * DAY
            remedies.append(f"train on fewer days, with --from {_day(since)}")
        shorter = self._shorter_delay(train, assess)
        if shorter is not None:
            remedies.append(
                f"give --delay {shorter}, within which most labels of the table are known"
            )
        remedies.append(f"build a table that reaches back {ceil(train + assess - room)} days more")
        raise ConfigurationError(
            f"--features: a fold before {_day(self.until)} needs {total} days ({train:g} to train "
            f"on, {self.delay:g} until labels are known, {assess} to assess), and "
            f"{self.table.path} has {max(0.0, available):.3g} days before it, from "
            f"{_day(self.first)} on; " + ", or ".join(remedies)
        )

    def _shorter_delay(self, train: float, assess: int) -> str | None:
        """Delay that covers nine of ten labels; None if it does not leave enough days either."""
        usual = _whole_days(self.table.usual_delay())
        if usual >= self.delay or self.last is not None:
            return None
        room = (self.end - self.first) / DAY - int(usual) - usual
        return delay_words(usual) if room - train >= assess else None


def delay_words(days: float) -> str:
    """Format a delay for the option --delay, such as `7d` or `90m`."""
    for unit, length in (("d", DAY), ("h", DAY // 24), ("m", DAY // 1440)):
        if microseconds(days) % length == 0:
            return f"{microseconds(days) // length}{unit}"
    return f"{ceil(microseconds(days) / 1_000_000)}s"


def _whole_days(delay: int) -> float:
    """Convert microseconds to days; more than one day is rounded up to whole days.

    Then the training days begin at a midnight.
    """
    return -(-delay // DAY) if delay > DAY else delay / DAY


def _midnight(day: date) -> int:
    start = datetime(day.year, day.month, day.day, tzinfo=UTC)
    return int(start.timestamp()) * 1_000_000


def _day(time: int) -> str:
    return utc(time).date().isoformat()
